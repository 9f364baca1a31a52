"""One run: what is recorded when the code around the handler does something unexpected."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.run.events import TaskEnded
from perdure.service import TaskService


class Number(BaseModel):
    n: int = 0


async def test_an_exception_after_the_completing_transaction_changes_nothing(
    database: Database,
) -> None:
    failed: list[TaskEnded] = []
    builder = TaskService.builder().on("task.failed", failed.append)

    @builder.task(TaskKind("done", Number, result=Number))
    async def done(context: TaskContext[Number, None]) -> Number:
        async with context.transaction(result=Number(n=1)):
            pass
        raise RuntimeError("too late")

    async with running(database, builder.build()) as worker:
        task = await worker.ended(await worker.enqueue("done"))
        assert (task["state"], task["result"]) == ("completed", {"n": 1})
        await worker.until(lambda: not worker.worker.held)
    assert failed == []
    database.check_drained()


async def test_a_factory_that_fails_is_a_failure_of_the_task(database: Database) -> None:
    class Broken:
        def __init__(self) -> None:
            raise LookupError("no handler today")

        async def execute(self, context: TaskContext[Any, None]) -> None:
            raise AssertionError

    builder = TaskService.builder().configure_execution(max_retry_count=0)
    builder.add_task(lambda task: task.named("broken").made_by(Broken))
    async with running(database, builder.build()) as worker:
        task = await worker.ended(await worker.enqueue("broken"))
        assert task["error"]["type"] == "LookupError"
    database.check_drained()
