"""NewSchedule: a schedule that is to be put, as callers say it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast, get_args

from perdure.declare.kind import EnqueueOptions, NewTask, TaskKind
from perdure.tasks.schedules import CatchUp, Overlap, Timing
from perdure.tasks.triggers import Trigger

PutPolicy: TypeAlias = Literal["update", "keep", "replace", "reject"]
"""What becomes of a schedule whose key is there."""

SPAN_SECONDS_MAX: Final = 100 * 365.25 * 86_400
_SPANS: Final = ("jitter", "flex", "misfire_grace", "expires_after")
_TIMING: Final = frozenset(each.name for each in fields(Timing))


class ScheduleOptions(TypedDict, total=False):
    """What may be said about a schedule besides key, task, trigger and metadata.

    Lengths of time are in seconds or timedeltas.

    Args:
        jitter: each task comes up to this much later, by a hash of key and instant; default 0.
        flex: each may run from this much before its instant on; default 0.
        misfire_grace: an instant looked at later than this is missed; default: never too late.
        expires_after: a task not started so long after its instant fails as `expired`.
        catch_up: of several instants that are due fire the newest (`latest`, the default), each up
            to `max_catch_up` (`all`), or only one that is not late (`skip`).
        max_catch_up: 1 to 10,000, default 100.
        overlap: while an earlier occurrence lives `skip` (the default), `queue` behind it,
            `cancel_previous`, or `allow`.
        queue, priority, tags, requires, headers, max_retries: of its tasks, as in an enqueue.
    """

    jitter: float | timedelta
    flex: float | timedelta
    misfire_grace: float | timedelta | None
    expires_after: float | timedelta | None
    catch_up: CatchUp
    max_catch_up: int
    overlap: Overlap
    queue: str | None
    priority: int | None
    tags: Sequence[str] | None
    requires: Sequence[str] | None
    headers: Mapping[str, Any] | None
    max_retries: int | None


_OPTIONS: Final = frozenset(ScheduleOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule that is to be put: which task, when, with what; nothing is checked here."""

    key: str
    task: TaskKind[Any, Any, Any, Any] | str
    trigger: Trigger
    metadata: Any = None
    options: ScheduleOptions = field(default_factory=ScheduleOptions)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task if isinstance(self.task, str) else self.task.name

    def new_task(self) -> NewTask[Any, Any]:
        """What each of its instants enqueues."""
        said = {name: value for name, value in self.options.items() if name not in _TIMING}
        return NewTask(self.task, self.metadata, **cast("EnqueueOptions[Any]", said))

    def timing(self) -> Timing:
        """How its instants are treated; ValueError for what is no length of time, or no number."""
        said: dict[str, Any] = {
            name: _span(name, value) if name in _SPANS else value
            for name, value in self.options.items()
            if name in _TIMING and value is not None
        }
        if type(said.get("max_catch_up", 1)) is not int:
            raise ValueError(f"max_catch_up {said['max_catch_up']!r} must be a whole number")
        return Timing(**said)

    def problems(self) -> Iterator[str]:
        """What is wrong with it, as far as it can be said without knowing the task."""
        if not isinstance(self.task, str | TaskKind):
            yield f"task {self.task!r} must be a kind, or the name of a task"
            return
        if not isinstance(self.trigger, get_args(Trigger)):
            yield f"trigger {self.trigger!r} must be Every, Cron or Once"
            return
        wrong = [*self.trigger.problems()]
        yield from wrong
        if unknown := sorted(self.options.keys() - _OPTIONS):
            yield f"{unknown[0]!r} is no option: there are {', '.join(sorted(_OPTIONS))}"
        try:
            timing = self.timing()
        except ValueError as error:
            yield str(error)
        else:
            yield from () if wrong else timing.problems(self.trigger)


def _span(field: str, value: object) -> timedelta:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:  # noqa: PLR0124
        raise ValueError(f"{field} {value!r} must be seconds or a timedelta")
    if abs(seconds) > SPAN_SECONDS_MAX:
        raise ValueError(f"{field} {value!r} must lie between 0 and 100 years")
    return timedelta(seconds=seconds)
