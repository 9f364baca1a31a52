"""What people and programs read of tasks, queues and workers: one frozen value per row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskView:
    """Everything about one task at one moment; times have a zone, payloads are plain JSON values.

    `state` is pending, scheduled, retrying, blocked, suspended, running, completed, failed or
    cancelled; `reason` says why it is there, `waiting_for` what would move it on. `attempt` is the
    number of the last run, 0 before the first. `error` has kind, type, message, traceback and the
    typed error, as in `TaskFailed`; `progress` done, total and message. `steps` has the steps that
    are done, by name, with their values; None without any. `enqueued_by` is a login. `run_at` is
    what was asked, `due_at` when a task that waits goes on by itself; `worker_id` is of who holds
    it, or ended it.
    """

    id: int
    name: str
    queue: str
    priority: int
    state: str
    reason: str | None
    waiting_for: str | None
    attempt: int
    failures: int
    interruptions: int
    crashes: int
    metadata: Any
    execution_metadata: Any
    progress: Any
    result: Any
    error: dict[str, Any] | None
    tags: list[str] | None
    unique_key: str | None
    headers: dict[str, Any] | None
    enqueued_by: str
    created_at: datetime
    run_at: datetime | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    worker_id: int | None
    steps: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A `TaskView` without metadata, execution metadata, steps, result, error and headers."""

    id: int
    name: str
    queue: str
    priority: int
    state: str
    reason: str | None
    waiting_for: str | None
    attempt: int
    failures: int
    interruptions: int
    crashes: int
    progress: Any
    tags: list[str] | None
    unique_key: str | None
    enqueued_by: str
    created_at: datetime
    run_at: datetime | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    worker_id: int | None

    @property
    def ended(self) -> bool:
        """Whether the state is a last one."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event in the life of a task, by whom if somebody did it, with what is known besides.

    `event` is created, started, what became of a run (failure, suspension, interruption, crash,
    cancellation), what was done to the task (cancel, proceed, retry, ...), signal_kept or
    signal_unused, or the state that it ended in. `details` of a proceed say in `before` which
    execution metadata it has replaced.
    """

    at: datetime
    event: str
    attempt: int | None
    actor: str | None
    worker_id: int | None
    details: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class BulkCancelled:
    """What `cancel_where` did, or with `dry_run` would do: ended at once, and asked to stop."""

    cancelled: int
    requested: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: tasks by place, age of its oldest ready one in seconds, failures of an hour.

    `max_depth` and `concurrency` (of each worker process) are its bounds, None where it has none.
    """

    queue: str
    ready: int
    waiting: int
    running: int
    oldest_ready_seconds: float | None
    failed_last_hour: int
    paused: bool
    max_depth: int | None
    concurrency: int | None


@dataclass(frozen=True, slots=True)
class ConstraintState:
    """A constraint: what was declared for the whole cluster (None: nothing) and when, how many live
    workers it holds for, how many ready tasks require it."""

    name: str
    declared: bool | None
    changed_at: datetime | None
    workers: int
    ready: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker process; `held` counts the tasks in its leases, `running` those that it runs.

    `satisfied` are the constraints that hold for it.
    """

    id: int
    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    alive: bool
    held: int
    running: int
    slots: int
    queues: list[str]
    names: list[str]
    stopping: bool
    problem: str | None
    satisfied: list[str]
    draining: bool


ENDED = frozenset({"completed", "failed", "cancelled"})
LIVE = frozenset({"pending", "scheduled", "retrying", "blocked", "suspended", "running"})
