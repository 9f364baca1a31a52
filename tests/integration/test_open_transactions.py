"""A handler's open transaction, with a checkpoint in it: it holds up no neighbour, nor itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import running

from perdure.declare.builder import ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import DatabaseUnavailable
from perdure.run import saves
from perdure.service import TaskService
from perdure.store import queue


class Page(BaseModel):
    """A small checkpoint."""

    number: int = 0


kind = TaskKind("together", dict[str, Any], execution_metadata=Page)
# Long: the server ends who sleeps in a fenced transaction for the length of a lease.
LONG: dict[str, Any] = {"execution__lease_duration": "30s"}
TASKS = 4


def with_short(builder: ServiceBuilder[TaskService]) -> TaskService:
    """The service, with a task whose ending follows what was asked to be saved before."""

    @builder.task("short")
    async def short(_: TaskContext[dict[str, Any], None]) -> None:
        pass

    return builder.build()


async def test_a_report_beside_an_open_checkpoint_holds_up_no_neighbour_and_no_completion(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began: list[int] = []
    together, opened, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        began.append(context.task_id)
        if len(began) == TASKS:
            assert database.value("select count(*) from perdure.leases") == 1
            together.set()
        await together.wait()
        if context.task_id != began[0]:
            await opened.wait()
            context.execution_metadata.number = 2
            await context.checkpoint()
            return
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            await context.checkpoint(on=own)
            context.progress(1, 2)
            opened.set()
            await go.wait()
            context.progress(2, 2)
            await context.complete(None, on=own)

    database.execute(
        "insert into perdure.tasks (name) select 'together' from generate_series(1, %s::int)",
        [TASKS],
    )
    async with running(database, builder.build(), **LONG) as worker:
        count = "select count(*) from perdure.outcomes"
        await worker.until(lambda: database.value(count) == TASKS - 1, 10)
        go.set()
        await worker.until(lambda: database.value(count) == TASKS, 10)
    assert database.value("select count(*) from perdure.attempts") == 0
    database.check_drained()


async def test_what_was_put_off_is_saved_when_the_transaction_is_over(database: Database) -> None:
    builder = TaskService.builder()
    asked, tried, saved, go = (asyncio.Event() for _ in range(4))

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            await context.checkpoint(on=own)
            context.progress(1, 2)
            context.execution_metadata.number = 2
            later = asyncio.create_task(context.checkpoint())
            asked.set()
            await tried.wait()
            assert not later.done()
        await later
        saved.set()
        await go.wait()

    async with running(database, with_short(builder), **LONG) as worker:
        task = await worker.enqueue("together")
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            # What is asked before an ending is sent before it.
            await worker.ended(await worker.enqueue("short"))
            tried.set()
            await saved.wait()
        rows = "select execution_metadata, progress -> 'done' from perdure.progress"
        assert database.rows(rows) == [({"number": 2}, 1)]
        go.set()
        await worker.ended(task)
    database.check_drained()


@pytest.mark.parametrize("given_up", [False, True])
async def test_what_was_asked_before_does_not_follow_a_checkpoint_of_a_transaction(
    database: Database, given_up: bool
) -> None:
    builder = TaskService.builder()
    found: list[Any] = []

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            await context.checkpoint(on=own)
            context.execution_metadata.number = 2
            if given_up:
                with suppress(TimeoutError):
                    await asyncio.wait_for(context.checkpoint(), 0.05)
            else:
                context.checkpoint_soon()
            # It has been sent with this ending, has met the lock, and was put off.
            await worker.ended(await worker.enqueue("short"))
            context.execution_metadata.number = 3
            await context.checkpoint(on=own)
            await own.commit()
        # Whatever was put off is sent before this, or with it.
        context.progress(1, 2)
        told = "select execution_metadata from perdure.progress where progress is not null"
        await worker.until(lambda: database.rows(told))
        found.extend(database.rows(told))

    async with running(database, with_short(builder), **LONG) as worker:
        await worker.ended(await worker.enqueue("together"))
    assert found == [({"number": 3},)]
    database.check_drained()


async def test_nor_does_it_follow_one_of_a_thread(database: Database) -> None:
    builder = TaskService.builder()
    found: list[Any] = []
    loop = asyncio.get_running_loop()

    @builder.task(kind)
    def run(context: SyncTaskContext[dict[str, Any], Page]) -> None:
        with psycopg.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            context.checkpoint(on=own)
            context.execution_metadata.number = 2
            context.checkpoint_soon()
            short = asyncio.run_coroutine_threadsafe(worker.enqueue("short"), loop).result()
            asyncio.run_coroutine_threadsafe(worker.ended(short), loop).result()
            context.execution_metadata.number = 3
            context.checkpoint(on=own)
            own.commit()
        context.progress(1, 2)
        told = "select execution_metadata from perdure.progress where progress is not null"
        with psycopg.connect(database.dsn, autocommit=True) as asking:
            while not found:
                found.extend(asking.execute(told.encode()).fetchall())

    async with running(database, with_short(builder), **LONG) as worker:
        await worker.ended(await worker.enqueue("together"))
    assert found == [({"number": 3},)]
    database.check_drained()


def wait_with(
    monkeypatch: pytest.MonkeyPatch, name: str = "finish"
) -> tuple[asyncio.Event, asyncio.Event]:
    """Have one statement wait, plain endings if not told: set when it does, and to go on."""
    real, held, go = getattr(queue, name), asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any) -> Any:
        held.set()
        await go.wait()
        return await real(*arguments)

    monkeypatch.setattr(queue, name, late)
    return held, go


async def test_what_was_asked_before_a_transaction_does_not_wait_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TaskService.builder()
    held, go = wait_with(monkeypatch)

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        ending = await worker.enqueue("short")
        await held.wait()
        # Alone in its lease, it keeps it: this is asked for under the lease of the transaction.
        context.progress(1, 3)
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            await context.checkpoint(on=own)
            go.set()
            await worker.ended(ending)
            await worker.ended(await worker.enqueue("short"))
            context.execution_metadata.number = 2
            await context.complete(None, on=own)

    async with running(database, with_short(builder), **LONG) as worker:
        task = await worker.enqueue("together")
        assert (await worker.ended(task, 10))["execution_metadata"] == {"number": 2}
    database.check_drained()


async def test_nor_what_stood_behind_others_of_its_flush(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TaskService.builder()
    monkeypatch.setattr(saves, "SAVES_MOST", 1)
    held, go = wait_with(monkeypatch, "save")
    others: asyncio.Queue[TaskContext[dict[str, Any], None]] = asyncio.Queue()

    @builder.task("other")
    async def other(context: TaskContext[dict[str, Any], None]) -> None:
        others.put_nowait(context)
        await go.wait()

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        for reporting in (await others.get(), context):
            reporting.progress(1, 2)
        await held.wait()
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            context.execution_metadata.number = 1
            await context.checkpoint(on=own)
            go.set()
            # It ends with the flush in which the report has been.
            await worker.ended(first)
            await context.complete(None, on=own)

    async with running(database, builder.build(), **LONG) as worker:
        first = await worker.enqueue("other")
        await worker.until(lambda: not others.empty())
        task = await worker.enqueue("together")
        assert (await worker.ended(task, 10))["execution_metadata"] == {"number": 1}
    database.check_drained()


async def test_what_a_transaction_that_failed_had_overtaken_rides_the_ending(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TaskService.builder()
    held, go = wait_with(monkeypatch)
    deferred = "create table once (n int unique deferrable initially deferred)"
    database.execute(f"{deferred}; insert into once values (1)")

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        await worker.enqueue("short")
        await held.wait()
        context.execution_metadata.number = 1
        context.checkpoint_soon()
        with suppress(psycopg.errors.UniqueViolation):
            async with context.transaction() as connection:
                context.execution_metadata.number = 2
                await connection.execute("insert into once values (1)")
        assert context.execution_metadata.number == 1
        go.set()

    async with running(database, with_short(builder), **LONG) as worker:
        row = await worker.ended(await worker.enqueue("together"))
    assert (row["state"], row["execution_metadata"]) == ("completed", {"number": 1})
    database.check_drained()


async def test_a_completion_beside_an_open_transaction_of_its_own_run_fails_soon(
    database: Database,
) -> None:
    builder = TaskService.builder()
    raised: list[BaseException] = []

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(database.dsn) as one, await connect(database.dsn) as other:
            await context.checkpoint(on=one)
            with pytest.raises((DatabaseUnavailable, psycopg.errors.LockNotAvailable)) as caught:
                async with asyncio.timeout(8):
                    await context.complete(None, on=other)
            raised.append(caught.value)

    async with running(database, builder.build(), **LONG) as worker:
        await worker.ended(await worker.enqueue("together"))
    assert raised
    database.check_drained()


async def test_what_was_asked_to_be_saved_before_the_lease_changed_is_saved(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder, save, separate = TaskService.builder(), queue.save, queue.separate
    began: list[int] = []
    together, patched, given, refused, saved, go = (asyncio.Event() for _ in range(6))

    async def save_behind(*arguments: Any) -> list[bool]:
        await given.wait()
        answers = await save(*arguments)
        refused.set()
        return answers

    async def separate_unhurried(*arguments: Any) -> Any:
        lease = await separate(*arguments)
        given.set()
        await refused.wait()
        return lease

    @builder.task(kind)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        began.append(context.task_id)
        if len(began) == TASKS:
            together.set()
        await together.wait()
        if context.task_id == began[0]:
            await patched.wait()
            context.execution_metadata.number = 1
            context.progress(1, 2)
            async with asyncio.TaskGroup() as both:
                both.create_task(context.checkpoint())
                both.create_task(context.enqueue("later", {}, on=own))
            await own.commit()
            saved.set()
        await go.wait()

    database.execute(
        "insert into perdure.tasks (name) select 'together' from generate_series(1, %s::int)",
        [TASKS],
    )
    async with (
        await psycopg.AsyncConnection.connect(database.dsn) as own,
        running(database, builder.build(), **LONG) as worker,
    ):
        await together.wait()
        monkeypatch.setattr(queue, "save", save_behind)
        monkeypatch.setattr(queue, "separate", separate_unhurried)
        patched.set()
        async with asyncio.timeout(PATIENCE):
            await saved.wait()
        rows = "select task_id, execution_metadata, progress -> 'done' from perdure.progress"
        assert database.rows(rows) == [(began[0], {"number": 1}, 1)]
        assert database.value("select count(*) from perdure.attempts") == 0
        go.set()
        count = "select count(*) from perdure.outcomes"
        await worker.until(lambda: database.value(count) == TASKS)
