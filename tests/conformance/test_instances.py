"""with_max_instances: never more at once than allowed, and what happens to one more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.declare.task_builder import TaskBuilder
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure, Retry, Suspended

AnyBuilder = TaskBuilder[Any, Any, Any, Any]
HELD = "select task_id from perdure.instances order by task_id"


class Ask(BaseModel):
    """Metadata: what the first run comes to, and whose task it is."""

    first: str = "hold"
    tenant: str | None = None


@pytest.mark.conformance("C78")
async def test_a_task_that_is_retried_or_suspended_holds_no_instance(database: Database) -> None:
    go = asyncio.Event()
    began: list[int] = []

    async def run(
        context: TaskContext[Ask, None],
    ) -> Retry[None] | Suspended | Failure[None] | None:
        began.append(context.task_id)
        if context.attempt > 1 or context.metadata.first == "hold":
            await go.wait()
            return None
        if context.metadata.first == "retry":
            return Retry(after=3600)
        return Suspended(wait_key="answer")

    def one(task: AnyBuilder) -> AnyBuilder:
        return task.named("one").with_max_instances(1).handled_by(run)

    service = TaskService.builder().add_task(one).build()
    async with running(database, service) as worker:
        first = await worker.enqueue("one", '{"first": "retry"}')
        await worker.state(first, "retrying")
        assert await worker.ask(HELD) == []
        second = await worker.enqueue("one", '{"first": "suspend"}')
        await worker.state(second, "suspended")
        third = await worker.enqueue("one")
        await worker.state(third, "running")
        # Both come back while the third runs: they wait for it, each for nothing else.
        await worker.past(first)
        await worker.state(first, "blocked")
        assert await worker.ask("select perdure.proceed_waiting('answer') as a") == [
            {"a": "proceeded"}
        ]
        row = await worker.state(second, "blocked")
        assert (row["reason"], row["waiting_for"]) == ("instances", "1 of 1 instances busy")
        assert await worker.ask(HELD) == [{"task_id": third}]
        go.set()
        for task in (first, second, third):
            assert (await worker.ended(task))["state"] == "completed"
    assert began == [first, second, third, first, second]
    database.check_drained()


@pytest.mark.conformance("C78")
async def test_one_more_is_skipped_and_insert_and_copy_are_bound(database: Database) -> None:
    go = asyncio.Event()
    running_now: set[int] = set()
    most = 0

    async def run(context: TaskContext[Ask, None]) -> None:
        nonlocal most
        running_now.add(context.task_id)
        most = max(most, len(running_now))
        await go.wait()
        running_now.discard(context.task_id)

    def two(task: AnyBuilder) -> AnyBuilder:
        return task.named("two").with_max_instances(2).handled_by(run)

    def rare(task: AnyBuilder) -> AnyBuilder:
        limited = task.named("rare").with_max_instances(1, key="tenant", when_full="skip")
        return limited.handled_by(run)

    service = TaskService.builder().add_task(two).build()
    async with running(database, service) as worker:
        await worker.ask("insert into perdure.tasks (name) select 'two' from generate_series(1, 3)")
        with database.connection.cursor().copy("copy perdure.tasks (name) from stdin") as copy:
            copy.write("two\n" * 3)
        await worker.until(lambda: len(running_now) == 2)
        assert await worker.ask(HELD) == [{"task_id": 1}, {"task_id": 2}]
        blocked = "select count(*) as n from perdure.task_states where state = 'blocked'"
        assert await worker.ask(blocked) == [{"n": 4}]
        go.set()
        for task in range(1, 7):
            await worker.ended(task)
    assert most == 2

    go.clear()
    service = TaskService.builder().add_task(rare).build()
    async with running(database, service) as worker:
        insert = "insert into perdure.tasks (name, metadata) values ('rare', %s) returning id"
        held = await worker.enqueue("rare", '{"tenant": "a"}')
        await worker.state(held, "running")
        other = await worker.enqueue("rare", '{"tenant": "b"}')
        (skipped,) = await worker.ask(insert, '{"tenant": "a"}')
        with database.connection.cursor().copy(
            "copy perdure.tasks (name, metadata) from stdin"
        ) as copy:
            copy.write('rare\t{"tenant": "b"}\n')
        for task in (skipped["id"], skipped["id"] + 1):
            row = await worker.ended(task)
            assert (row["state"], row["reason"]) == ("cancelled", "skipped")
        go.set()
        assert [(await worker.ended(t))["state"] for t in (held, other)] == ["completed"] * 2
    database.check_drained()
