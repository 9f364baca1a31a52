"""What people and programs read of schedules: one frozen value per row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from perdure.store.database import Row
from perdure.tasks.triggers import Trigger, from_json

_TRIGGER = 4
"""Where the trigger stands in a row."""


class Occurrence(NamedTuple):
    """What `run_schedule` did: fired, queued, skipped, not_found; the id of the task if any."""

    answer: str
    task_id: int | None


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """One schedule at one moment; times have a zone.

    `state` is active, paused, finished (no instant is left) or broken (`problem` says why).
    `trigger` is Every, Cron or Once; JSON as it is stored where it cannot be evaluated.
    `next_fire_at` is None until a worker has looked first, and where there is none any more; it is
    `override_at` where that is set. `live` counts its tasks that have not ended; `fired`,
    `coalesced`, `missed`, `skipped` and `manual` count instants, from the creation on.
    `generation` is 1, and one more with each change. `declared`: by the code of workers.
    """

    key: str
    name: str
    state: str
    problem: str | None
    trigger: Trigger | dict[str, Any]
    jitter: timedelta
    flex: timedelta
    misfire_grace: timedelta | None
    expires_after: timedelta | None
    catch_up: str
    max_catch_up: int
    overlap: str
    queue: str | None
    priority: int | None
    tags: list[str] | None
    requires: list[str] | None
    max_retries: int | None
    next_fire_at: datetime | None
    override_at: datetime | None
    last_fire_at: datetime | None
    live: int
    fired: int
    coalesced: int
    missed: int
    skipped: int
    manual: int
    generation: int
    declared: bool
    put_by: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        """For the runtime: the value of a row, in the order of the fields."""
        values = list(row)
        values[_TRIGGER] = _read(values[_TRIGGER])
        return cls(*values)


@dataclass(frozen=True, slots=True)
class ScheduleView(ScheduleState):
    """A `ScheduleState` with what its tasks are asked: metadata and headers, plain JSON values."""

    metadata: Any
    headers: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FireView:
    """What became of an instant: fired, coalesced, missed, skipped or manual.

    Instants of one fate that follow one another are one value at the first of them, with their
    `count`. `task_id`: of the task that was made, None for none. A manual one is at the time of the
    call.
    """

    fire_at: datetime
    fate: str
    count: int
    task_id: int | None
    decided_at: datetime


def _read(trigger: dict[str, Any]) -> Trigger | dict[str, Any]:
    try:
        return from_json(trigger)
    except (ValueError, TypeError, KeyError, OverflowError):
        return trigger
