"""What callers say of schedules, checked and turned into what SQL takes; pure."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from perdure.client.arguments import text
from perdure.client.requests import entry_of
from perdure.declare.new_schedule import NewSchedule
from perdure.errors import InvalidArgument, ScheduleNotFound
from perdure.store import schedule_operations as operations
from perdure.store.due_schedules import ScheduleRow
from perdure.store.operations import Operation
from perdure.store.schedule_operations import ScheduleEntry
from perdure.store.schedule_views import FireView
from perdure.tasks.preview import PREVIEW_MOST, preview, preview_of
from perdure.tasks.triggers import Cron, Every, Once, Trigger


def schedule_entry(
    new: NewSchedule, *, policy: str = "update", keep_phase: bool = True, declared: bool = False
) -> ScheduleEntry:
    """The schedule as SQL takes it.

    Raises:
        InvalidArgument: an option that does not exist, or what cannot be meant.
        UnencodableValue: a metadata that is not of its kind's type, or not JSON.
    """
    for problem in new.problems():
        raise InvalidArgument(problem)
    task, timing, trigger = entry_of(new.new_task()), new.timing(), new.trigger
    grace, expires = timing.misfire_grace, timing.expires_after
    return ScheduleEntry(
        key=text("key", new.key),
        name=task.name,
        metadata=task.metadata,
        every=trigger.seconds if isinstance(trigger, Every) else None,
        cron=trigger.expression if isinstance(trigger, Cron) else None,
        timezone=trigger.timezone if isinstance(trigger, Cron) else "UTC",
        once=trigger.at if isinstance(trigger, Once) else None,
        start_at=None if isinstance(trigger, Once) else trigger.start,
        end_at=None if isinstance(trigger, Once) else trigger.end,
        jitter=timing.jitter.total_seconds(),
        flex=timing.flex.total_seconds(),
        misfire_grace=None if grace is None else grace.total_seconds(),
        expires_after=None if expires is None else expires.total_seconds(),
        catch_up=timing.catch_up,
        max_catch_up=timing.max_catch_up,
        overlap=timing.overlap,
        queue=task.queue,
        priority=task.priority,
        tags=task.tags,
        requires=task.requires,
        headers=task.headers,
        max_retries=task.max_retries,
        policy=policy,
        keep_phase=keep_phase,
        declared=declared,
    )


def fires_of(key: str, before: datetime | None, limit: int) -> Operation[list[FireView]]:
    """The page of fires; InvalidArgument for a limit that is none."""
    check_count("limit", limit)
    return operations.schedule_fires(key, before, limit)


def check_count(field: str, value: int) -> None:
    """InvalidArgument unless it is a number from 1 to 1,000."""
    if type(value) is not int or not 1 <= value <= PREVIEW_MOST:
        raise InvalidArgument(f"{field}={value!r}: give 1 to {PREVIEW_MOST:,}")


def preview_row(key: str, row: ScheduleRow | None, count: int) -> list[datetime]:
    """What a schedule will do; ScheduleNotFound where there is none."""
    if row is None:
        raise ScheduleNotFound(f"there is no schedule {key!r}")
    if row.state == "paused":
        row = row._replace(plan_from=row.now, next_fire_at=None)
    elif row.state != "active":
        return []
    try:
        schedule, _ = row.schedule()
        return [] if schedule is None else preview(schedule, row.now, count)
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
    ):  # As a worker will find, with its first look.
        return []


def preview_trigger(trigger: Trigger, now: datetime, count: int) -> list[datetime]:
    """What a schedule would do that is made now; InvalidArgument for what is no trigger."""
    if not isinstance(trigger, get_args(Trigger)):
        raise InvalidArgument(f"trigger {trigger!r} must be Every, Cron or Once")
    for problem in trigger.problems():
        raise InvalidArgument(problem)
    return preview_of(trigger, now, count)
