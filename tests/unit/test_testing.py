"""perdure.testing: one handler, without a database, as a worker would run it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import define
from perdure.errors import InvalidPayload, RegistrationError, TaskStopped, UnencodableValue
from perdure.tasks.outcomes import Failure, Success, Suspended
from perdure.testing import Rehearsal, arun, run


class Request(BaseModel):
    pages: list[str]


class Progress(BaseModel):
    done: list[str] = []


class Report(BaseModel):
    pages: int


class Import:
    """Imports pages, one transaction each; fails once at page `broken`."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.fetched: list[str] = []

    async def execute(
        self, context: TaskContext[Request, Progress]
    ) -> Report | Failure[str] | Suspended:
        if not context.metadata.pages:
            return Failure("nothing to do", final=True)
        for page in context.metadata.pages[len(context.execution_metadata.done) :]:
            context.stop.check()
            await context.step(f"fetch {page}", self.fetch, page)
            async with context.transaction():
                context.execution_metadata.done.append(page)
                if page == self.broken:
                    self.broken = ""
                    raise ConnectionError(page)
            context.progress(len(context.execution_metadata.done), len(context.metadata.pages))
        await context.enqueue("notify", {"pages": len(context.execution_metadata.done)})
        return Report(pages=len(context.execution_metadata.done))

    async def fetch(self, page: str) -> int:
        self.fetched.append(page)
        return len(page)


def test_a_handlers_result_is_a_success() -> None:
    assert run(Import(), Request(pages=["a", "b"])) == Success(Report(pages=2))


def test_metadata_may_be_a_json_object() -> None:
    assert run(Import(), {"pages": ["a"]}) == Success(Report(pages=1))
    with pytest.raises(InvalidPayload, match="pages"):
        run(Import(), {"pages": 3})


def test_an_outcome_is_given_as_it_is() -> None:
    assert run(Import(), Request(pages=[])) == Failure("nothing to do", final=True)


def test_execution_metadata_can_be_given() -> None:
    handler = Import()
    outcome = run(handler, Request(pages=["a", "b"]), execution_metadata=Progress(done=["a"]))
    assert outcome == Success(Report(pages=2))
    assert handler.fetched == ["b"]


async def test_on_a_running_loop_arun_is_awaited() -> None:
    assert await arun(Import(), Request(pages=["a"])) == Success(Report(pages=1))
    with pytest.raises(RuntimeError, match="await arun"):
        run(Import(), Request(pages=["a"]))


async def test_plain_functions_run_in_both_worlds() -> None:
    def double(context: SyncTaskContext[Request, Progress]) -> int:
        with context.transaction():
            context.execution_metadata.done.append("x")
        context.checkpoint()
        context.enqueue("child")
        return 2 * len(context.metadata.pages)

    assert run(double, Request(pages=["a"])) == Success(2)
    assert await arun(double, Request(pages=["a"])) == Success(2)


def test_a_rehearsal_shows_what_happened_on_the_way() -> None:
    rehearsal = Rehearsal(Import(), Request(pages=["a", "b"]))
    rehearsal.run()
    assert rehearsal.outcome == Success(Report(pages=2))
    assert rehearsal.execution_metadata == Progress(done=["a", "b"])
    assert Progress(done=["a"]) in rehearsal.checkpoints
    assert rehearsal.progress[-1] == {"done": 2, "total": 2, "message": None}
    assert [task.name for task in rehearsal.enqueued] == ["notify"]


def test_after_an_exception_a_second_run_goes_on_from_the_checkpoint() -> None:
    handler = Import(broken="b")
    rehearsal = Rehearsal(handler, Request(pages=["a", "b", "c"]))
    with pytest.raises(ConnectionError):
        rehearsal.run()
    assert rehearsal.execution_metadata == Progress(done=["a"])
    assert rehearsal.run() == Success(Report(pages=3))
    assert handler.fetched == ["a", "b", "c"]


def test_counters_go_up_from_run_to_run() -> None:
    seen = []

    def fails(context: SyncTaskContext[Request, None]) -> None:
        seen.append((context.attempt, context.failures, context.is_last_attempt))
        raise ConnectionError

    rehearsal = Rehearsal(fails, Request(pages=[]), failures=2)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            rehearsal.run()
    assert seen == [(1, 2, False), (2, 3, True)]


def test_a_stop_can_be_asked_for_before_the_run() -> None:
    with pytest.raises(TaskStopped, match="shutdown"):
        run(Import(), Request(pages=["a"]), stop="shutdown")


async def test_a_stop_can_be_asked_for_during_the_run() -> None:
    began = asyncio.Event()

    async def waits(context: TaskContext[Request, None]) -> str | None:
        began.set()
        await context.stop.wait()
        return context.stop.reason

    rehearsal = Rehearsal(waits, Request(pages=[]))
    running = asyncio.create_task(rehearsal.arun())
    await began.wait()
    rehearsal.stop("drain")
    assert await running == Success("drain")


def test_the_connection_is_the_one_given_and_else_says_what_to_do() -> None:
    async def handle(context: TaskContext[Request, Progress]) -> object:
        async with context.transaction() as connection:
            return connection.info

    class Fake:
        info = 5

    assert run(handle, Request(pages=[]), connection=Fake()) == Success(5)
    with pytest.raises(AttributeError, match="give connection="):
        run(handle, Request(pages=[]))


def test_a_task_completed_in_a_transaction_has_that_result() -> None:
    async def handle(context: TaskContext[Request, Progress]) -> int:
        async with context.transaction(result=7):
            context.execution_metadata.done.append("a")
        return 8

    assert run(handle, Request(pages=[])) == Success(7)


def test_a_result_that_does_not_fit_its_type_is_an_error() -> None:
    kind = TaskKind("a", Request, result=Report)
    with pytest.raises(UnencodableValue):
        run(lambda _context: "text", Request(pages=[]), kind=kind)


def test_a_handler_without_annotations_gets_the_values_types() -> None:
    assert run(lambda context: len(context.metadata.pages), Request(pages=["a"])) == Success(1)
    outcome = run(lambda context: context.execution_metadata, execution_metadata=Progress())
    assert outcome == Success(Progress())


def test_a_finished_definition_can_be_run_and_no_handler_is_an_error() -> None:
    definition = define(lambda task: task.named("a").handled_by(Import()))
    assert run(definition, Request(pages=["a"])) == Success(Report(pages=1))
    with pytest.raises(RegistrationError, match="no handler"):
        run(3)


def test_a_rehearsal_says_whether_the_deadline_has_passed() -> None:
    def late(context: SyncTaskContext[Any]) -> bool:
        return context.deadline_passed

    assert run(late) == Success(result=False)
    assert run(late, deadline_passed=True) == Success(result=True)
