"""A worker that stops, a run that is asked to stop, and a time that runs out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import TaskBuilder
from perdure.errors import RegistrationError
from perdure.service import TaskService
from perdure.tasks.outcomes import Cancelled, Failure

NO_RETRY = 0


async def runs_of(run: Running, task_id: int) -> list[tuple[Any, ...]]:
    """Kind and reason of each run that did not end the task."""
    rows = await run.ask(
        "select kind, reason from perdure.attempts where task_id = %s::bigint order by attempt",
        task_id,
    )
    return [tuple(row.values()) for row in rows]


def soft(
    name: str, handler: Any, grace: float = 0.05
) -> Callable[[TaskBuilder[Any, Any, Any, Any]], object]:
    """A task that is asked to stop after a moment, and cancelled `grace` seconds later."""

    def said(task: TaskBuilder[Any, Any, Any, Any]) -> None:
        task.named(name).handled_by(handler).with_timeout(soft=0.05).with_stop_grace(grace)

    return said


def counters(row: dict[str, Any]) -> dict[str, Any]:
    """What a run may have moved."""
    names = ("state", "attempt", "failures", "interruptions", "crashes")
    return {name: row[name] for name in names}


@pytest.mark.conformance("C11")
@pytest.mark.usefixtures("stays_prefetched")
async def test_what_was_prefetched_when_the_worker_stops_is_as_if_it_had_never_left(
    database: Database,
) -> None:
    builder = TaskService.builder()
    busy = asyncio.Event()
    started: list[int] = []

    @builder.task("wait")
    async def wait(context: TaskContext[dict[str, int]]) -> None:
        started.append(context.task_id)
        busy.set()
        await context.stop.wait()
        context.stop.check()

    values: dict[str, Any] = {"execution__concurrency": 1, "execution__prefetch": 8}
    async with running(database, builder.build(), **values) as run:
        tasks = [await run.enqueue("wait") for _ in range(6)]
        await busy.wait()

        async def all_held() -> bool:
            rows = await run.ask("select unnest(task_ids) as held from perdure.leases")
            return len(rows) == len(tasks)

        await run.until(all_held)
    assert started == tasks[:1]
    row = await run.task(tasks[0])
    assert counters(row) == {
        "state": "pending", "attempt": 1, "failures": 0, "interruptions": 1, "crashes": 0,
    }  # fmt: skip
    for task in tasks[1:]:
        assert counters(await run.task(task)) == {
            "state": "pending", "attempt": 0, "failures": 0, "interruptions": 0, "crashes": 0,
        }  # fmt: skip
        assert not await runs_of(run, task)
    # Not even by recovery, which would have marked them.
    assert not await run.ask("select from perdure.progress where task_id <> %s::bigint", tasks[0])
    assert not await run.ask("select from perdure.leases")


@pytest.mark.conformance("C31")
async def test_an_async_handler_sees_the_request_before_it_is_cancelled(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began = asyncio.Event()
    seen: list[object] = []

    @builder.task("deaf")
    async def deaf(context: TaskContext[dict[str, int]]) -> None:
        assert not context.stop.requested
        assert context.stop.reason is None
        began.set()
        try:
            await context.stop.wait()
            seen.append((context.stop.requested, context.stop.reason))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with running(database, builder.build(), execution__stop_grace="0.1s") as run:
        task = await run.enqueue("deaf")
        await began.wait()
    assert seen == [(True, "shutdown"), "cancelled"]
    assert counters(await run.task(task))["interruptions"] == 1
    assert await runs_of(run, task) == [("interruption", "shutdown")]


@pytest.mark.conformance("C31")
async def test_a_sync_handler_sees_the_request_by_check(database: Database) -> None:
    builder = TaskService.builder()
    began = threading.Event()
    seen: list[object] = []

    @builder.task("thread")
    def thread(context: SyncTaskContext[dict[str, int]]) -> None:
        context.stop.check()
        began.set()
        context.stop.wait()
        seen.append((context.stop.requested, context.stop.reason))
        context.stop.check()
        seen.append("not stopped")

    async with running(database, builder.build()) as run:
        task = await run.enqueue("thread")
        await asyncio.to_thread(began.wait)
    assert seen == [(True, "shutdown")]
    row = counters(await run.task(task))
    assert (row["state"], row["interruptions"], row["failures"]) == ("pending", 1, 0)


async def test_a_run_that_does_not_stop_within_its_grace_is_reported_as_overdue(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    builder = TaskService.builder()
    go_on = threading.Event()

    @builder.task("deaf")
    def deaf(context: SyncTaskContext[dict[str, int]]) -> None:
        go_on.wait()

    def overdue() -> list[str]:
        return [text for text in caplog.messages if text.startswith("task.overdue")]

    async with running(database, builder.build(), execution__stop_grace="0.1s") as run:
        task = await run.enqueue("deaf")
        await run.state(task, "running")
        try:
            await run.ask("select perdure.cancel(%s::bigint)", task)
            await run.until(overdue)
            held = await run.task(task)
        finally:
            go_on.set()
        row = await run.ended(task)
    assert len(overdue()) == 1
    assert f"task_id={task}" in overdue()[0]
    assert "reason=cancelled" in overdue()[0]
    assert held["state"] == "running"
    assert row["state"] == "completed"


@pytest.mark.conformance("C31")
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_a_handler_that_returns_within_the_grace_is_completed(
    database: Database, mode: str
) -> None:
    builder = TaskService.builder()
    began = threading.Event()

    @builder.task("async")
    async def finishes(context: TaskContext[dict[str, int]]) -> str:
        began.set()
        await context.stop.wait()
        return "just in time"

    @builder.task("sync")
    def finishes_in_a_thread(context: SyncTaskContext[dict[str, int]]) -> str:
        began.set()
        context.stop.wait()
        return "just in time"

    grace: dict[str, Any] = {"execution__stop_grace": "20s", "execution__shutdown_grace": "25s"}
    async with running(database, builder.build(), **grace) as run:
        task = await run.enqueue(mode)
        await asyncio.to_thread(began.wait)
    row = await run.task(task)
    assert (row["state"], row["result"]) == ("completed", "just in time")
    assert (row["attempt"], row["interruptions"]) == (1, 0)
    assert not await runs_of(run, task)
    database.check_drained()


@pytest.mark.conformance("C40")
@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_what_returns_after_the_soft_timeout_counts(database: Database, mode: str) -> None:
    builder = TaskService.builder()
    reasons: list[str | None] = []

    async def finishes(context: TaskContext[dict[str, int]]) -> str:
        await context.stop.wait()
        reasons.append(context.stop.reason)
        return "late"

    def finishes_in_a_thread(context: SyncTaskContext[dict[str, int]]) -> str:
        context.stop.wait()
        reasons.append(context.stop.reason)
        return "late"

    for name, handler in (("async", finishes), ("sync", finishes_in_a_thread)):
        builder.add_task(soft(name, handler, PATIENCE))
    async with running(database, builder.build()) as run:
        row = await run.ended(await run.enqueue(mode))
        assert (row["state"], row["result"], row["failures"]) == ("completed", "late", 0)
        assert reasons == ["timeout"]
    database.check_drained()


@pytest.mark.conformance("C40")
@pytest.mark.parametrize(
    ("after", "state", "kind"),
    [
        (Failure({"code": 7}, final=True), "failed", "given_up"),
        (Cancelled({"code": 7}), "cancelled", "handler"),
    ],
    ids=["failure", "cancelled"],
)
async def test_any_outcome_that_is_returned_after_the_soft_timeout_counts(
    database: Database, after: Any, state: str, kind: str
) -> None:
    builder = TaskService.builder()

    async def gives_up(context: TaskContext[dict[str, int]]) -> Any:
        await context.stop.wait()
        return after

    builder.add_task(soft("slow", gives_up, PATIENCE))
    async with running(database, builder.build()) as run:
        row = await run.ended(await run.enqueue("slow"))
        assert (row["state"], row["error"]["kind"]) == (state, kind)
        assert row["error"]["error"] == {"code": 7}
        assert row["error"].get("type") is None
    database.check_drained()


@pytest.mark.conformance("C40")
@pytest.mark.parametrize("how", ["checks", "waits", "thread"])
async def test_unwinding_after_the_soft_timeout_is_a_thrown_failure(
    database: Database, how: str
) -> None:
    builder = TaskService.builder()

    async def checks(context: TaskContext[dict[str, int]]) -> None:
        await context.stop.wait()
        context.stop.check()

    async def waits(context: TaskContext[dict[str, int]]) -> None:
        await asyncio.Event().wait()

    def thread(context: SyncTaskContext[dict[str, int]]) -> None:
        context.stop.wait()
        context.stop.check()

    for name, handler in (("checks", checks), ("waits", waits), ("thread", thread)):
        builder.add_task(soft(name, handler))
    async with running(database, builder.build()) as run:
        task = await run.enqueue(how)
        row = await run.state(task, "retrying")
        assert (row["failures"], row["interruptions"], row["crashes"]) == (1, 0, 0)
        rows = await run.ask("select kind, error from perdure.attempts")
        assert [(row["kind"], row["error"]["type"]) for row in rows] == [("failure", "SoftTimeout")]
        await run.ask("select perdure.cancel(%s::bigint)", task)


@pytest.mark.conformance("C40")
async def test_a_timeout_takes_the_limit_of_thrown_failures(database: Database) -> None:
    builder = TaskService.builder()

    async def waits(context: TaskContext[dict[str, int]]) -> None:
        await asyncio.Event().wait()

    builder.add_task(lambda task: task.named("slow").handled_by(waits).with_timeout(hard=0.03))
    values: dict[str, Any] = {
        "execution__max_retry_count": 9,
        "scheduling__scheduler_retry_count": 1,
        "scheduling__scheduler_retry_delays": "[0]",
    }
    async with running(database, builder.build(), **values) as run:
        row = await run.ended(await run.enqueue("slow"))
        assert (row["state"], row["error"]["kind"]) == ("failed", "exhausted")
        assert (row["attempt"], row["failures"]) == (2, 2)
    database.check_drained()


@pytest.mark.conformance("C40")
async def test_the_hard_timeout_cancels_without_a_grace(database: Database) -> None:
    builder = TaskService.builder()
    seen: list[object] = []

    async def waits(context: TaskContext[dict[str, int]]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(context.stop.reason)
            raise

    builder.add_task(
        lambda task: (
            task.named("slow")
            .handled_by(waits)
            .with_timeout(soft=timedelta(seconds=0.05), hard=timedelta(seconds=0.1))
            .with_stop_grace(3600)
            .with_retry(max_retries=NO_RETRY)
        )
    )
    async with running(database, builder.build()) as run:
        row = await run.ended(await run.enqueue("slow"))
        assert (row["state"], row["error"]["kind"]) == ("failed", "exhausted")
        assert row["error"]["type"] == "HardTimeout"
        assert (row["attempt"], row["failures"], row["interruptions"]) == (1, 1, 0)
        assert seen == ["timeout"]
    database.check_drained()


@pytest.mark.conformance("C40")
def test_a_hard_timeout_on_a_thread_fails_the_build() -> None:
    builder = TaskService.builder()

    def thread(context: SyncTaskContext[dict[str, int]]) -> None:
        return

    builder.add_task(lambda task: task.named("slow").handled_by(thread).with_timeout(hard=1))
    with pytest.raises(RegistrationError, match=r"slow.*isolated"):
        builder.build()
    builder = TaskService.builder()
    builder.add_task(
        lambda task: task.named("slow").handled_by(thread).isolated().with_timeout(hard=1)
    )
    builder.build()
