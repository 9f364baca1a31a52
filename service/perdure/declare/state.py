"""RunState: what a context knows and remembers, whatever kind of handler it is given to."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger
from typing_extensions import TypeVar

from perdure.declare.definition import TaskDefinition
from perdure.declare.memory import Entry, Memory
from perdure.errors import InvalidArgument, UnencodableValue
from perdure.tasks.codec import clean_text, encode_json
from perdure.tasks.outcomes import Outcome, Success
from perdure.tasks.places import Claimed, Saved
from perdure.tasks.policies import RetryDefaults, is_last_attempt

M = TypeVar("M", default=Any)
X = TypeVar("X", default=None)

PROGRESS_MESSAGE_BYTES_MAX: Final = 1_000
NOT_GIVEN: Any = object()


class Completed(NamedTuple):
    """The task was completed in a transaction, with this result as JSON text.

    `certain`: the transaction was ours and has committed. Otherwise it was the caller's, and only
    the database knows whether it has.
    """

    result: str
    certain: bool


class LeftBehind(NamedTuple):
    """What the runtime asks a context once its handler has ended.

    `saved` is the execution metadata as it stands, None if the database has it already. `explicit`:
    the run has used a transaction, or an earlier one has, or it is declared so.
    """

    saved: Saved | None
    explicit: bool
    completed: Completed | None


class RunState(ABC, Generic[M, X]):
    """The part of a context that needs no await.

    Made once per run, on the hot path: what a handler does not touch is not made.
    """

    __slots__ = (
        "_claimed",
        "_completed",
        "_definition",
        "_explicit",
        "_logger",
        "_memory",
        "_metadata",
    )

    def __init__(self, definition: TaskDefinition, claimed: Claimed, metadata: M) -> None:
        self._definition = definition
        self._claimed = claimed
        self._metadata = metadata
        self._memory: Memory[X] | None = None
        self._logger: FilteringBoundLogger | None = None
        self._completed: Completed | None = None
        self._explicit = claimed.explicit or not definition.save_on_stop

    @property
    def task_id(self) -> int:
        """The task's id, the same in every run."""
        return self._claimed.task_id

    @property
    def name(self) -> str:
        """The name under which the task was enqueued: the definition's, or an alias of it."""
        return self._claimed.name

    @property
    def metadata(self) -> M:
        """What was asked. Not to be changed."""
        return self._metadata

    @property
    def execution_metadata(self) -> X:
        """The checkpoint: what was saved last, to be changed in place, or replaced.

        Raises:
            InvalidPayload: what was saved does not fit the type, or the type has no defaults.
        """
        return self.memory.value

    @execution_metadata.setter
    def execution_metadata(self, value: X) -> None:
        self.memory.value = value

    @property
    def attempt(self) -> int:
        """The number of this run, from 1 on."""
        return self._claimed.attempt + 1

    @property
    def failures(self) -> int:
        """How many earlier runs have failed; stops and crashes do not count."""
        return self._claimed.failures

    @property
    def is_last_attempt(self) -> bool:
        """Whether no failure of this run would be retried; never with UNLIMITED."""
        claimed = self._claimed
        return is_last_attempt(
            self._definition.retry,
            self._retry_defaults,
            own=claimed.max_retries,
            failures=claimed.failures,
        )

    @property
    def run_reason(self) -> str:
        """Why this run is: first, proceeded, until, retry, interruption, crash or requeued."""
        return self._claimed.reason

    @property
    def deadline_passed(self) -> bool:
        """Whether `deadline_at` has passed: then it may run without the constraints it requires."""
        return self._claimed.deadline_at is not None and self._is_late

    @property
    def headers(self) -> Mapping[str, Any]:
        """What the producer sent beside the metadata, such as a trace; empty if nothing."""
        text = self._claimed.headers
        return MappingProxyType({} if text is None else json.loads(text))

    @property
    def schedule_key(self) -> str | None:
        """The key of the schedule that made the task; None: another way."""
        return self._claimed.schedule_key

    @property
    def fire_at(self) -> datetime | None:
        """The instant that its schedule made it for, in UTC, whenever it runs; None for none."""
        at = self._claimed.fire_at
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def logger(self) -> FilteringBoundLogger:
        """A structlog logger that knows the task, its name and the attempt."""
        if self._logger is None:
            self._logger = structlog.get_logger("perdure.task").bind(
                task_id=self.task_id, name=self.name, attempt=self.attempt
            )
        return self._logger

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every run of this task: for effects outside the database."""
        return f"{self.name}:{self.task_id}"

    def step_key(self, name: str) -> str:
        """The `key` of a step, for functions that are given to `step`."""
        return f"{self.idempotency_key}:{name}"

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the run is, for people; the last word wins, written within a second.

        The numbers are of any unit; the message is cut at 1,000 bytes. The last progress stays
        readable after the end.

        Raises:
            InvalidArgument: a number is not finite.
        """
        for number in (done, total):
            if number is not None and not math.isfinite(number):
                raise InvalidArgument(f"progress of {number} cannot be shown: give finite numbers")
        text = None if message is None else clean_text(message, PROGRESS_MESSAGE_BYTES_MAX)
        self._report(encode_json({"done": done, "total": total, "message": text}))

    def checkpoint_soon(self) -> None:
        """Save the execution metadata as it is now, with whatever is written next.

        Raises:
            InvalidArgument: a transaction of this run is open; it saves at its end.
            UnencodableValue: the execution metadata cannot be stored.
        """
        self._save_soon(self._outside("checkpoint_soon()"))

    def begin_step(self, name: str) -> str | None:
        """For the runtime: the JSON text of the value of a step if it is done."""
        return self.memory.begin_step(name)

    @property
    def memory(self) -> Memory[X]:
        """Execution metadata and steps; for the runtime and the parts of a context."""
        if self._memory is None:
            self._memory = Memory(self._definition, self._claimed)
        return self._memory

    @property
    def untouched(self) -> bool:
        """For the runtime: whether the handler used none of it: only a result is left then."""
        return self._memory is None and self._completed is None

    def left_behind(self) -> LeftBehind:
        """What the run has left behind; for the runtime, once the handler has ended.

        Raises:
            UnencodableValue: the execution metadata, as it stands, cannot be stored.
        """
        saved = None if self._memory is None else self._memory.unsaved()
        return LeftBehind(saved, self._explicit, self._completed)

    def warn_if_ignored(self, outcome: Outcome[Any, Any]) -> None:
        """For the runtime: a completed task's handler returned; warn if it is another result."""
        if self._completed is None or outcome == Success(None):
            return
        if isinstance(outcome, Success) and self._is_completed_with(outcome.result):
            return
        self.logger.warning(
            "result ignored: the task was completed in a transaction, with another one",
            returned=type(outcome).__name__,
        )

    def _is_completed_with(self, result: object) -> bool:
        try:
            returned = json.loads(self._encoded(result))
        except UnencodableValue:
            return False
        return self._completed is not None and returned == json.loads(self._completed.result)

    def _outside(self, what: str) -> Saved:
        """Everything as it stands, to be saved outside of a transaction of this run."""
        if self.memory.entry is not None:
            raise InvalidArgument(
                f"{what} inside context.transaction(), which saves at its end: leave it out,"
                " or give on= the connection of the transaction"
            )
        return self.memory.as_it_stands()

    def _own(self, on: object) -> Entry | None:
        """The open transaction of this run, which `on` must be if there is one.

        What is asked for in it happens at its end: it saves there anyway, and until then its
        rows are not locked, so that a step inside it can be saved.
        """
        entry = self.memory.entry
        if entry is not None and entry.connection is not on:
            raise InvalidArgument("a transaction of this run is open: give on= its connection")
        return entry

    def _has_ended(self, result: str | None, *, certain: bool) -> None:
        if result is not None:
            self._completed = Completed(result, certain)

    def _encoded(self, result: object) -> str:
        return self._definition.result.dump(result)

    @property
    @abstractmethod
    def _retry_defaults(self) -> RetryDefaults: ...

    @property
    @abstractmethod
    def _is_late(self) -> bool: ...

    @abstractmethod
    def _report(self, progress: str) -> None: ...

    @abstractmethod
    def _save_soon(self, saved: Saved) -> None: ...
