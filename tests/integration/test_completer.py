"""Faults at the worst moment of a flush, a claim or a stop: nothing is lost, held or run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import cut_off, running
from tests.kit.stepping import waits_for_a_lock

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.service import TaskService
from perdure.store import queue


class Page(BaseModel):
    """A checkpoint."""

    number: int = 0


Faults = Callable[..., None]
paged = TaskKind("paged", dict[str, Any], execution_metadata=Page)


def refused() -> Exception:
    return psycopg.errors.UntranslatableCharacter("refused")


def lost() -> Exception:
    return psycopg.OperationalError("lost")


def enqueue(database: Database, name: str) -> None:
    """Four tasks that are not tried again."""
    database.execute(
        "insert into perdure.tasks (name, max_retries) select %s, 0 from generate_series(1, 4)",
        [name],
    )


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """`faults("finish", lost())`: the next calls of this statement raise these, one each."""

    def arm(name: str, *errors: Exception) -> None:
        real, left = getattr(queue, name), list(errors)

        async def call(*arguments: Any) -> Any:
            if left:
                raise left.pop(0)
            return await real(*arguments)

        monkeypatch.setattr(queue, name, call)

    return arm


class Together:
    """Tasks that end at one moment, so that one flush takes them all."""

    def __init__(self, *, fail: bool = False) -> None:
        self.began = 0
        self.go = asyncio.Event()
        self.fail = fail
        builder = TaskService.builder()
        builder.task("together")(self.run)
        self.service: TaskService = builder.build()

    async def run(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.began += 1
        await self.go.wait()
        if self.fail:
            raise RuntimeError("on purpose")


@pytest.mark.parametrize(("name", "fail"), [("finish", False), ("settle", True)])
async def test_a_connection_lost_while_a_refused_value_is_sought_drops_no_ending(
    database: Database, faults: Faults, name: str, fail: bool
) -> None:
    together = Together(fail=fail)
    enqueue(database, "together")
    async with running(database, together.service) as worker:
        await worker.until(lambda: together.began == 4)
        faults(name, refused(), lost())
        together.go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 4, 5)
        await worker.until(lambda: worker.worker.held == 0, 5)
    database.check_drained()


async def test_an_ending_whose_fate_cannot_be_asked_at_once_is_told_later(
    database: Database, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    together = Together(fail=True)
    real = queue.settle

    async def settled_unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(queue, "settle", real)
        await real(*arguments)
        raise lost()

    enqueue(database, "together")
    async with running(database, together.service) as worker:
        await worker.until(lambda: together.began == 4)
        monkeypatch.setattr(queue, "settle", settled_unheard)
        faults("fates", lost())
        together.go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 4, 5)
        await worker.until(lambda: worker.worker.held == 0, 5)
    database.check_drained()


async def test_a_connection_lost_while_a_refused_save_is_sought_leaves_no_handler_waiting(
    database: Database, faults: Faults
) -> None:
    builder = TaskService.builder()
    began: list[int] = []
    go = asyncio.Event()

    @builder.task(paged)
    async def save(context: TaskContext[dict[str, Any], Page]) -> None:
        began.append(context.task_id)
        await go.wait()
        context.execution_metadata.number = 1
        await context.checkpoint()

    enqueue(database, "paged")
    async with running(database, builder.build()) as worker:
        await worker.until(lambda: len(began) == 4)
        faults("save", refused(), lost())
        go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 4, 5)
    database.check_drained()


async def test_a_checkpoint_given_up_in_an_outage_never_overwrites_a_later_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TaskService.builder()
    real = queue.save
    saved = asyncio.Event()
    away = asyncio.Event()
    resumed: list[int] = []

    async def save(session: Any, saves: Any) -> Any:
        if away.is_set():
            raise lost()
        answer = await real(session, saves)
        saved.set()
        return answer

    @builder.task(paged)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        if context.attempt > 1:
            resumed.append(context.execution_metadata.number)
            return
        away.set()
        for number in (1, 2):
            context.execution_metadata.number = number
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await context.checkpoint()
        context.execution_metadata.number = 3
        context.checkpoint_soon()
        away.clear()
        await saved.wait()
        raise RuntimeError("on purpose")

    monkeypatch.setattr(queue, "save", save)
    async with running(database, builder.build()) as worker:
        task = await worker.enqueue("paged", retry_delays=[0.0])
        await worker.ended(task)
    assert resumed == [3]
    database.check_drained()


@pytest.mark.parametrize(("name", "fail"), [("finish", False), ("settle", True)])
async def test_a_refused_ending_of_a_task_that_was_cancelled_meanwhile_is_cancelled(
    database: Database, faults: Faults, name: str, fail: bool
) -> None:
    together = Together(fail=fail)
    task = database.value("insert into perdure.tasks (name) values ('together') returning id")
    async with running(database, together.service) as worker:
        await worker.until(lambda: together.began == 1)
        assert database.value("select perdure.cancel(%s::bigint)", (task,)) == "requested"
        faults(name, refused())
        together.go.set()
        row = await worker.ended(task, timeout=5)
    assert row["state"] == "cancelled"
    database.check_drained()


async def test_saving_a_checkpoint_makes_nobody_look_for_tasks(database: Database) -> None:
    builder = TaskService.builder()
    looks: list[int] = []

    @builder.task(paged)
    async def handle(context: TaskContext[dict[str, Any], Page]) -> None:
        await context.checkpoint()
        looks.append(worker.worker._enqueuer.sweeps)
        for number in range(100):
            context.execution_metadata.number = number
            await context.checkpoint()
        looks.append(worker.worker._enqueuer.sweeps)

    async with running(database, builder.build()) as worker:
        await worker.ended(await worker.enqueue("paged"))
    before, after = looks
    assert after - before < 50


async def test_a_transaction_that_a_handler_leaves_open_holds_up_no_other_ending(
    database: Database,
) -> None:
    builder = TaskService.builder()
    left: list[psycopg.AsyncConnection[Any]] = []

    @builder.task(paged)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        own = await psycopg.AsyncConnection.connect(database.dsn)
        opened.push_async_callback(own.close)
        context.execution_metadata.number += 1
        await context.checkpoint(on=own)
        left.append(own)
        context.execution_metadata.number += 1

    @builder.task("other")
    async def other(_context: TaskContext[dict[str, Any], None]) -> None:
        pass

    async with AsyncExitStack() as opened, running(database, builder.build()) as worker:
        first = await worker.enqueue("paged")
        await worker.until(lambda: left)
        second = await worker.enqueue("other")
        assert (await worker.ended(second))["state"] == "completed"
        assert (await worker.task(first))["state"] == "running"
        await left[0].commit()
        assert (await worker.ended(first))["execution_metadata"] == {"number": 2}


async def test_a_checkpoint_is_in_the_database_when_it_returns(database: Database) -> None:
    builder = TaskService.builder()
    found: list[Any] = []

    @builder.task(paged)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        context.execution_metadata.number = 7
        await context.checkpoint()
        found.append(database.value("select execution_metadata from perdure.progress"))

    async with running(database, builder.build()) as worker:
        await worker.ended(await worker.enqueue("paged"))
    assert found == [{"number": 7}]


async def test_a_completion_in_an_open_transaction_holds_up_no_neighbour(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began: list[int] = []
    together, completed, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @builder.task("together")
    async def run(context: TaskContext[dict[str, Any], None]) -> None:
        began.append(context.task_id)
        if len(began) == 4:
            assert database.value("select count(*) from perdure.leases") == 1
            together.set()
        await together.wait()
        if context.task_id != began[0]:
            await completed.wait()
            return
        async with await psycopg.AsyncConnection.connect(database.dsn) as own:
            await context.complete(None, on=own)
            completed.set()
            await go.wait()

    enqueue(database, "together")
    # Long: the server ends who sleeps in a fenced transaction for the length of a lease.
    async with running(database, builder.build(), execution__lease_duration="30s") as worker:
        count = "select count(*) from perdure.outcomes"
        await worker.until(lambda: database.value(count) == 3)
        go.set()
        await worker.until(lambda: database.value(count) == 4)
    database.check_drained()


@pytest.mark.parametrize("faults", [0, 1])
async def test_a_save_that_was_cut_off_is_not_written_over_a_later_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, faults: int
) -> None:
    builder, real = TaskService.builder(), queue.end_session
    saved, go = asyncio.Event(), asyncio.Event()

    async def end_session(*arguments: Any) -> None:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise psycopg.errors.QueryCanceled("too slow")
        await real(*arguments)

    monkeypatch.setattr(queue, "end_session", end_session)

    @builder.task(paged)
    async def run(context: TaskContext[dict[str, Any], Page]) -> None:
        for number in (1, 2):
            context.execution_metadata.number = number
            await context.checkpoint()
        saved.set()
        await go.wait()

    database.execute(
        """
        create table public.held_up (pid int);
        create function hold() returns trigger language plpgsql as $$
        begin
            if exists (select from public.held_up where pid = pg_backend_pid()) then
                perform pg_advisory_xact_lock_shared(1);
            end if;
            return new;
        end $$;
        create trigger hold before insert or update on perdure.progress
            for each row execute function hold()
        """
    )
    async with running(database, builder.build()) as worker:
        old = await worker.until(lambda: worker.worker._completer._session)
        database.execute("insert into public.held_up values (%s)", [old.backend_pid])
        database.value("select pg_advisory_lock(1)")
        task = await worker.enqueue("paged")
        await waits_for_a_lock(database, "advisory")
        cut_off(old)
        async with asyncio.timeout(PATIENCE):
            await saved.wait()
        database.value("select pg_advisory_unlock(1)")
        alive = "select from pg_stat_activity where pid = %s"
        await worker.until(lambda: not database.rows(alive, [old.backend_pid]))
        assert database.value("select execution_metadata from perdure.progress") == {"number": 2}
        go.set()
        await worker.ended(task)
    database.check_drained()
