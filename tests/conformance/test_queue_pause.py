"""Queues that are paused and resumed."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.run.events import Event
from perdure.service import TaskService
from perdure.tasks.places import Claimed


class Gated:
    """A service whose tasks note their start and wait for `gate`; `heard` is set by a pause."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.heard = asyncio.Event()
        self.started: list[int] = []
        self.reasons: list[str | None] = []
        builder = TaskService.builder()
        builder.on("queue.paused", self._hear)

        @builder.task("import", queue="imports")
        async def imports(context: TaskContext[dict[str, int]]) -> str:
            return await self._wait(context)

        @builder.task("other", queue="others")
        async def other(context: TaskContext[dict[str, int]]) -> str:
            self.started.append(context.task_id)
            return "done"

        self.service = builder.build()

    def _hear(self, _: Event) -> None:
        self.heard.set()

    async def _wait(self, context: TaskContext[dict[str, int]]) -> str:
        self.started.append(context.task_id)
        waits = [
            asyncio.ensure_future(self.gate.wait()),
            asyncio.ensure_future(context.stop.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self.reasons.append(context.stop.reason)
        context.stop.check()
        return "done"


async def operate(run: Running, call: str) -> str:
    """What pause_queue or resume_queue answered."""
    rows = await run.ask(f"select perdure.{call} as answer")
    return str(rows[0]["answer"])


async def states(run: Running, tasks: list[int]) -> set[str]:
    return {(await run.task(task))["state"] for task in tasks}


@pytest.mark.conformance("C12")
@pytest.mark.parametrize("name", ["imports", "*"])
async def test_a_paused_queue_ends_what_runs_and_starts_nothing_until_it_is_resumed(
    database: Database, name: str
) -> None:
    gated = Gated()
    values: dict[str, Any] = {"execution__concurrency": 2, "execution__prefetch": 8}
    async with running(database, gated.service, **values) as run:
        first = [await run.enqueue("import") for _ in range(6)]
        await run.until(lambda: len(gated.started) == 2)
        running_now = list(gated.started)
        assert await operate(run, f"pause_queue('{name}')") == "paused"
        assert await operate(run, f"pause_queue('{name}')") == "already_paused"
        await gated.heard.wait()
        later = [await run.enqueue("import") for _ in range(3)]

        async def handed_back() -> bool:
            rows = await run.ask("select unnest(task_ids) as held from perdure.leases")
            return sorted(row["held"] for row in rows) == sorted(running_now)

        await run.until(handed_back)
        gated.gate.set()
        for task in running_now:
            assert (await run.ended(task))["state"] == "completed"
        if name == "imports":
            await run.ended(await run.enqueue("other"))
    waiting = [task for task in first + later if task not in running_now]
    gated.started.clear()

    # All workers start anew: the pause is still there, from their first claim on.
    async with running(database, gated.service, **values) as run:
        if name == "imports":
            beside = await run.enqueue("other")
            await run.ended(beside)
            assert gated.started == [beside]
        run.worker.beat_now()
        assert await states(run, waiting) == {"pending"}
        assert {(await run.task(task))["attempt"] for task in waiting} == {0}
        assert "is paused" in (await run.task(waiting[0]))["waiting_for"]
        assert await operate(run, f"resume_queue('{name}')") == "resumed"
        assert await operate(run, f"resume_queue('{name}')") == "not_paused"
        for task in waiting:
            row = await run.ended(task)
            assert (row["state"], row["attempt"]) == ("completed", 1)
    assert not await run.ask("select from perdure.attempts")
    database.check_drained()


@pytest.mark.conformance("C12")
async def test_a_queue_may_be_paused_before_it_was_ever_used(database: Database) -> None:
    gated = Gated()
    gated.gate.set()
    async with running(database, gated.service) as run:
        assert await operate(run, "pause_queue('imports')") == "paused"
        await gated.heard.wait()
        task = await run.enqueue("import")
        await run.ended(await run.enqueue("other"))
        assert await states(run, [task]) == {"pending"}
        assert await operate(run, "resume_queue('imports')") == "resumed"
        assert (await run.ended(task))["attempt"] == 1
    database.check_drained()


@pytest.mark.conformance("C13")
@pytest.mark.parametrize("paused_before", [False, True])
async def test_a_pause_that_stops_interrupts_what_runs(
    database: Database, paused_before: bool
) -> None:
    gated = Gated()
    async with running(database, gated.service, execution__concurrency=1) as run:
        task = await run.enqueue("import")
        await run.until(lambda: gated.started)
        answer = "paused"
        if paused_before:
            assert await operate(run, "pause_queue('imports')") == "paused"
            await gated.heard.wait()
            answer = "already_paused"
        assert await operate(run, "pause_queue('imports', stop_running => true)") == answer
        row = await run.state(task, "pending")
        assert gated.reasons == ["paused"]
        assert (row["attempt"], row["failures"]) == (1, 0)
        assert (row["interruptions"], row["crashes"]) == (1, 0)
        rows: list[dict[str, Any]] = await run.ask("select kind, reason from perdure.attempts")
        assert rows == [{"kind": "interruption", "reason": "paused"}]
        await run.ended(await run.enqueue("other"))
        assert await states(run, [task]) == {"pending"}
        gated.gate.set()
        assert await operate(run, "resume_queue('imports')") == "resumed"
        row = await run.ended(task)
        assert (row["state"], row["attempt"], row["failures"]) == ("completed", 2, 0)
    database.check_drained()


@pytest.mark.conformance("C12")
async def test_what_a_claim_under_way_brings_of_a_paused_queue_is_not_started(
    database: Database,
) -> None:
    gated = Gated()
    async with running(database, gated.service) as run:
        enqueuer = run.worker._enqueuer
        brought = Claimed(str(uuid4()), 1, "import", "{}")
        queue = enqueuer.lanes.queue_of(brought.lane)
        # Nothing is awaited in between: no slot, and no turn of the enqueuer, comes in.
        for paused in ({queue: False}, {"*": False}):
            enqueuer.lanes.paused = paused
            enqueuer.buffer.append(brought)
            assert enqueuer.take() is None
            enqueuer.buffer.clear()
        enqueuer.lanes.paused = {}
    assert not gated.started
