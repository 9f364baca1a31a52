"""A database that was dumped and restored: every task is where it was, and goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database, Server, migrated_database, new_database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.embedded import EmbeddedServer
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended

Context = TaskContext[dict[str, Any], None]
PLACES = """
    select 'ready', task_id from perdure.ready union all select reason, task_id from perdure.waiting
    union all select state, task_id from perdure.outcomes order by 2
    """


def service() -> TaskService:
    builder = TaskService.builder()

    @builder.task("plain")
    async def plain(_context: Context) -> None:
        pass

    @builder.task("suspended")
    async def suspended(context: Context) -> Suspended | None:
        return Suspended() if context.attempt == 1 else None

    built: TaskService = builder.build()
    return built


def program(server: Server, name: str) -> str:
    """One of PostgreSQL's own, of the version of the server where that is ours."""
    return str(server.binaries.folder / name) if isinstance(server, EmbeddedServer) else name


CLOSE_THE_DOOR = """
    truncate perdure.lanes, perdure.settings, perdure.schema_version;
    alter table perdure.tasks disable trigger user
    """
OPEN_THE_DOOR = "alter table perdure.tasks enable trigger user"


def carry_over_data(
    server: Server, dsn: str, restored: str, file: Path, options: list[str], *, strict: bool
) -> None:
    """Dump the rows alone, and put them, or what can be put, into a schema that is made anew."""
    for command in (
        ["pg_dump", "--data-only", *options, f"--file={file}", dsn],
        ["psql", "--quiet", f"--set=ON_ERROR_STOP={int(strict)}", f"--file={file}", restored],
    ):
        run = [program(server, command[0]), *command[1:]]
        subprocess.run(run, check=True, capture_output=True)


def carry_over(server: Server, dsn: str, restored: str, form: str, file: Path) -> None:
    """Dump the one database, and restore it as the other."""
    put = ["psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}", restored]
    if form == "custom":
        put = ["pg_restore", "--exit-on-error", f"--dbname={restored}", str(file)]
    for command in (["pg_dump", f"--format={form}", f"--file={file}", dsn], put):
        run = [program(server, command[0]), *command[1:]]
        subprocess.run(run, check=True, capture_output=True)


@pytest.mark.parametrize("form", ["plain", "custom"])
async def test_a_restored_database_has_every_task_where_it_was(
    server: Server, database: Database, tmp_path: Path, form: str
) -> None:
    async with running(database, service()) as worker:
        await worker.ended(await worker.enqueue("plain", unique_key="k"))
        waiting = await worker.enqueue("suspended")
        await worker.state(waiting, "suspended")
    database.execute("select perdure.enqueue('plain', delay => '1 hour', unique_key => 'later')")
    database.execute("select perdure.enqueue('plain') from generate_series(1, 3)")
    with new_database(server) as restored:
        carry_over(server, database.dsn, restored.dsn, form, tmp_path / "dump")
        restored.check()
        assert restored.rows(PLACES) == database.rows(PLACES)
        async with running(restored, service()) as worker:
            rows = restored.rows("select task_id from perdure.ready")
            assert len(rows) == 3
            for (task,) in rows:
                assert (await worker.ended(task))["state"] == "completed"
            await worker.ask("select perdure.proceed(%s::bigint)", waiting)
            assert (await worker.ended(waiting))["state"] == "completed"
            kept = "select answer from perdure.enqueue('plain', unique_key => 'later')"
            assert await worker.ask(kept) == [{"answer": "kept"}]
        restored.check()


async def a_task_of_each_kind(database: Database) -> int:
    """One that is suspended, whose id is the answer, and others; some in a range of a later day."""
    async with running(database, service()) as worker:
        await worker.ended(await worker.enqueue("plain"))
        waiting: int = await worker.enqueue("suspended")
        await worker.state(waiting, "suspended")
    database.execute(
        "select perdure.cancel(task_id) from perdure.enqueue('plain', delay => '1 hour');"
        "select perdure.make_range(7); select setval('perdure.tasks_id_seq', 700000000);"
        "select perdure.enqueue('plain') from generate_series(1, 3)"
    )
    return waiting


async def test_rows_that_were_restored_alone_behind_a_closed_door_are_where_they_were(
    server: Server, database: Database, tmp_path: Path
) -> None:
    waiting = await a_task_of_each_kind(database)
    with migrated_database(server) as restored:
        restored.execute(CLOSE_THE_DOOR)
        by_root = ["--load-via-partition-root"]
        carry_over_data(server, database.dsn, restored.dsn, tmp_path / "d", by_root, strict=True)
        restored.execute(OPEN_THE_DOOR)
        restored.check()
        assert restored.rows(PLACES) == database.rows(PLACES)
        async with running(restored, service()) as worker:
            await worker.ask("select perdure.proceed(%s::bigint)", waiting)
            ended = "select count(*) from perdure.outcomes where state = 'completed'"
            await worker.until(lambda: restored.value(ended) == 5)
        restored.check_drained()


@pytest.mark.parametrize("options", [[], ["--load-via-partition-root"]])
async def test_a_repair_gives_every_task_a_place_whose_row_was_restored(
    server: Server, database: Database, tmp_path: Path, options: list[str]
) -> None:
    waiting = await a_task_of_each_kind(database)
    wrong = "select coalesce(array_agg(task_id), '{}') from perdure.misplaced()"
    with migrated_database(server) as restored:
        if not options:
            restored.execute("select perdure.make_range(7)")
        carry_over_data(server, database.dsn, restored.dsn, tmp_path / "d", options, strict=False)
        assert len(restored.value(wrong)) == (6 if options else 3)
        restored.execute("select perdure.repair(%s::bigint[])", [restored.value(wrong)])
        assert restored.value(wrong) == []
        restored.check()
        async with running(restored, service()) as worker:
            await worker.ask("select perdure.proceed(%s::bigint)", waiting)
            ended = "select count(*) from perdure.outcomes where state = 'completed'"
            await worker.until(lambda: restored.value(ended) == 5)
        restored.check_drained()
