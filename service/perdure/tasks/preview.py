"""The instants that are to come: each found by the very turns that a worker would take."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from perdure.tasks.schedules import Schedule, Timing, planned, turn
from perdure.tasks.triggers import Trigger

PREVIEW_MOST: Final = 1000


def preview(schedule: Schedule, now: datetime, count: int) -> list[datetime]:
    """The next instants that fire from now on, in UTC; fewer where the schedule ends before.

    With jitter and flex they are the nominal ones: tasks come a little later, or sooner.
    """
    found: list[datetime] = []
    while len(found) < count:
        try:
            fires, following, look_at = turn(schedule, now)
        except OverflowError:  # after the year 9999
            break
        found += [fire.fire_at for fire in fires if fire.fate == "fired"]
        if following is None or look_at is None:
            break
        if fires:
            schedule = schedule._replace(next_fire_at=following, override_at=None)
        now = max(now, look_at)
    return found[:count]


def preview_of(trigger: Trigger, now: datetime, count: int) -> list[datetime]:
    """Those of a schedule that is made now with this trigger."""
    anchor, first = planned(trigger, None, None, None, now)
    if first is None:
        return []
    return preview(Schedule("", trigger, Timing(), anchor, first), now, count)
