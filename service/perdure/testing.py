"""Run one handler without a database: `run(handler, metadata) -> Outcome`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict, TypeVar, cast

from typing_extensions import Unpack

from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition, outcome_of
from perdure.declare.inputs import Input
from perdure.declare.kind import Answer, Enqueued, NewTask, TaskKind
from perdure.declare.lifespans import Lifespan, provided
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import define
from perdure.tasks.codec import Payload, encode_json
from perdure.tasks.outcomes import Failure, Outcome, Success
from perdure.tasks.places import Claimed, InputRow, Saved
from perdure.tasks.policies import RetryDefaults

__all__ = ["NoDatabase", "Rehearsal", "arun", "run"]


T = TypeVar("T")


class Facts(TypedDict, total=False):
    """What else a run may be told.

    `execution_metadata` is what the task starts with, `kind` gives the types where the handler is
    not annotated, `failures` counts earlier ones, `stop` is the reason of a stop asked for before
    the run begins, `connection` is what `context.transaction()` yields, `inputs` are what the tasks
    that it follows have come to: `[Input("extract", Extract(rows=3))]`, `schedule_key` and
    `fire_at` are those of a task that a schedule made, `lifespans` the values of the handles that
    the handler uses, `deadline_passed` says whether its `deadline_at` has.
    """

    execution_metadata: Any
    kind: TaskKind[Any, Any, Any, Any]
    headers: Mapping[str, Any]
    failures: int
    stop: str
    connection: Any
    inputs: Sequence[Input]
    schedule_key: str
    fire_at: datetime
    lifespans: Mapping[Lifespan[Any], Any]
    deadline_passed: bool


def run(handler: object, metadata: object = None, **facts: Unpack[Facts]) -> Outcome[Any, Any]:
    """Run a handler once, from start to end, and give its outcome; a plain result is a Success.

    `handler` is a function, an object with `execute`, async or not, or a finished definition.
    Metadata and execution metadata are values of the handler's types, or JSON objects for them.
    Payloads become JSON and back, as for a worker. Use `arun` where a loop is running, and
    `Rehearsal` to see checkpoints, progress and children, or to run again.

    Raises:
        RegistrationError: it is no usable handler.
        InvalidPayload, UnencodableValue: metadata, checkpoint, result or error do not fit.
        Exception: whatever the handler raises; a worker would count it as a failure.
    """
    return Rehearsal(handler, metadata, **facts).run()


async def arun(
    handler: object, metadata: object = None, **facts: Unpack[Facts]
) -> Outcome[Any, Any]:
    """As `run`, on the running loop; a plain function runs in a thread."""
    return await Rehearsal(handler, metadata, **facts).arun()


class NoDatabase:
    """What `context.transaction()` yields in a test that gave no connection: not to be used."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"there is no database to call {name!r} on: give connection= to perdure.testing"
        )


class Rehearsal:
    """A task without a database, run as often as you like.

    What a run saves is what the next one starts with, so calling `run()` again after an exception
    is a restart from the last checkpoint. `checkpoints` are the execution metadata saved on the
    way, `progress` what was reported, `enqueued` the children; `outcome` that of the last run.
    """

    def __init__(self, handler: object, metadata: object = None, **facts: Unpack[Facts]) -> None:
        headers, preset = facts.get("headers"), facts.get("execution_metadata")
        at = facts.get("fire_at")
        self.definition = _definition(handler, facts.get("kind"), metadata, preset)
        self.checkpoints: list[Any] = []
        self.progress: list[dict[str, Any]] = []
        self.enqueued: list[NewTask[Any, Any]] = []
        self.outcome: Outcome[Any, Any] | None = None
        self._context: TaskContext[Any, Any] | SyncTaskContext[Any, Any] | None = None
        self._stop = facts.get("stop")
        self._lifespans = facts.get("lifespans", {})
        self._connection = facts.get("connection", NoDatabase())
        self._pending: list[tuple[Saved, str | None]] | None = None
        self._completed: str | None = None
        self.inputs = [_row(one) for one in facts.get("inputs", ())]
        payload = self.definition.execution_metadata
        self._claimed = Claimed(
            lease="",
            task_id=1,
            name=self.definition.name,
            metadata=_json(self.definition.metadata, metadata),
            failures=facts.get("failures", 0),
            execution_metadata=None if preset is None else _json(payload, preset),
            version=self.definition.version,
            headers=None if headers is None else encode_json(dict(headers)),
            schedule_key=facts.get("schedule_key"),
            fire_at=None if at is None else at.timestamp(),
            deadline_at=0.0 if facts.get("deadline_passed") else None,
        )

    @property
    def execution_metadata(self) -> Any:
        """As the last run left it in memory; before the first, what that will start with."""
        return self._context.execution_metadata if self._context else self._stored()

    @property
    def steps(self) -> str | None:
        """The steps that are done, and the states that a state machine has passed, as JSON text."""
        return self._claimed.steps

    def run(self) -> Outcome[Any, Any]:
        """Run once; raises what `perdure.testing.run` raises."""
        if self.definition.handler.mode == "sync":
            return self._run_sync()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run_async())
        raise RuntimeError("a loop is running here: use `await arun(...)`")

    async def arun(self) -> Outcome[Any, Any]:
        """Run once, on the running loop; a plain function runs in a thread."""
        if self.definition.handler.mode == "sync":
            return await asyncio.to_thread(self._run_sync)
        return await self._run_async()

    def stop(self, reason: str = "shutdown") -> None:
        """Ask the run to stop: the present one, or else the next."""
        self._stop = reason
        if self._context is not None:
            self._context.stop.ask(reason)

    async def _run_async(self) -> Outcome[Any, Any]:
        context = TaskContext(self.definition, self._claimed, self._metadata(), _Port(self))
        with self._running(context):
            return self._ended(await self.definition.handler.make()(context))

    def _run_sync(self) -> Outcome[Any, Any]:
        context = SyncTaskContext(self.definition, self._claimed, self._metadata(), _SyncPort(self))
        with self._running(context):
            return self._ended(self.definition.handler.make()(context))

    def _metadata(self) -> Any:
        return self.definition.metadata.load(self._claimed.metadata)

    @contextmanager
    def _running(
        self, context: TaskContext[Any, Any] | SyncTaskContext[Any, Any]
    ) -> Iterator[None]:
        self._context, self._completed = context, None
        if self._stop is not None:
            context.stop.ask(self._stop)
        failed = 1
        try:
            with provided(self._lifespans):
                yield
            failed = 0
        finally:
            self._stop = None
            self._claimed = self._claimed._replace(
                attempt=self._claimed.attempt + 1,
                failures=self._claimed.failures + failed,
                reason="retry" if failed else "requeued",
            )

    def _ended(self, returned: object) -> Outcome[Any, Any]:
        context = cast("TaskContext[Any, Any]", self._context)
        outcome = outcome_of(returned)
        match outcome:
            case Success(result):
                if self._completed is None:
                    self.definition.result.dump(result)
            case Failure(error):
                self.definition.error.dump(error)
        if self._completed is not None:
            context.warn_if_ignored(outcome)
            outcome = Success(self.definition.result.load(self._completed))
        elif (saved := context.left_behind().saved) is not None:
            self._keep(saved)
        self.outcome = outcome
        return outcome

    def _stored(self) -> Any:
        text = self._claimed.execution_metadata
        payload = self.definition.execution_metadata
        return None if payload.is_none else payload.load("{}" if text is None else text)

    def _keep(self, saved: Saved) -> None:
        self._claimed = self._claimed._replace(
            execution_metadata=saved.execution_metadata, version=saved.version, steps=saved.steps
        )

    def save(self, saved: Saved) -> None:
        """For the runtime: a checkpoint is durable."""
        self._keep(saved)
        self.checkpoints.append(self._stored())

    def write(self, saved: Saved, result: str | None) -> None:
        """For the runtime: a checkpoint, or the end, in a transaction or the caller's own."""
        if self._pending is not None:
            self._pending.append((saved, result))
            return
        self.save(saved)
        self._completed = self._completed if result is None else result

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """For the runtime: what is written inside is durable at the end, or forgotten."""
        self._pending = []
        try:
            yield self._connection
        except BaseException:
            self._pending = None
            raise
        written, self._pending = self._pending, None
        for saved, result in written:
            self.write(saved, result)

    def report(self, progress: str) -> None:
        """For the runtime: progress was made."""
        self.progress.append(json.loads(progress))

    def add(self, task: NewTask[Any, Any]) -> Enqueued:
        """For the runtime: a child was enqueued."""
        task.metadata_json()
        task.execution_metadata_json()
        self.enqueued.append(task)
        return Enqueued(1 + len(self.enqueued), Answer.CREATED)


class _Plain:
    """What both ports do alike."""

    retry_defaults = RetryDefaults()
    deadline_passed = True

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal

    def save_soon(self, saved: Saved) -> None:
        self._rehearsal.save(saved)

    def report(self, progress: str) -> None:
        self._rehearsal.report(progress)


class _Port(_Plain):
    async def save(self, saved: Saved, explicit: bool) -> None:  # noqa: ARG002
        self._rehearsal.save(saved)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        with self._rehearsal.transaction() as connection:
            yield connection

    async def save_on(self, on: object, saved: Saved) -> None:  # noqa: ARG002
        self._rehearsal.write(saved, None)

    async def complete_on(self, on: object, result: str, saved: Saved) -> None:  # noqa: ARG002
        self._rehearsal.write(saved, result)

    async def enqueue(self, task: NewTask[Any, Any], on: object) -> Enqueued:  # noqa: ARG002
        return self._rehearsal.add(task)

    async def inputs(self) -> Sequence[InputRow]:
        return self._rehearsal.inputs

    async def now(self) -> float:
        return asyncio.get_running_loop().time()

    def has_raised(self, phase: str, error: Exception) -> None:
        pass

    async def in_thread(self, function: Callable[[], T], /) -> T:
        return await asyncio.to_thread(function)


class _SyncPort(_Plain):
    def save(self, saved: Saved, explicit: bool) -> None:  # noqa: ARG002
        self._rehearsal.save(saved)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._rehearsal.transaction() as connection:
            yield connection

    def save_on(self, on: object, saved: Saved) -> None:  # noqa: ARG002
        self._rehearsal.write(saved, None)

    def complete_on(self, on: object, result: str, saved: Saved) -> None:  # noqa: ARG002
        self._rehearsal.write(saved, result)

    def enqueue(self, task: NewTask[Any, Any], on: object) -> Enqueued:  # noqa: ARG002
        return self._rehearsal.add(task)

    def inputs(self) -> Sequence[InputRow]:
        return self._rehearsal.inputs


def _definition(
    handler: object, kind: TaskKind[Any, Any, Any, Any] | None, metadata: object, preset: object
) -> TaskDefinition:
    """A finished definition; where neither kind nor annotations say a type, the value's."""
    if isinstance(handler, TaskDefinition):
        return handler
    any_handler = cast("Any", handler)
    if kind is not None:
        return define(lambda task: task.of(kind).handled_by(any_handler))
    found = define(lambda task: task.named("rehearsal").handled_by(any_handler))
    return replace(
        found,
        metadata=_typed(found.metadata, metadata),
        execution_metadata=_typed(found.execution_metadata, preset),
    )


def _typed(payload: Payload[Any], value: object) -> Payload[Any]:
    said = payload.type_ is not Any and not payload.is_none
    return payload if said or value is None else Payload(type(value))


def _row(given: Input) -> InputRow:
    """As the database would tell of it: the result becomes JSON."""
    result = None if given.result is None else Payload(type(given.result)).dump(given.result)
    error = None if given.error is None else encode_json(dict(given.error))
    return InputRow(given.task_id, given.name, given.label, given.state, result, error)


def _json(payload: Payload[Any], value: object) -> str:
    """A value of the type, or a JSON object for it, as JSON text."""
    if value is None:
        return "{}"
    if isinstance(value, Mapping):
        return encode_json(dict(value))
    return payload.dump(value)
