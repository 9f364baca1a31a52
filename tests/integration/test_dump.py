"""A database that was dumped and restored: every task is where it was, and goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database, Server, new_database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.embedded import EmbeddedServer
from perdure.service import TaskService
from perdure.store.migrate import migrate
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


def carry_over_data(server: Server, dsn: str, restored: str, file: Path, *options: str) -> None:
    """Dump the rows alone, and put what can be put into a schema that has been made anew."""
    for command in (
        ["pg_dump", "--data-only", *options, f"--file={file}", dsn],
        ["psql", "--quiet", f"--file={file}", restored],
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


@pytest.mark.parametrize(
    ("options", "misplaced"), [([], 3), (["--inserts"], 0), (["--load-via-partition-root"], 5)]
)
async def test_rows_that_were_restored_alone_go_on_after_a_repair(
    server: Server, database: Database, tmp_path: Path, options: list[str], misplaced: int
) -> None:
    async with running(database, service()) as worker:
        await worker.ended(await worker.enqueue("plain"))
        waiting = await worker.enqueue("suspended")
        await worker.state(waiting, "suspended")
    database.execute("select perdure.enqueue('plain') from generate_series(1, 3)")
    wrong = "select coalesce(array_agg(task_id), '{}') from perdure.misplaced()"
    with new_database(server) as restored:
        migrate(restored.dsn, schema_name=restored.schema)
        carry_over_data(server, database.dsn, restored.dsn, tmp_path / "dump", *options)
        assert len(restored.value(wrong)) == misplaced
        restored.execute("select perdure.repair(%s::bigint[])", [restored.value(wrong)])
        assert restored.value(wrong) == []
        restored.check()
        async with running(restored, service()) as worker:
            # Of what is put into `waiting` nothing may be there already: else it does not wait.
            if not restored.rows("select from perdure.ready where task_id = %s", (waiting,)):
                await worker.ask("select perdure.proceed(%s::bigint)", waiting)
            ended = "select count(*) from perdure.outcomes where state = 'completed'"
            await worker.until(lambda: restored.value(ended) == 5)
        restored.check_drained()
