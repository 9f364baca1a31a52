"""Typed events: what has happened in this process.

Events say what has happened, after it is durable, in this process only. They carry ids, names,
counts and seconds, and why a run failed, cut and with its secrets masked: never metadata, results,
tracebacks or lease ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

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
class ScheduleFired(Event):
    """A schedule made a task for an instant, `seconds` after that; negative: it may run early."""

    names: ClassVar[tuple[str, ...]] = ("schedule.fired",)
    schedule_key: str
    fire_at: str
    task_id: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleMissed(Event):
    """`count` instants from `fire_at` on were too late, or more than are caught up: no task."""

    names: ClassVar[tuple[str, ...]] = ("schedule.missed",)
    schedule_key: str
    fire_at: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSkipped(Event):
    """An earlier occurrence of the schedule lives, and its overlap lets none begin beside it."""

    names: ClassVar[tuple[str, ...]] = ("schedule.skipped",)
    schedule_key: str
    fire_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleBroken(Event):
    """A schedule cannot be evaluated; it fires no more until it is put anew."""

    names: ClassVar[tuple[str, ...]] = ("schedule.broken",)
    schedule_key: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintChanged(Event):
    """A constraint holds for this worker from now on, or does so no longer.

    `why` is what its probe raised, if that is the reason; None: somebody has said so.
    """

    names: ClassVar[tuple[str, ...]] = ("constraint.changed",)
    name: str
    satisfied: bool
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksUnserved(Event):
    """No live worker takes `count` tasks of a name, for more than a minute now, and why.

    One worker of a cluster says it, once for each change; counted up to 1,000.
    """

    names: ClassVar[tuple[str, ...]] = ("tasks.unserved",)
    queue: str
    name: str
    count: int
    why: str


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
    """All holds, but something does not look right: an unknown variable, a name that is near."""

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
class LifespanFailed(Event):
    """A `tick` or the `cleanup` of a lifespan, or of a singleton, has raised; all else goes on."""

    names: ClassVar[tuple[str, ...]] = ("lifespan.failed",)
    lifespan: str
    phase: str
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
    *(ScheduleFired, ScheduleMissed, ScheduleSkipped, ScheduleBroken),
    *(QueuePaused, QueueResumed, ConstraintChanged, TasksUnserved, BeatFailed),
    *(DatabaseLost, DatabaseBack, ListenerFailed),
    *(Reloaded, ReloadRefused, SettingsOdd, LoopFailed, LifespanFailed),
    *(ChildStarted, ChildEnded, ChildFailed),
)
NAMES = frozenset(name for kind in EVENTS for name in kind.names)
