"""Watching a task must not change it: progress, and listeners that raise."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.declare.listeners import EVENTS
from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Suspended
from perdure.tasks.policies import Delays, RetryPolicy

Context = TaskContext[dict[str, Any], None]
SLOW: dict[str, Any] = {
    "execution__lease_duration": "90s",
    "execution__beat_interval": "30s",
    "scheduling__wakeups": "off",
}
"""A worker that will not hear soon that it has been declared dead."""


async def holds(worker: Running, task: int, expected: dict[str, Any]) -> Any:
    """The progress as anybody can read it, if it has these values."""
    shown = (await worker.task(task))["progress"]
    return shown if shown and expected.items() <= shown.items() else None


@pytest.mark.conformance("C105")
@pytest.mark.parametrize("handler", ["async", "thread"])
async def test_progress_is_seen_while_a_task_runs_and_its_last_value_after_it(
    database: Database, handler: str
) -> None:
    builder = TaskService.builder()
    steps: asyncio.Queue[int] = asyncio.Queue()
    reported: list[float] = []
    loop = asyncio.get_running_loop()

    def report(context: Context | SyncTaskContext[dict[str, Any], None], step: int) -> None:
        reported.append(time.monotonic())
        context.progress(step, 10, f"step {step}")

    async def walks(context: Context) -> None:
        while (step := await steps.get()) < 9:
            report(context, step)
        context.progress(9, 10)
        context.progress(10, 10, "last")

    def walks_in_thread(context: SyncTaskContext[dict[str, Any], None]) -> None:
        while (step := asyncio.run_coroutine_threadsafe(steps.get(), loop).result()) < 9:
            report(context, step)
        context.progress(9, 10)
        context.progress(10, 10, "last")

    builder.task("walks")(walks if handler == "async" else walks_in_thread)
    lags = []
    # A beat would come too late: each report is written by itself.
    async with running(database, builder.build(), **SLOW) as worker:
        for _ in range(2):
            task = await worker.enqueue("walks")
            for step in (1, 5):
                steps.put_nowait(step)
                expected = {"done": step, "total": 10, "message": f"step {step}"}
                await worker.until(partial(holds, worker, task, expected))
                lags.append(time.monotonic() - reported[-1])
                assert (await worker.task(task))["state"] == "running"
            steps.put_nowait(9)
            row = await worker.ended(task)
            assert row["progress"] == {"done": 10, "total": 10, "message": "last"}
            assert (row["state"], row["attempt"]) == ("completed", 1)
    # The first report of a run goes another way than those after it; of two of each kind one may
    # meet a machine that stands still.
    assert max(min(lags[0::2]), min(lags[1::2])) < 2
    database.check_drained()


@pytest.mark.conformance("C105")
@pytest.mark.parametrize("handler", ["async", "thread"])
async def test_what_a_transaction_that_ends_the_run_reports_is_its_last_progress(
    database: Database, handler: str
) -> None:
    builder = TaskService.builder()

    async def ends(context: Context) -> None:
        async with context.transaction():
            pass
        async with context.transaction(result=None):
            context.progress(10, 10, "last")

    def ends_in_thread(context: SyncTaskContext[dict[str, Any], None]) -> None:
        with context.transaction():
            pass
        with context.transaction(result=None):
            context.progress(10, 10, "last")

    builder.task("ends")(ends if handler == "async" else ends_in_thread)
    async with running(database, builder.build()) as worker:
        row = await worker.ended(await worker.enqueue("ends"))
        assert row["progress"] == {"done": 10, "total": 10, "message": "last"}
        assert (row["state"], row["attempt"]) == ("completed", 1)
    database.check_drained()


@pytest.mark.conformance("C105")
async def test_a_thousand_calls_write_few_rows(database: Database) -> None:
    database.execute(
        "create table written (at timestamptz default clock_timestamp());"
        "create function count_writes() returns trigger language plpgsql as"
        " 'begin insert into public.written default values; return null; end';"
        "create trigger count_writes after insert or update on perdure.progress"
        " for each row execute function count_writes()"
    )
    builder = TaskService.builder()

    @builder.task("chatty")
    async def chatty(context: Context) -> None:
        end = time.monotonic() + 1.2
        for done in range(1_000):
            context.progress(done, 1_000)
            if time.monotonic() < end:
                await asyncio.sleep(0.001)
        context.progress(1_000, 1_000)

    async with running(database, builder.build()) as worker:
        row = await worker.ended(await worker.enqueue("chatty"))
        assert row["progress"]["done"] == 1_000
    assert 1 <= database.value("select count(*) from written") <= 5
    database.check_drained()


@pytest.mark.conformance("C112")
async def test_a_listener_that_raises_changes_no_outcome(database: Database) -> None:
    builder = TaskService.builder()
    heard: set[str] = set()

    def listen(event: str) -> None:
        def fail(_: object) -> None:
            heard.add(event)
            raise RuntimeError(f"{event} is not for me")

        builder.on(event, fail)

    for event in EVENTS:
        listen(event)

    @builder.task("act", retry=RetryPolicy(max_retries=1, backoff=Delays([0])))
    async def act(context: TaskContext[dict[str, str], None]) -> Outcome[int, str] | int:
        match context.metadata["do"]:
            case "fail":
                return Failure("no")
            case "cancel":
                return Cancelled()
            case "suspend" if context.attempt == 1:
                return Suspended()
            case _:
                return context.attempt

    async with running(database, builder.build()) as worker:
        tasks = {
            do: await worker.enqueue("act", f'{{"do": "{do}"}}')
            for do in ("work", "fail", "cancel", "suspend")
        }
        await worker.state(tasks["suspend"], "suspended")
        await worker.ask("select perdure.proceed(%s::bigint)", tasks["suspend"])
        ends = {do: await worker.ended(task) for do, task in tasks.items()}
        assert {do: (row["state"], row["attempt"]) for do, row in ends.items()} == {
            "work": ("completed", 1),
            "fail": ("failed", 2),
            "cancel": ("cancelled", 1),
            "suspend": ("completed", 2),
        }
    assert heard >= {
        *("worker.started", "worker.stopping", "worker.stopped", "task.started"),
        *("task.completed", "task.failed", "task.cancelled", "task.retrying", "task.suspended"),
    }
    database.check_drained()


@pytest.mark.conformance("C112")
async def test_progress_after_a_lost_lease_changes_nothing(database: Database) -> None:
    release, ended = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    def service() -> TaskService:
        builder = TaskService.builder()

        @builder.task("work")
        async def work(context: Context) -> str:
            calls.append(context.attempt)
            if len(calls) > 1:
                context.progress(2, 2, "mine")
                return "second"
            await release.wait()
            context.progress(99, 99, "zombie")
            # The report is on its way before the end of the run is.
            await asyncio.sleep(0.05)
            ended.set()
            return "zombie"

        return builder.build()

    async with running(database, service(), **SLOW) as first:
        task = await first.enqueue("work")
        await first.until(lambda: calls)
        await first.ask(
            "update perdure.workers set heartbeat_at = heartbeat_at - interval '1 hour'"
        )
        async with running(database, service()) as second:
            row = await second.ended(task)
            assert row["result"] == "second"
        release.set()
        await ended.wait()
        await first.until(lambda: not first.worker._completer.backlog)
        assert await first.task(task) == row
        assert row["progress"] == {"done": 2, "total": 2, "message": "mine"}
    assert len(calls) == 2
    database.check_drained()
