"""How runs end: results, errors that cannot be stored, checkpoints kept, what follows failure."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.builder import ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import TaskBuilder
from perdure.service import TaskService
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.queue import Settled, Settling
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success
from perdure.tasks.policies import Delays, RetryPolicy

Context = TaskContext[dict[str, Any], None]
AT_ONCE = RetryPolicy(max_retries=1, backoff=Delays([0]))


class Wanted(BaseModel):
    """Metadata with a field that must be there."""

    n: int


class Pages(BaseModel):
    """A checkpoint."""

    page: int = 0


class Unprintable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


async def do_nothing(_: Context) -> None:
    """The simplest handler."""


def exhausting() -> TaskService:
    """Tasks that fail in every way, each followed by `aftermath`."""
    builder = TaskService.builder()

    async def fail(context: TaskContext[Wanted, None]) -> Any:
        match context.name:
            case "exhausted":
                raise ValueError("no")
            case "given_up":
                return Failure("no", final=True)
            case "bad_result":
                return math.nan
            case "handler":
                return Cancelled("no")
            case "requested":
                await context.stop.wait()
                raise ValueError("stopped")
            case _:
                return None

    def failing(name: str) -> Callable[[TaskBuilder[Any, Any, Any, Any]], object]:
        return lambda task: (
            task.named(name).handled_by(fail).with_retry_policy(AT_ONCE).on_exhausted("aftermath")
        )

    for name in ("exhausted", "given_up", "bad_result", "invalid", "crash", "handler", "requested"):
        builder.add_task(failing(name))
    builder.task("aftermath")(do_nothing)
    return builder.build()


async def aftermaths(worker: Running) -> list[dict[str, Any]]:
    """The tasks that were enqueued on account of others, when all have ended."""
    await worker.until(lambda: all_ended(worker))
    return await worker.ask("select * from perdure.tasks where name = 'aftermath' order by id")


async def all_ended(worker: Running) -> bool:
    rows = await worker.ask(
        "select id from perdure.task_states where state not in ('completed', 'failed', 'cancelled')"
    )
    return not rows


@pytest.mark.conformance("C26")
async def test_a_task_that_fails_for_good_enqueues_one_other(database: Database) -> None:
    cases = {"exhausted": 2, "given_up": 1, "bad_result": 1, "invalid": 0}
    async with running(database, exhausting()) as worker:
        for name, runs in cases.items():
            metadata = {"odd": True} if name == "invalid" else {"n": 7}
            task = await worker.enqueue(name, json.dumps(metadata))
            row = await worker.ended(task)
            assert (row["state"], row["reason"], row["attempt"]) == ("failed", name, runs)
            other = (await aftermaths(worker))[-1]
            assert other["metadata"] == {
                "task_id": task,
                "name": name,
                "metadata": metadata,
                "error": row["error"],
                "failures": row["failures"],
                "attempt": runs,
            }
        assert len(await aftermaths(worker)) == len(cases)
    database.check_drained()


@pytest.mark.conformance("C26")
async def test_too_many_crashes_enqueue_the_other_task_too(database: Database) -> None:
    task = database.value("select task_id from perdure.enqueue('crash', '{\"n\": 1}')")
    # Ten workers have died with it.
    database.execute(
        "insert into perdure.progress (task_id, attempt, crashes) values (%s, 10, 10)", (task,)
    )
    database.execute(
        "insert into perdure.attempts (task_id, attempt, kind)"
        " select %s, n, 'crash' from generate_series(1, 10) as n", (task,)
    )  # fmt: skip
    async with running(database, exhausting()) as worker:
        row = await worker.ended(task)
        assert (row["state"], row["reason"], row["attempt"]) == ("failed", "crash", 10)
        (other,) = await aftermaths(worker)
        assert (other["metadata"]["attempt"], other["metadata"]["failures"]) == (10, 0)
    database.check_drained()


@pytest.mark.conformance("C26")
async def test_a_cancelled_task_enqueues_none(database: Database) -> None:
    async with running(database, exhausting()) as worker:
        by_itself = await worker.enqueue("handler", '{"n": 1}')
        stopped = await worker.enqueue("requested", '{"n": 1}')
        waiting = await worker.enqueue("exhausted", '{"n": 1}', delay="1 hour")
        await worker.state(stopped, "running")
        for task in (stopped, waiting):
            await worker.ask("select perdure.cancel(%s::bigint)", task)
        for task in (by_itself, stopped, waiting):
            assert (await worker.ended(task))["state"] == "cancelled"
        assert await aftermaths(worker) == []
    database.check_drained()


@pytest.mark.conformance("C26")
async def test_a_lost_reply_of_settle_does_not_enqueue_it_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, lost = queue.settle, 0

    async def settle_and_lose(
        session: Session, worker: int, moves: list[Settling]
    ) -> list[Settled]:
        nonlocal lost
        answers = await settle(session, worker, moves)
        if any(answer.answer == "settled" for answer in answers) and lost < 3:
            lost += 1
            await session.close()
            raise psycopg.OperationalError("the server closed the connection")
        return answers

    monkeypatch.setattr(queue, "settle", settle_and_lose)
    async with running(database, exhausting()) as worker:
        row = await worker.ended(await worker.enqueue("exhausted", '{"n": 1}'))
        assert (row["reason"], row["attempt"], row["failures"]) == ("exhausted", 2, 2)
        assert len(await aftermaths(worker)) == 1
    assert lost >= 2
    database.check_drained()


def declare_results(builder: ServiceBuilder[TaskService]) -> None:
    """Tasks whose results cannot be stored."""

    async def large(_: Context) -> str:
        return "x" * 200_000

    async def nan(_: Context) -> dict[str, float]:
        return {"ratio": math.nan}

    async def odd(_: Context) -> Any:
        return object()

    async def wrong(_: Context) -> Pages:
        return "no page"  # type: ignore[return-value]

    async def nul(_: Context) -> dict[str, str]:
        return {"text": "\0"}

    def threaded(_: SyncTaskContext[dict[str, Any], None]) -> float:
        return math.inf

    for handler in (large, nan, odd, wrong, nul, threaded):
        builder.task(handler.__name__)(handler)


@pytest.mark.conformance("C27")
async def test_a_result_that_cannot_be_stored_fails_without_a_second_run(
    database: Database,
) -> None:
    builder = TaskService.builder()
    declare_results(builder)
    service = builder.build()
    async with running(database, service, limits__result_bytes=100_000) as worker:
        tasks = [await worker.enqueue(name) for name in service.registry.names()]
        for task in tasks:
            row = await worker.ended(task)
            assert (row["state"], row["reason"], row["attempt"]) == ("failed", "bad_result", 1)
            assert row["error"]["message"]
            assert row["result"] is None
    assert database.value("select count(*) from perdure.attempts") == 0
    database.check_drained()


@pytest.mark.conformance("C27")
async def test_whatever_is_thrown_is_recorded(database: Database) -> None:
    errors = {
        "nul": (ValueError("a\0b"), "a"),
        "surrogate": (ValueError("a\udc80b"), "a"),
        "endless": (ValueError("x" * 300_000_000), "x" * 100),
        "unprintable": (Unprintable(), ""),
    }
    builder = TaskService.builder()

    async def throw(context: Context) -> None:
        raise errors[context.name][0]

    for name in errors:
        builder.task(name, retry=0)(throw)
    async with running(database, builder.build()) as worker:
        for name, (error, kept) in errors.items():
            row = await worker.ended(await worker.enqueue(name))
            assert (row["state"], row["reason"], row["attempt"]) == ("failed", "exhausted", 1)
            assert row["error"]["type"] == type(error).__name__
            assert row["error"]["message"].startswith(kept)
            assert row["error"]["traceback"]
    assert database.value("select max(octet_length(error::text)) from perdure.outcomes") <= 65_536
    database.check_drained()


@pytest.mark.conformance("C28")
async def test_none_is_the_result_null_and_success_is_its_result(database: Database) -> None:
    builder = TaskService.builder()

    @builder.task("none")
    async def none(_: Context) -> None:
        return

    @builder.task("plain")
    async def plain(_: Context) -> Pages:
        return Pages(page=3)

    @builder.task("wrapped")
    async def wrapped(_: Context) -> Success[Pages]:
        return Success(Pages(page=3))

    @builder.task("wrapped.none")
    async def untyped(_: Context) -> Outcome[None, None]:
        return Success(None)

    @builder.task("thread")
    def thread(_: SyncTaskContext[dict[str, Any], None]) -> Success[Pages]:
        return Success(Pages(page=3))

    async with running(database, builder.build()) as worker:
        found = {}
        for name in ("none", "plain", "wrapped", "wrapped.none", "thread"):
            row = await worker.ended(await worker.enqueue(name))
            found[name] = (row["state"], row["reason"], row["attempt"], row["result"])
        assert found["none"] == found["wrapped.none"] == ("completed", None, 1, None)
        assert found["plain"] == found["wrapped"] == found["thread"]
        assert found["plain"] == ("completed", None, 1, {"page": 3})
    database.check_drained()


@pytest.mark.conformance("C41")
async def test_a_cancellation_that_nobody_asked_for_is_a_thrown_failure(
    database: Database,
) -> None:
    builder = TaskService.builder()

    async def unwind(context: Context) -> int:
        if context.attempt == 1 and context.name == "raised":
            raise asyncio.CancelledError("mine")
        if context.attempt == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()
        return context.attempt

    def unwind_thread(context: SyncTaskContext[dict[str, Any], None]) -> int:
        if context.attempt == 1:
            raise asyncio.CancelledError("mine")
        return context.attempt

    builder.task("raised", retry=AT_ONCE)(unwind)
    builder.task("cancelled", retry=AT_ONCE)(unwind)
    builder.task("thread", retry=AT_ONCE)(unwind_thread)
    async with running(database, builder.build(), execution__concurrency=1) as worker:
        for name in ("raised", "cancelled", "thread"):
            row = await worker.ended(await worker.enqueue(name))
            assert (row["state"], row["attempt"], row["result"]) == ("completed", 2, 2)
            assert (row["failures"], row["interruptions"], row["crashes"]) == (1, 0, 0)
        runs = await worker.ask("select kind, error from perdure.attempts")
        assert {(run["kind"], run["error"]["type"]) for run in runs} == {
            ("failure", "CancelledError")
        }
    assert len(runs) == 3
    database.check_drained()


async def test_a_thread_may_raise_what_a_future_cannot_carry(database: Database) -> None:
    builder = TaskService.builder()

    @builder.task("next", retry=0)
    def take_next(_: SyncTaskContext[dict[str, Any], None]) -> int:
        return next(iter([]))

    async with running(database, builder.build()) as worker:
        row = await worker.ended(await worker.enqueue("next"))
        assert (row["state"], row["reason"]) == ("failed", "exhausted")
        assert "StopIteration" in row["error"]["traceback"]
    database.check_drained()


@pytest.mark.conformance("C43")
async def test_a_failure_keeps_the_checkpoint_that_its_kind_promises(database: Database) -> None:
    builder = TaskService.builder()
    seen: dict[str, list[int]] = {"thrown": [], "saved": [], "returned": [], "retry": []}

    async def change(context: TaskContext[dict[str, Any], Pages]) -> Any:
        seen[context.name].append(context.execution_metadata.page)
        if context.attempt == 2:
            return None
        if context.name == "saved":
            context.execution_metadata.page = 5
            await context.checkpoint()
        context.execution_metadata.page = 7
        match context.name:
            case "returned":
                return Failure("no")
            case "retry":
                return Retry()
            case _:
                raise ValueError("no")

    for name in seen:
        builder.task(name, retry=AT_ONCE)(change)
    async with running(database, builder.build()) as worker:
        kept = {}
        for name in seen:
            row = await worker.ended(await worker.enqueue(name))
            assert (row["state"], row["failures"]) == ("completed", 1)
            kept[name] = row["execution_metadata"]
    assert seen == {"thrown": [0, 0], "saved": [0, 5], "returned": [0, 7], "retry": [0, 7]}
    assert kept["returned"] == kept["retry"] == {"page": 7}
    assert kept["saved"] == {"page": 5}
    database.check_drained()
