"""A run without a runtime: ports that write down what they are asked, and contexts on them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import Answer, Enqueued, NewTask
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import TaskBuilder, define
from perdure.tasks.places import Claimed, InputRow, Saved
from perdure.tasks.policies import RetryDefaults

T = TypeVar("T")


class Request(BaseModel):
    url: str = "https://example.org"


class Progress(BaseModel):
    rows: int = 0
    pages: list[str] = []


class Report(BaseModel):
    rows: int


class Connection:
    """Stands for a connection: only its identity counts here."""


class Port:
    """Remembers, in order, what became durable: ("save", rows, steps, explicit) and the like."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []
        self.retry_defaults = RetryDefaults()
        self.deadline_passed = False
        self.connection: Any = Connection()
        self.fault: Exception | None = None
        self.commit_fault: Exception | None = None
        self.rows: Sequence[InputRow] = ()
        self._open: list[tuple[Any, ...]] | None = None

    def _write(self, *entry: Any, on: object = None) -> None:
        if self.fault is not None:
            raise self.fault
        if on is self.connection and self._open is not None:
            self._open.append(entry)
        else:
            self.written.append(entry)

    def save_soon(self, saved: Saved) -> None:
        self._write("soon", rows(saved))

    def report(self, progress: str) -> None:
        self._write("progress", json.loads(progress))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        self._open = []
        try:
            yield self.connection
            if self.commit_fault is not None:
                raise self.commit_fault
            self.written += self._open
        finally:
            self._open = None


class AsyncPort(Port):
    async def save(self, saved: Saved, explicit: bool) -> None:
        self._write("save", rows(saved), steps(saved), explicit)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        with self._transaction() as connection:
            yield connection

    async def save_on(self, on: object, saved: Saved) -> None:
        self._write("save_on", rows(saved), on=on)

    async def complete_on(self, on: object, result: str, saved: Saved) -> None:
        self._write("complete_on", json.loads(result), rows(saved), on=on)

    async def enqueue(self, task: NewTask[Any, Any], on: object) -> Enqueued:
        self._write("enqueue", task.name, json.loads(task.metadata_json()), on=on)
        return Enqueued(7, Answer.CREATED)

    async def inputs(self) -> Sequence[InputRow]:
        return self.rows

    async def now(self) -> float:
        return 0.0

    def has_raised(self, phase: str, error: Exception) -> None:
        self._write(phase, error)

    async def in_thread(self, function: Callable[[], T], /) -> T:
        return function()


class SyncPort(Port):
    def save(self, saved: Saved, explicit: bool) -> None:
        self._write("save", rows(saved), steps(saved), explicit)

    def transaction(self) -> Any:
        return self._transaction()

    def save_on(self, on: object, saved: Saved) -> None:
        self._write("save_on", rows(saved), on=on)

    def complete_on(self, on: object, result: str, saved: Saved) -> None:
        self._write("complete_on", json.loads(result), rows(saved), on=on)

    def enqueue(self, task: NewTask[Any, Any], on: object) -> Enqueued:
        self._write("enqueue", task.name, json.loads(task.metadata_json()), on=on)
        return Enqueued(7, Answer.CREATED)

    def inputs(self) -> Sequence[InputRow]:
        return self.rows


def rows(saved: Saved) -> int | None:
    text = saved.execution_metadata
    return None if text is None else json.loads(text)["rows"]


def steps(saved: Saved) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(saved.steps or "{}")
    return found


def definition(**options: Any) -> TaskDefinition:
    def said(task: TaskBuilder[Any, Any, Any, Any]) -> None:
        task.named("catalogue.import").with_metadata(Request).with_result(Report)
        task.with_execution_metadata(Progress, **options).handled_by(_handler)

    return define(said)


def claimed(**facts: Any) -> Claimed:
    return Claimed(str(UUID(int=1)), 42, "catalogue.import", "{}")._replace(**facts)


def begin(
    port: AsyncPort, *, of: TaskDefinition | None = None, **facts: Any
) -> TaskContext[Request, Progress]:
    return TaskContext(of or definition(), claimed(**facts), Request(), port)


def begin_sync(
    port: SyncPort, *, of: TaskDefinition | None = None, **facts: Any
) -> SyncTaskContext[Request, Progress]:
    return SyncTaskContext(of or definition(), claimed(**facts), Request(), port)


async def _handler(_context: object) -> None:
    pass
