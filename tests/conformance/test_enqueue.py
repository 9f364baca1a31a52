"""What an enqueue promises: rows are tasks, transactions decide, times and checkpoints are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.integration.client.test_on import ASYNC, SYNC
from tests.kit.databases import Database, new_database
from tests.kit.fleet import PATIENCE
from tests.kit.running import Running, running

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import NewTask
from perdure.embedded import EmbeddedServer
from perdure.errors import InvalidArgument
from perdure.service import TaskService
from perdure.store.migrate import migrate

Context = TaskContext[dict[str, Any], None]
Opened = Callable[[str], AbstractAsyncContextManager[Any]]
OpenedSync = Callable[[str], AbstractContextManager[Any]]
LEFT = """
    select (select count(*) from perdure.tasks where name = 'echo')
        + (select count(*) from perdure.unique_keys where key <> 'held')
        + (select count(*) from perdure.edges) + (select count(*) from perdure.mail)
        + (select count(*) from perdure.waiting)
"""


class Pages(BaseModel):
    """A checkpoint."""

    page: int = 3


def echoing() -> TaskService:
    """echo returns its metadata, hold runs until it is stopped, pages returns its checkpoint."""
    builder = TaskService.builder()

    @builder.task("echo")
    async def echo(context: Context) -> dict[str, Any]:
        return context.metadata

    @builder.task("hold")
    async def hold(context: Context) -> None:
        await context.stop.wait()
        context.stop.check()

    @builder.task("pages")
    async def pages(context: TaskContext[dict[str, Any], Pages]) -> int:
        return context.execution_metadata.page

    return builder.build()


@pytest.mark.conformance("C1")
async def test_a_row_of_name_and_metadata_is_a_task_that_completes(database: Database) -> None:
    async with running(database, echoing()) as worker:
        (row,) = await worker.ask(
            "insert into perdure.tasks (name, metadata) values ('echo', %s) returning id",
            '{"n": 7}',
        )
        task = await worker.ended(row["id"])
    assert (task["state"], task["attempt"], task["result"]) == ("completed", 1, {"n": 7})
    database.check_drained()


@pytest.mark.conformance("C1")
def test_a_copy_of_ten_thousand_rows_is_admitted_at_once(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("set track_functions = 'pl'")
        with connection.cursor().copy("copy perdure.tasks (name, metadata) from stdin") as copy:
            for n in range(10_000):
                copy.write_row(("echo", f'{{"n": {n}}}'))
        connection.execute("select pg_stat_force_next_flush()")
        calls = connection.execute(
            "select funcname, calls from pg_stat_user_functions where funcname = 'admit'"
        ).fetchall()
    assert calls == [("admit", 1)]
    assert database.value("select count(*) from perdure.tasks") == 10_000
    assert database.value("select count(*) from perdure.ready") == 10_000


@pytest.mark.conformance("C2")
def test_a_trigger_makes_a_task_of_each_row_that_is_changed_if_and_only_if_that_commits(
    database: Database,
) -> None:
    trigger = (
        "create trigger {} after insert or update or delete on orders"
        " for each row execute function perdure.enqueue_on_change({})"
    )
    rows: list[dict[str, int]] = [{"id": 7}, {"id": 8}, {"id": 8}]
    with psycopg.connect(database.dsn) as connection:
        connection.execute("create table orders (id bigint)")
        connection.execute(trigger.format("confirm", "'echo'").encode())
        connection.commit()
        connection.execute("insert into orders values (6)")
        connection.rollback()
        connection.execute("insert into orders values (7)")
        connection.execute("update orders set id = 8")
        connection.execute("delete from orders")
        connection.commit()
        connection.execute(trigger.format("nameless", "").encode())
        with pytest.raises(psycopg.Error, match="takes the name of one task") as refused:
            connection.execute("insert into orders values (9)")
    assert refused.value.sqlstate == "PD004"
    found = database.rows("select name, metadata from perdure.tasks order by id")
    assert found == [("echo", row) for row in rows]
    assert database.value("select count(*) from perdure.ready") == len(rows)


async def held(worker: Running) -> None:
    """A task that runs and holds a key: what comes after it gets an edge, mail and a key."""
    id_ = await worker.enqueue("hold", unique_key="held")
    await worker.state(id_, "running")


async def passed_by(client: TaskClient) -> None:
    """A task that was enqueued later and has been run: the worker has looked at all there was."""
    for _ in range(2):
        handle = await client.enqueue("pages", {})
        assert await handle.result(timeout=PATIENCE) == 3


@pytest.mark.conformance("C2")
@pytest.mark.parametrize("opened", ASYNC)
async def test_a_worker_sees_an_asynchronous_enqueue_after_its_commit_only(
    database: Database, opened: Opened
) -> None:
    async with running(database, echoing()) as worker, TaskClient(database.dsn) as client:
        await held(worker)
        async with opened(database.dsn) as connection:
            await client.enqueue("echo", {}, on=connection, unique_key="k", delay=60)
            await client.enqueue_many([NewTask("echo"), NewTask("echo")], on=connection)
            await client.enqueue(
                "echo", {}, on=connection, unique_key="held", unique_policy="replace"
            )
            await passed_by(client)
            await connection.rollback()
            assert database.value(LEFT) == 0

            handle = await client.enqueue("echo", {"n": 1}, on=connection)
            await passed_by(client)
            assert database.value(LEFT) == 0
            await connection.commit()
            assert await handle.result(timeout=PATIENCE) == {"n": 1}
    assert database.value(LEFT) == 1


@pytest.mark.conformance("C2")
@pytest.mark.parametrize("opened", SYNC)
async def test_a_worker_sees_a_synchronous_enqueue_after_its_commit_only(
    database: Database, opened: OpenedSync
) -> None:
    async with running(database, echoing()) as worker, TaskClient(database.dsn) as client:
        await held(worker)
        with SyncTaskClient(database.dsn) as sync_client, opened(database.dsn) as connection:
            await asyncio.to_thread(
                sync_client.enqueue, "echo", {}, on=connection,
                unique_key="held", unique_policy="replace",
            )  # fmt: skip
            await passed_by(client)
            connection.rollback()
            assert database.value(LEFT) == 0

            handle = sync_client.enqueue("echo", {"n": 1}, on=connection)
            await passed_by(client)
            assert database.value(LEFT) == 0
            connection.commit()
            assert await client.result(handle.id, timeout=PATIENCE) == {"n": 1}
    assert database.value(LEFT) == 1


@pytest.mark.conformance("C3")
async def test_an_enqueue_without_a_worker_outlives_a_crash_of_the_server() -> None:
    with EmbeddedServer() as server, new_database(server) as database:
        migrate(database.dsn)
        async with TaskClient(database.dsn) as client:
            handle = await client.enqueue("echo", {"n": 1})
        server.restart("immediate")
        assert database.rows("select id, state from perdure.task_states") == [
            (handle.id, "pending")
        ]
        async with running(database, echoing()) as worker:
            task = await worker.ended(handle.id)
        assert (task["state"], task["result"]) == ("completed", {"n": 1})
        database.check_drained()


@pytest.mark.conformance("C4")
@pytest.mark.parametrize("way", ["delay", "run_at"])
async def test_a_task_of_the_future_is_scheduled_and_starts_soon_after(
    database: Database, way: str
) -> None:
    length = timedelta(seconds=3)
    async with running(database, echoing()) as worker, TaskClient(database.dsn) as client:
        due = datetime.now(UTC) + length
        options: dict[str, Any] = {"delay": length} if way == "delay" else {"run_at": due}
        handle = await client.enqueue("echo", {}, **options)
        task = await worker.task(handle.id)
        assert (task["state"], task["reason"]) == ("scheduled", "delay")
        await passed_by(client)
        ended = await worker.ended(handle.id)
    late = ended["started_at"] - task["due_at"]
    assert timedelta(0) <= late < timedelta(seconds=1.1)
    database.check_drained()


@pytest.mark.conformance("C4")
async def test_a_time_in_the_past_runs_at_once_and_two_times_are_refused(
    database: Database,
) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    async with running(database, echoing()) as worker, TaskClient(database.dsn) as client:
        called = await client.enqueue("echo", {"n": 1}, run_at=past)
        (row,) = await worker.ask(
            "insert into perdure.tasks (name, run_at) values ('echo', %s) returning id", past
        )
        assert await called.result(timeout=PATIENCE) == {"n": 1}
        assert (await worker.ended(row["id"]))["state"] == "completed"
        with pytest.raises(InvalidArgument, match="exclude each other"):
            await client.enqueue("echo", {}, run_at=past, delay=1)
        with pytest.raises(psycopg.Error) as raised:
            await worker.ask(
                "select perdure.enqueue('echo', run_at => now(), delay => interval '1 minute')"
            )
    assert raised.value.sqlstate == "PD004"
    assert database.value("select count(*) from perdure.tasks") == 2
    database.check_drained()


@pytest.mark.conformance("C6")
async def test_a_checkpoint_that_is_given_reaches_the_first_run(database: Database) -> None:
    async with running(database, echoing()), TaskClient(database.dsn) as client:
        given = await client.enqueue("pages", {}, execution_metadata={"page": 41})
        many = await client.enqueue_many(
            [NewTask("pages", {}, execution_metadata={"page": 42}), NewTask("pages", {})]
        )
        results = [await handle.result(timeout=PATIENCE) for handle in (given, *many)]
    assert results == [41, 42, 3]
    database.check_drained()
