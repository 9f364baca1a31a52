"""One run: what is recorded when the code around the handler does something unexpected."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.run.events import TaskEnded
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure
from perdure.tasks.policies import Delays, RetryPolicy


class Number(BaseModel):
    n: int = 0


class Text(BaseModel):
    text: str = ""


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


async def test_a_run_is_freed_when_it_ends_without_the_help_of_the_collector(
    database: Database,
) -> None:
    builder = TaskService.builder()

    @builder.task(TaskKind("freed", Number, result=Number))
    async def freed(context: TaskContext[Number, None]) -> Number:
        return context.metadata

    async with running(database, builder.build()) as worker:
        gc.disable()
        try:
            await worker.ended(await worker.enqueue("freed"))
            await worker.until(lambda: not worker.worker.held)
            assert not [
                one
                for one in gc.get_objects()
                if isinstance(one, TaskContext) and one.name == "freed"
            ]
        finally:
            gc.enable()


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


class Refusal(BaseModel):
    reason: str
    api_key: str = "k-hunter2"


FAILURES = {
    "thrown": ("task.retrying", {"kind": "failure", "type": "ValueError"}),
    "returned": ("task.retrying", {"kind": "failure"}),
    "last": ("task.failed", {"kind": "exhausted", "type": "KeyError", "message": "'zip'"}),
    "long": ("task.failed", {"kind": "exhausted", "type": "RuntimeError"}),
}


async def test_a_line_for_each_failed_run_says_why_without_secrets_and_is_not_long(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    builder = TaskService.builder()
    secret = "pw-hunter2"
    hour = RetryPolicy(max_retries=1, backoff=Delays([3600]))

    @builder.task("thrown", retry=hour)
    async def thrown(context: TaskContext[Any, None]) -> None:
        raise ValueError(f"no page 7: postgresql://me:{secret}@db/app password={secret}")

    @builder.task(TaskKind("returned", dict[str, Any], error=Refusal), retry=hour)
    async def returned(context: TaskContext[Any, None]) -> Failure[Refusal] | None:
        return Failure(Refusal(reason="closed"))

    @builder.task("last", retry=0)
    async def last(context: TaskContext[Any, None]) -> None:
        raise KeyError("zip")

    @builder.task("long", retry=0)
    async def long(context: TaskContext[Any, None]) -> None:
        raise RuntimeError("x" * 100_000)

    caplog.set_level("WARNING", "perdure")
    async with running(database, builder.build()) as worker:
        ids = {name: await worker.enqueue(name) for name in FAILURES}
        for task_id in ids.values():
            await worker.state(task_id, "failed", "retrying")
        await worker.until(lambda: len(caplog.records) == len(FAILURES))
    messages: list[Any] = [record.msg for record in caplog.records]
    said = {line.values["name"]: line for line in messages}
    levels = {
        line.event: record.levelname for line, record in zip(messages, caplog.records, strict=True)
    }
    for name, (event, why) in FAILURES.items():
        line = said[name]
        assert line.event == event
        assert line.values.items() >= {"task_id": ids[name], "attempt": 1, **why}.items()
        assert len(str(line)) < 2_000
    assert levels == {"task.failed": "ERROR", "task.retrying": "WARNING"}
    assert "no page 7" in caplog.text
    assert '"reason": "closed"' in caplog.text
    assert "hunter2" not in caplog.text


async def test_the_line_of_a_single_completion_names_its_task(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    builder = TaskService.builder()

    @builder.task("alone")
    async def alone(context: TaskContext[Any, None]) -> None: ...

    @builder.task("by_itself")
    async def by_itself(context: TaskContext[Any, None]) -> int:
        async with context.transaction(result=1):
            return 1

    caplog.set_level("INFO", "perdure")
    async with running(database, builder.build(), logging__level="info") as worker:
        ids = {name: await worker.enqueue(name) for name in ("alone", "by_itself")}
        for task_id in ids.values():
            await worker.ended(task_id)
        await worker.until(lambda: caplog.text.count("tasks.completed") == len(ids))
    for name, task_id in ids.items():
        assert f"tasks.completed count=1 task_id={task_id} name={name}" in caplog.text


async def test_a_traceback_begins_with_the_handler(database: Database) -> None:
    builder = TaskService.builder()

    @builder.task("on_loop", retry=0)
    async def on_loop(context: TaskContext[Any, None]) -> None:
        raise ValueError("no")

    @builder.task("in_thread", retry=0)
    def in_thread(context: SyncTaskContext[Any, None]) -> None:
        raise ValueError("no")

    async with running(database, builder.build()) as worker:
        for name in ("on_loop", "in_thread"):
            task = await worker.ended(await worker.enqueue(name))
            lines = task["error"]["traceback"].splitlines()
            assert lines[0] == "Traceback (most recent call last):"
            assert lines[1].endswith(f"in {name}")
            assert lines[-1] == "ValueError: no"


@pytest.mark.parametrize("mode", ["thread", "loop"])
async def test_a_checkpoint_that_is_too_large_to_be_saved_soon_is_told_to_the_handler(
    database: Database, mode: str
) -> None:
    builder = TaskService.builder().configure_execution(max_retry_count=0)
    large = TaskKind("large", Number, execution_metadata=Text)

    def save(context: SyncTaskContext[Number, Text]) -> None:
        context.execution_metadata.text = "x" * 2000
        context.checkpoint_soon()

    async def save_on_loop(context: TaskContext[Number, Text]) -> None:
        context.execution_metadata.text = "x" * 2000
        context.checkpoint_soon()

    builder.task(large)(save if mode == "thread" else save_on_loop)
    async with running(database, builder.build(), limits__checkpoint_bytes="1KiB") as worker:
        task = await worker.ended(await worker.enqueue("large"))
    assert (task["state"], task["error"]["type"]) == ("failed", "TooLarge")
    database.check_drained()
