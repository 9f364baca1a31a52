"""A checkpoint that does not fit its type, and what an operator does about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.errors import InvalidArgument, TooLarge
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended
from perdure.tasks.policies import Delays, RetryPolicy


class Draft(BaseModel, extra="forbid"):
    """Execution metadata that takes nothing which it does not know."""

    page: int = 0
    approved: bool = False


GOOD = {"page": 7, "approved": False}
Context = TaskContext[dict[str, Any], Draft]


class Desk:
    """A service whose task `publish` reaches page 7 and waits there to be approved."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        """Page and run reason of the runs that were begun."""
        builder = TaskService.builder()
        builder.task("publish", retry=RetryPolicy(backoff=Delays([3600])))(self.publish)
        self.service: TaskService = builder.build()

    async def publish(self, context: Context) -> int | Suspended:
        draft = context.execution_metadata
        self.seen.append((draft.page, context.run_reason))
        if context.metadata.get("fails") and not draft.page:
            raise ValueError
        if not draft.approved:
            draft.page = 7
            return Suspended()
        return draft.page


async def spoiled(worker: Running, argument: str = "patch", text: str = '{"page": "x"}') -> int:
    """A task that ended as invalid because of what a proceed brought."""
    task_id = await worker.enqueue("publish")
    await worker.state(task_id, "suspended")
    await worker.ask(f"select perdure.proceed(%s, {argument} => %s::jsonb)", task_id, text)
    ended = await worker.ended(task_id)
    assert (ended["state"], ended["reason"]) == ("failed", "invalid")
    assert ended["error"]["message"].startswith("execution metadata: $.page")
    return task_id


@pytest.mark.parametrize(
    ("argument", "text"),
    [("patch", '{"page": "x"}'), ("execution_metadata", '{"pages": 8}')],
)
async def test_a_checkpoint_that_a_proceed_has_spoiled_is_shown_and_restored(
    database: Database, argument: str, text: str
) -> None:
    desk = Desk()
    async with running(database, desk.service) as worker, TaskClient(database.dsn) as client:
        task_id = await spoiled(worker, argument, text)
        (proceeded,) = (e for e in await client.history(task_id) if e.event == "proceed")
        assert proceeded.details == {argument: json.loads(text), "before": GOOD}
        good = proceeded.details["before"] | {"approved": True}
        bad = (await worker.task(task_id))["execution_metadata"]
        assert await client.retry(task_id, execution_metadata=good) == "retried"
        assert (await worker.ended(task_id))["result"] == 7
        assert desk.seen == [(0, "first"), (7, "requeued")]
        (retried,) = (e for e in await client.history(task_id) if e.event == "retry")
        assert retried.details == {"execution_metadata": good, "before": bad}
    database.check_drained()


async def test_a_retry_takes_a_merge_patch_of_the_checkpoint(database: Database) -> None:
    desk = Desk()
    async with running(database, desk.service) as worker, TaskClient(database.dsn) as client:
        task_id = await spoiled(worker)
        patch = {"page": 8, "approved": True}
        assert await client.retry(task_id, patch=patch) == "retried"
        assert (await worker.ended(task_id))["result"] == 8
        # Also for what waits for its next try: hastened, and changed in the same transaction.
        waits = await worker.enqueue("publish", '{"fails": true}')
        await worker.state(waits, "retrying")
        assert await client.retry(waits, patch=patch) == "hastened"
        assert (await worker.ended(waits))["result"] == 8
    database.check_drained()


async def test_a_retry_that_is_refused_or_does_nothing_leaves_the_checkpoint_alone(
    database: Database,
) -> None:
    desk = Desk()
    async with running(database, desk.service) as worker, TaskClient(database.dsn) as client:
        task_id = await spoiled(worker)
        before = await worker.task(task_id)
        with pytest.raises(InvalidArgument, match="exclude each other"):
            await client.retry(task_id, patch={}, execution_metadata={})
        wrong: Any = [1]
        with pytest.raises(InvalidArgument, match="patch must be a JSON object"):
            await client.retry(task_id, patch=wrong)
        with pytest.raises(TooLarge):
            await client.retry(task_id, patch={"page": "x" * 2**20})
        assert await worker.task(task_id) == before
        # Each fits by itself, both together do not.
        assert await client.retry(task_id, patch={"one": "x" * 600_000}) == "retried"
        before = await worker.ended(task_id)
        with pytest.raises(TooLarge, match="would be larger"):
            await client.retry(task_id, patch={"two": "x" * 600_000})
        assert await worker.task(task_id) == before
        patch = {"one": None, "page": 1, "approved": True}
        assert await client.retry(task_id, patch=patch) == "retried"
        ended = await worker.ended(task_id)
        assert await client.retry(task_id, patch={"page": 9}) == "completed"
        assert await worker.task(task_id) == ended
    database.check_drained()
