"""Each public SQL function of schedules as a value, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from perdure.store.database import Row
from perdure.store.due_schedules import ScheduleRow
from perdure.store.operations import Operation
from perdure.store.schedule_views import FireView, Occurrence, ScheduleState, ScheduleView


class ScheduleEntry(NamedTuple):
    """A schedule that is to be put, as SQL takes it: JSON as text, lengths of time in seconds."""

    key: str
    name: str
    metadata: str = "{}"
    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    once: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: float = 0.0
    flex: float = 0.0
    misfire_grace: float | None = None
    expires_after: float | None = None
    catch_up: str = "latest"
    max_catch_up: int = 100
    overlap: str = "skip"
    queue: str | None = None
    priority: int | None = None
    tags: Sequence[str] | None = None
    requires: Sequence[str] | None = None
    headers: str | None = None
    max_retries: int | None = None
    policy: str = "update"
    keep_phase: bool = True
    declared: bool = False


def put_schedule(entry: ScheduleEntry) -> Operation[str]:
    """Answers created, updated, unchanged, kept, replaced."""
    same = entry.policy in ("update", "keep")
    return Operation("put_schedule", entry._asdict(), _text, "same" if same else "never")


def pause_schedule(key: str) -> Operation[str]:
    """Answers paused, already_paused, not_found, or the state of one that cannot be paused."""
    return Operation("pause_schedule", {"key": key}, _text, "same")


def resume_schedule(key: str, *, catch_up: bool) -> Operation[str]:
    """Answers resumed, not_paused, not_found."""
    return Operation("resume_schedule", {"key": key, "catch_up": catch_up}, _text, "same")


def run_schedule(key: str, *, force: bool) -> Operation[Occurrence]:
    """Answers fired, queued, skipped, not_found, and the id of the task if there is one."""
    params = {"key": key, "force": force}
    return Operation("run_schedule", params, lambda rows: Occurrence(*rows[0]))


def override_next(key: str, at: datetime | None) -> Operation[str]:
    """Answers set, not_found."""
    return Operation("override_next", {"key": key, "at": at}, _text, "same")


def delete_schedule(key: str) -> Operation[str]:
    """Answers deleted, not_found."""
    return Operation("delete_schedule", {"key": key}, _text, "same")


def schedule_states() -> Operation[list[ScheduleState]]:
    """Every schedule, by key."""
    return Operation(
        "schedule_states", {}, lambda rows: [ScheduleState.of(r) for r in rows], "read"
    )


def schedule(key: str) -> Operation[ScheduleView | None]:
    """Everything about one; None for an unknown one."""
    return Operation("schedule", {"key": key}, _view, "read")


def schedule_fires(key: str, before: datetime | None, at_most: int) -> Operation[list[FireView]]:
    """What became of its instants, the newest first."""
    params = {"key": key, "before": before, "at_most": at_most}
    return Operation("schedule_fires", params, lambda rows: [FireView(*r) for r in rows], "read")


def schedule_timing(key: str) -> Operation[ScheduleRow | None]:
    """What says when one fires; None for an unknown one."""
    return Operation("schedule_timing", {"key": key}, _timing, "read")


def clock() -> Operation[datetime]:
    """The database's clock."""
    return Operation("clock", {}, _moment, "read")


def _view(rows: Sequence[Row]) -> ScheduleView | None:
    return ScheduleView.of(rows[0]) if rows else None


def _timing(rows: Sequence[Row]) -> ScheduleRow | None:
    return ScheduleRow(*rows[0]) if rows else None


def _moment(rows: Sequence[Row]) -> datetime:
    moment: datetime = rows[0][0]
    return moment


def _text(rows: Sequence[Row]) -> str:
    return str(rows[0][0])
