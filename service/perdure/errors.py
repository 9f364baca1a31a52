"""PerdureError and its tree: what went wrong, with which value, and what to do about it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

E = TypeVar("E")


class PerdureError(Exception):
    """Anything that Perdure raises on purpose."""


class ConfigurationError(PerdureError):
    """A setting, a schema version or a service cannot be used as it is; exit code 78."""


class RegistrationError(ConfigurationError):
    """Handlers are declared wrongly; `problems` lists every mistake that `build()` found."""

    def __init__(self, problems: list[str]) -> None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the service cannot be built, {count}:\n{lines}")
        self.problems = problems


class SchemaMismatch(ConfigurationError):
    """The schema in the database is older or newer than this code can run on."""


class EmbeddedServerError(PerdureError):
    """A PostgreSQL of our own could not be found, made or started."""


class DatabaseError(PerdureError):
    """The database refused a statement for a reason that has no class of its own."""

    sqlstate: str | None = None


class DatabaseUnavailable(DatabaseError):
    """The connection was lost, or could not be made; the operation did not take effect."""


class UnknownOutcome(DatabaseError):
    """A reply was lost, and no later try succeeded: it may or may not have taken effect."""


class LeaseLost(PerdureError):
    """This worker no longer holds the task (PD001): whatever it still writes is refused."""


class TooLarge(PerdureError):
    """A value is larger than its limit allows (PD002)."""


class NotPermitted(PerdureError):
    """The login may not do this (PD003)."""


class InvalidArgument(PerdureError):
    """An argument is not acceptable (PD004)."""


class QueueFull(PerdureError):
    """The queue has reached its `max_depth` (PD005)."""


class KeyTaken(PerdureError):
    """The unique key is held by another task (PD006)."""


class InvalidPayload(PerdureError):
    """A stored JSON value does not fit the type that was declared for it."""


class UnencodableValue(PerdureError):
    """A value cannot be stored as JSON: the path to it and the reason are in the text."""


class NewerCheckpoint(PerdureError):
    """The saved execution metadata is of a newer version than this code knows."""


class TaskStopped(PerdureError):
    """Raised by `context.stop.check()` once the run has been asked to stop."""


class ScheduleNotFound(PerdureError):
    """There is no schedule of that key."""


class LifespanError(PerdureError):
    """A lifespan could not be set up, or its value was read where there is none."""


class TaskNotFound(PerdureError):
    """There is no such task: it was removed by retention, or never existed."""


class TaskCancelled(PerdureError):
    """The task whose result was awaited ended as cancelled; `error` is the stored record."""

    def __init__(self, task_id: int, error: dict[str, Any] | None) -> None:
        kind = (error or {}).get("kind") or "requested"
        super().__init__(f"task {task_id} was cancelled ({kind})")
        self.task_id = task_id
        self.error = error


class TaskFailed(PerdureError, Generic[E]):
    """The task whose result was awaited ended as failed.

    `error` is the typed error as the handler gave it (None for a thrown one), `record` the whole
    stored object: kind, type, message, traceback, error.
    """

    def __init__(self, task_id: int, record: dict[str, Any] | None, error: E | None) -> None:
        record = record or {}
        text = record.get("message") or record.get("error") or "no message"
        super().__init__(f"task {task_id} failed ({record.get('kind') or 'unknown'}): {text}")
        self.task_id = task_id
        self.record = record
        self.error = error


class StateMachineLoop(PerdureError):
    """A state machine has taken more than `max_steps` steps in one run; a failure like others."""


BY_SQLSTATE: dict[str, type[PerdureError]] = {
    "PD001": LeaseLost,
    "PD002": TooLarge,
    "PD003": NotPermitted,
    "PD004": InvalidArgument,
    "PD005": QueueFull,
    "PD006": KeyTaken,
}
