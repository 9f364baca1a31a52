"""TaskKind and NewTask: values that producers import without importing handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypedDict,
    cast,
    overload,
)

from typing_extensions import TypeVar, Unpack

from perdure.errors import InvalidArgument
from perdure.tasks.codec import Payload, encode_json
from perdure.tasks.policies import UniquePolicy

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

    CallersConnection: TypeAlias = (
        psycopg.AsyncConnection[Any]
        | psycopg.Connection[Any]
        | AsyncConnection
        | AsyncSession
        | Connection
        | Session
    )
    """A connection or session of the caller's: of psycopg or SQLAlchemy, as sync as the caller."""

M = TypeVar("M", default=None)
X = TypeVar("X", default=None)
R = TypeVar("R", default=None)
E = TypeVar("E", default=None)

# What is left out is None for the checker, too: that is what the defaults of the variables say.
_LEFT_OUT: Any = NoneType


class Payloads(NamedTuple):
    """How the four values of a kind become JSON and back."""

    metadata: Payload[Any]
    execution_metadata: Payload[Any]
    result: Payload[Any]
    error: Payload[Any]


@dataclass(frozen=True)
class TaskKind(Generic[M, X, R, E]):
    """A task's name and types: what was asked, its checkpoint, its result, its error.

    Each type is a pydantic model, a dataclass or anything else that pydantic can validate; one
    that is left out is None. Metadata and execution metadata must be objects in JSON. Nothing is
    checked here: a service reports what is wrong at `build()`, a client at the enqueue.
    """

    name: str
    metadata: type[M] = _LEFT_OUT
    _: KW_ONLY
    execution_metadata: type[X] = _LEFT_OUT
    result: type[R] = _LEFT_OUT
    error: type[E] = _LEFT_OUT

    @cached_property
    def payloads(self) -> Payloads:
        """For the runtime: the four codecs; TypeError if pydantic cannot handle a type."""
        return Payloads(
            Payload(self.metadata),
            Payload(self.execution_metadata),
            Payload(self.result),
            Payload(self.error),
        )


class Answer(StrEnum):
    """What an enqueue did: made a task (created, replaced, appended), or not (kept, updated).

    The last two come with the id of the task that holds the unique key.
    """

    CREATED = "created"
    KEPT = "kept"
    REPLACED = "replaced"
    APPENDED = "appended"
    UPDATED = "updated"


class Enqueued(NamedTuple):
    """The task that an enqueue leaves: its id (a kept one's, if the key was held), and how."""

    id: int
    answer: Answer


class Identified(Protocol):
    """What has the id of a task: a handle, an answer."""

    @property
    def id(self) -> int:
        """The task's."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A task that another follows, and how.

    Args:
        task: its id, its handle, or the NewTask of the same `enqueue_many`.
        label: what its result is found by; default: its name, where no other has it.
        on_failure: `fail` (default) ends the follower as the task has ended, `cancel` cancels it,
            `run` runs it nevertheless.
    """

    task: int | Identified | NewTask[Any, Any]
    label: str | None = None
    on_failure: Literal["fail", "cancel", "run"] = "fail"


class EnqueueOptions(TypedDict, Generic[X], total=False):
    """What may be said about one task besides its metadata; None and left out are the same.

    Lengths of time are in seconds or timedeltas, moments need a time zone.

    Args:
        queue: where it goes; default: what the task's definition says, else `default`.
        priority: 0 (first) to 9; default: what the definition says, else 5.
        delay: not before so long from now; excludes `run_at`.
        run_at: not before this moment.
        unique_key: of the tasks with one key at most one may run.
        unique_policy: what becomes of it where the key is held; `keep` by default.
        unique_for: how much longer than the task lives the key is held.
        max_delay: how long updates with a `delay` may put it off in all.
        tags: words to find it by.
        requires: names of constraints that must hold for the worker, besides the definition's.
        headers: what its handler reads beside the metadata; an object in JSON.
        max_retries: 0 or more, -1 for no limit; wins over the definition.
        retry_delays: before each retry, the last repeats; wins over the definition.
        execution_metadata: the checkpoint that the first run begins with.
        expires_at: not started by then it fails as `expired`.
        deadline_at: from then on it runs without the constraints it requires.
        after: the tasks that it follows: ids, handles, edges, or tasks of the same `enqueue_many`.
    """

    queue: str | None
    priority: int | None
    delay: float | timedelta | None
    run_at: datetime | None
    unique_key: str | None
    unique_policy: UniquePolicy | None
    tags: Sequence[str] | None
    requires: Sequence[str] | None
    headers: Mapping[str, Any] | None
    max_retries: int | None
    retry_delays: Sequence[float | timedelta] | None
    execution_metadata: X | None
    expires_at: datetime | None
    deadline_at: datetime | None
    unique_for: float | timedelta | None
    max_delay: float | timedelta | None
    after: Sequence[int | Identified | Edge | NewTask[Any, Any]] | None


class NewTask(Generic[M, X]):
    """A task that is to be enqueued: of a kind, or by name and untyped.

    `options` holds what was said besides the metadata, as in `EnqueueOptions`. `position`: in which
    `enqueue_many`, and where in it, it was last.
    """

    __slots__ = ("metadata", "options", "position", "task")

    @overload
    def __init__(
        self: NewTask[None, X],
        task: TaskKind[None, X, Any, Any],
        metadata: None = None,
        **options: Unpack[EnqueueOptions[X]],
    ) -> None: ...

    @overload
    def __init__(
        self,
        task: TaskKind[M, X, Any, Any],
        metadata: M,
        **options: Unpack[EnqueueOptions[X]],
    ) -> None: ...

    @overload
    def __init__(
        self: NewTask[Any, Any],
        task: str,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueOptions[Any]],
    ) -> None: ...

    def __init__(self, task: Any, metadata: Any = None, **options: Any) -> None:
        if not isinstance(task, str | TaskKind):
            raise InvalidArgument(f"task={task!r}: give a TaskKind, or the name of a task")
        self.task: TaskKind[Any, Any, Any, Any] | str = task
        self.metadata: Any = metadata
        self.options = cast("EnqueueOptions[Any]", options)
        self.position: tuple[object, int] | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task if isinstance(self.task, str) else self.task.name

    def metadata_json(self) -> str:
        """For the runtime: metadata as JSON text; UnencodableValue if not of the kind's type."""
        if self.metadata is None:
            return "{}"
        if isinstance(self.task, str):
            return encode_json(self.metadata)
        return self.task.payloads.metadata.dump(self.metadata)

    def execution_metadata_json(self) -> str | None:
        """For the runtime: the preset checkpoint, None: none; UnencodableValue as above."""
        preset = self.options.get("execution_metadata")
        if preset is None:
            return None
        if isinstance(self.task, str):
            return encode_json(preset)
        return self.task.payloads.execution_metadata.dump(preset)

    def __repr__(self) -> str:
        return f"NewTask({self.name!r}, {', '.join(sorted(self.options)) or 'no options'})"
