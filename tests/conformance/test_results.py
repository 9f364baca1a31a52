"""Waiting for what a task becomes, watching it, and meeting ten thousand of them in pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.errors import TaskCancelled, TaskFailed
from perdure.service import TaskService
from perdure.tasks.outcomes import Cancelled, Failure, Retry, Suspended
from perdure.tasks.policies import Delays


class Order(BaseModel):
    """Metadata: how the task is to end."""

    end: str


class Report(BaseModel):
    """A result."""

    rows: int


class Problem(BaseModel):
    """An error."""

    reason: str


WORK = TaskKind("work", Order, result=Report, error=Problem)


def ending() -> TaskService:
    """A task that ends as it is told, some ways at a later run."""
    builder = TaskService.builder()

    async def work(
        context: TaskContext[Order, None],
    ) -> Report | Failure[Problem] | Retry[Problem] | Suspended | Cancelled[Problem]:
        match context.metadata.end:
            case "failed":
                return Failure(Problem(reason="quota"))
            case "cancelled":
                return Cancelled(Problem(reason="closed"))
            case "retried" if context.attempt == 1:
                return Retry(after=0)
            case "suspended" if context.attempt == 1:
                return Suspended(wait_key="go")
        return Report(rows=context.attempt)

    builder.add_task(
        lambda task: task.of(WORK).handled_by(work).with_retry(max_retries=1, backoff=Delays([0]))
    )
    return builder.build()


@pytest.mark.conformance("C107")
async def test_who_waits_without_a_worker_times_out_and_changes_nothing(
    database: Database,
) -> None:
    async with TaskClient(database.dsn) as client:
        handle = await client.enqueue(WORK, Order(end="completed"))
        before = await client.get(handle.id)
        with pytest.raises(TimeoutError, match=str(handle.id)):
            await handle.result(timeout=0.1)
        assert await client.get(handle.id) == before
        async with running(database, ending()):
            assert await handle.result(timeout=20) == Report(rows=1)
    database.check_drained()


@pytest.mark.conformance("C107")
async def test_a_failure_and_a_cancel_are_raised_with_what_the_handler_said(
    database: Database,
) -> None:
    async with running(database, ending()), TaskClient(database.dsn) as client:
        failed = await client.enqueue(WORK, Order(end="failed"))
        cancelled = await client.enqueue(WORK, Order(end="cancelled"))
        with pytest.raises(TaskFailed, match="quota") as raised:
            await failed.result(timeout=20)
        with pytest.raises(TaskCancelled) as stopped:
            await cancelled.result(timeout=20)
    assert raised.value.error == Problem(reason="quota")
    assert raised.value.record["kind"] == "exhausted"
    assert stopped.value.error is not None
    assert stopped.value.error["kind"] == "handler"
    assert stopped.value.error["error"] == {"reason": "closed"}
    database.check_drained()


@pytest.mark.conformance("C107")
async def test_a_watch_yields_the_final_state_of_every_task(database: Database) -> None:
    ends = {"completed": "completed", "failed": "failed", "cancelled": "cancelled",
            "retried": "completed", "suspended": "completed"}  # fmt: skip
    async with running(database, ending()), TaskClient(database.dsn) as client:
        early = await client.enqueue(WORK, Order(end="completed"))
        await early.result(timeout=20)
        handles = {end: await client.enqueue(WORK, Order(end=end), tags=["t"]) for end in ends}
        assert await client.proceed_waiting("go") in {"kept", "proceeded"}

        async def last_of(**which: Any) -> dict[int, str]:
            return {task.id: task.state async for task in client.watch(**which)}

        ids = [early.id, *(handle.id for handle in handles.values())]
        by_tag, by_id = await asyncio.wait_for(
            asyncio.gather(last_of(tag="t"), last_of(ids=ids)), timeout=30
        )
        again = await last_of(ids=ids)
    final = {handle.id: ends[end] for end, handle in handles.items()}
    assert by_tag == final
    assert by_id == again == {early.id: "completed", **final}
    database.check_drained()


@pytest.mark.conformance("C106")
async def test_ten_thousand_tasks_of_one_moment_are_met_once_each(database: Database) -> None:
    database.execute(
        "insert into perdure.tasks (name, tags) select 'a', '{t}' from generate_series(1, 10000)"
    )
    assert database.value("select count(distinct created_at) from perdure.tasks") == 1
    ids = [row[0] for row in database.rows("select id from perdure.tasks order by id desc")]
    async with TaskClient(database.dsn) as client:
        assert [task.id async for task in client.search(tag="t")] == ids
        paged: list[int] = []
        after: int | None = None
        while True:
            page = await client.search(name="a").page(after=after, limit=7)
            paged += [task.id for task in page.tasks]
            after = page.after
            if after is None:
                break
    assert paged == ids
