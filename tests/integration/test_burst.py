"""Bursts: a worker ends by itself when nothing is due, and not a moment before."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.store import queue
from perdure.tasks.outcomes import Failure, Suspended
from perdure.tasks.policies import Delays, RetryPolicy

BURST = Options(burst=True)


class Tasks:
    """One that fails once, one that fails for good, one that suspends, one that waits for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        builder = TaskService.builder()
        at_once = RetryPolicy(max_retries=1, backoff=Delays([0]))
        soon = RetryPolicy(max_retries=1, backoff=Delays([0.02]))
        builder.task("again", retry=at_once)(self.again)
        builder.task("soon", retry=soon)(self.again)
        builder.task("fails", retry=at_once)(self.fails)
        builder.task("rests")(self.rests)
        self.service: TaskService = builder.build()

    async def again(self, context: TaskContext[dict[str, Any], None]) -> Failure[str] | None:
        await self.go.wait()
        return Failure("once") if context.attempt == 1 else None

    async def fails(self, context: TaskContext[dict[str, Any], None]) -> Failure[str]:
        return Failure("always")

    async def rests(self, context: TaskContext[dict[str, Any], None]) -> Suspended:
        return Suspended()


async def ended_by_itself(worker: Running) -> None:
    """Wait for the end of the burst."""
    async with asyncio.timeout(10):
        await worker.worker.stopped()
    assert worker.worker.stop_reason == "burst"


async def test_a_burst_waits_for_a_retry_that_is_being_claimed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, real = Tasks(), queue.claim
    # Before the burst: one that finds nothing ends.
    task = database.value("select task_id from perdure.enqueue('again')")
    async with running(database, tasks.service, options=BURST) as worker:

        async def claimed_late(*arguments: Any) -> Any:
            claimed = await real(*arguments)
            monkeypatch.setattr(queue, "claim", real)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await worker.worker.stopped()
            return claimed

        enqueuer = worker.worker._enqueuer
        await worker.until(lambda: worker.worker.held)
        swept = enqueuer.sweeps
        enqueuer.loop.wake()
        await worker.until(lambda: enqueuer.sweeps > swept)
        monkeypatch.setattr(queue, "claim", claimed_late)
        tasks.go.set()
        await ended_by_itself(worker)
    row = database.rows("select state, attempt from perdure.task(%s::bigint)", (task,))
    assert row == [("completed", 2)]


async def test_a_burst_ends_with_what_failed_rests_or_is_paused(database: Database) -> None:
    tasks = Tasks()
    tasks.go.set()
    database.execute("select perdure.pause_queue('halted')")
    database.execute(
        "insert into perdure.tasks (name, queue) values ('again', 'default'), ('soon', 'default'),"
        " ('fails', 'default'), ('rests', 'default'), ('again', 'halted'), ('unknown', 'default')"
    )
    async with running(database, tasks.service, options=BURST) as worker:
        await ended_by_itself(worker)
    states = [
        state for (state,) in database.rows("select state from perdure.task_states order by id")
    ]
    assert states == ["completed", "completed", "failed", "suspended", "pending", "pending"]
