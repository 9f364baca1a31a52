"""Typed events and the bus that hands them to listeners, whose faults never reach the emitter.

Events say what has happened, after it is durable, in this process only. They carry ids, names,
counts and seconds, and why a run failed, cut and with its secrets masked: never metadata, results,
tracebacks or lease ids.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from perdure.errors import ConfigurationError

# What each log line of this context carries: task_id, name, queue, attempt, worker_id. A run sets
# it once, for one dictionary; threads and children that copy the context have it, too.
run_fields: ContextVar[Mapping[str, object]] = ContextVar(
    "perdure_run_fields", default=MappingProxyType({})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened. `names` are the dotted names a type may have, `event` is this one's."""

    names: ClassVar[tuple[str, ...]] = ()

    @property
    def event(self) -> str:
        """Dotted name, such as `task.completed`: what `Bus.on` and the log call it."""
        return self.names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent(Event):
    """Something happened to one run of one task; `name` is the task's name."""

    task_id: int
    name: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """The worker has registered and takes tasks from now on; the server's durability class."""

    names: ClassVar[tuple[str, ...]] = ("worker.started",)
    worker_id: int
    pid: int
    concurrency: int
    connections: int
    durability: str = "single"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopping(Event):
    """The worker takes no more tasks and stops those it runs."""

    names: ClassVar[tuple[str, ...]] = ("worker.stopping",)
    worker_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopped(Event):
    """The worker ends: `abandoned` runs have not, `held` tasks wait for the end of its lease."""

    names: ClassVar[tuple[str, ...]] = ("worker.stopped",)
    worker_id: int
    seconds: float
    abandoned: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecovered(Event):
    """Dead workers were found and their tasks put back."""

    names: ClassVar[tuple[str, ...]] = ("worker.recovered",)
    workers: int
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksClaimed(Event):
    """One claim took `count` tasks."""

    names: ClassVar[tuple[str, ...]] = ("tasks.claimed",)
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksCompleted(Event):
    """One flush wrote `count` completions: the event of the hot path, one for a batch.

    `task_id` and `name` are there if it was a single one.
    """

    names: ClassVar[tuple[str, ...]] = ("tasks.completed",)
    count: int
    task_id: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted(Event):
    """`count` waiting tasks had become due and are ready."""

    names: ClassVar[tuple[str, ...]] = ("tasks.promoted",)
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingsDropped(Event):
    """`count` endings could not be written before their leases ended; their tasks run again."""

    names: ClassVar[tuple[str, ...]] = ("tasks.dropped",)
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(TaskEvent):
    """A run begins."""

    names: ClassVar[tuple[str, ...]] = ("task.started",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded(TaskEvent):
    """A task has ended; `seconds` says how long its run took.

    What did not complete says why, in the words of the stored error: `kind` sorts it, `type` and
    `message` are of what was thrown, `error` is the JSON text of the typed error that was returned.
    Both texts are cut, their secrets masked.
    """

    names: ClassVar[tuple[str, ...]] = ("task.completed", "task.failed", "task.cancelled")
    state: Literal["completed", "failed", "cancelled"]
    seconds: float
    kind: str | None = None
    type: str | None = None
    message: str | None = None
    error: str | None = None

    @property
    def event(self) -> str:
        """`task.` and the state."""
        return f"task.{self.state}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRetrying(TaskEvent):
    """A run failed and another follows, `delay` seconds from now; why: as in `TaskEnded`."""

    names: ClassVar[tuple[str, ...]] = ("task.retrying",)
    delay: float | None
    kind: str | None = None
    type: str | None = None
    message: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSuspended(TaskEvent):
    """A run ended in `Suspended`: the task waits for a time or a key."""

    names: ClassVar[tuple[str, ...]] = ("task.suspended",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInterrupted(TaskEvent):
    """A run was stopped, without blame, and the task goes on elsewhere."""

    names: ClassVar[tuple[str, ...]] = ("task.interrupted",)
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost(TaskEvent):
    """This worker no longer held the task: what its run wanted to write was refused."""

    names: ClassVar[tuple[str, ...]] = ("task.lost",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue(TaskEvent):
    """A run was asked to stop `seconds` ago and has not ended; said once a minute."""

    names: ClassVar[tuple[str, ...]] = ("task.overdue",)
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePaused(Event):
    """This worker takes no more tasks of the queue; `*` is all queues."""

    names: ClassVar[tuple[str, ...]] = ("queue.paused",)
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueResumed(Event):
    """This worker takes tasks of the queue again; `*` is all queues."""

    names: ClassVar[tuple[str, ...]] = ("queue.resumed",)
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatFailed(Event):
    """A beat did not reach the database; the lease ends in `seconds_left`."""

    names: ClassVar[tuple[str, ...]] = ("beat.failed",)
    error: str
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLost(Event):
    """A loop has lost the database; said once per outage and loop."""

    names: ClassVar[tuple[str, ...]] = ("database.lost",)
    loop: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseBack(Event):
    """A loop has found the database again, after an outage of `seconds`."""

    names: ClassVar[tuple[str, ...]] = ("database.back",)
    loop: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """Settings were read again; each text is `key: old -> new`, secrets masked."""

    names: ClassVar[tuple[str, ...]] = ("settings.reloaded",)
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRefused(Event):
    """The new settings are wrong: the old ones stay in force."""

    names: ClassVar[tuple[str, ...]] = ("settings.refused",)
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOdd(Event):
    """The settings hold, but something beside them does not look right: an unknown variable."""

    names: ClassVar[tuple[str, ...]] = ("settings.odd",)
    warning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerFailed(Event):
    """A listener raised; whatever it was told about has happened all the same."""

    names: ClassVar[tuple[str, ...]] = ("listener.failed",)
    heard: str
    listener: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFailed(Event):
    """A turn of a loop failed for a reason that will not pass by itself: a fault of ours."""

    names: ClassVar[tuple[str, ...]] = ("loop.failed",)
    loop: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted(Event):
    """A supervisor has started a worker process at one of its places."""

    names: ClassVar[tuple[str, ...]] = ("supervisor.child_started",)
    pid: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded(Event):
    """A supervised worker has ended, by a signal if `code` < 0; the next in `again_in` s."""

    names: ClassVar[tuple[str, ...]] = ("supervisor.child_ended",)
    pid: int
    place: int
    code: int
    again_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFailed(ChildEnded):
    """It has crashed, or ended with an error, which it has told itself."""

    names: ClassVar[tuple[str, ...]] = ("supervisor.child_failed",)


EVENTS: tuple[type[Event], ...] = (
    *(WorkerStarted, WorkerStopping, WorkerStopped, WorkerRecovered),
    *(TasksClaimed, TasksCompleted, Promoted, EndingsDropped),
    *(TaskStarted, TaskEnded, TaskRetrying, TaskSuspended, TaskInterrupted, TaskLost, Overdue),
    *(QueuePaused, QueueResumed, BeatFailed, DatabaseLost, DatabaseBack, ListenerFailed),
    *(Reloaded, ReloadRefused, SettingsOdd, LoopFailed, ChildStarted, ChildEnded, ChildFailed),
)
NAMES = frozenset(name for kind in EVENTS for name in kind.names)

E = TypeVar("E", bound=Event)
Listener = Callable[[Any], object]


class Bus:
    """Hands events to listeners, in the order in which they came, in the emitter's thread.

    Listeners may be added and removed at any time and from any thread that is not emitting.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, tuple[Listener, ...]] = {}
        self._heard: frozenset[str | type[Event]] = frozenset()

    def on(self, event: type[E] | str, listener: Callable[[E], object]) -> Callable[[], None]:
        """Call `listener(event)` for a type or a dotted name; `Event` is everything.

        Returns a function that removes it again.

        Raises:
            ConfigurationError: there is no such event, or the listener is a coroutine function.
        """
        names = _names(event)
        if inspect.iscoroutinefunction(listener):
            raise ConfigurationError(
                f"the listener for {', '.join(sorted(names))} is a coroutine function:"
                " listeners are plain functions, called where the event happens"
            )

        def off() -> None:
            for name in names:
                kept = tuple(other for other in self._listeners[name] if other is not entry)
                self._listeners[name] = kept
            self._listen()

        def entry(event: E) -> object:
            return listener(event)

        entry.__qualname__ = getattr(listener, "__qualname__", repr(listener))
        for name in names:
            self._listeners[name] = (*self._listeners.get(name, ()), entry)
        self._listen()
        return off

    def heard(self, event: type[Event] | str) -> bool:
        """Whether anybody listens to a type or a dotted name: if not, do not build the event."""
        return event in self._heard

    def emit(self, event: Event) -> None:
        """Tell everybody who listens. Never raises: a fault becomes a `ListenerFailed`."""
        for listener in self._listeners.get(event.event, ()):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  (whatever a listener does wrong is its own)
                self._report(event, listener, error)

    def _report(self, event: Event, listener: Listener, error: Exception) -> None:
        # A listener of failures that fails itself has nobody left to tell.
        if not isinstance(event, ListenerFailed):
            name = listener.__qualname__
            self.emit(ListenerFailed(heard=event.event, listener=name, error=error))

    def _listen(self) -> None:
        names = {name for name, listeners in self._listeners.items() if listeners}
        types = {kind for kind in (*EVENTS, TaskEvent, Event) if names & _names(kind)}
        self._heard = frozenset(names | types)


def _names(event: type[Event] | str) -> frozenset[str]:
    """The dotted names that a type, a base of types, or a name stands for."""
    if isinstance(event, str):
        if event in NAMES:
            return frozenset({event})
        nearest = get_close_matches(event, sorted(NAMES), 1)
        hint = (
            f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(NAMES))}"
        )
        raise ConfigurationError(f"there is no event {event!r}; {hint}")
    return frozenset(name for kind in EVENTS if issubclass(kind, event) for name in kind.names)
