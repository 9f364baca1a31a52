"""Times as people read them: in the zone of their machine, and how far off they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

_UNITS: Final = ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))
_ENOUGH: Final = 2
"""A unit is used from so many of it on: 90 min is said, 1 h is not."""


def now() -> datetime:
    """The time, by the clock of this machine: for words, and for what has no database."""
    return datetime.now().astimezone()


def local(value: datetime | None) -> str | None:
    """A time in the zone of this machine, with its offset: `2030-01-31 08:00:00+01:00`."""
    return None if value is None else value.astimezone().isoformat(" ", timespec="seconds")


def in_words(value: datetime | None, since: datetime) -> str | None:
    """How far off a time is: `in 4 min`, `now`, `3 days ago`."""
    if value is None:
        return None
    span = value - since
    if abs(span) < timedelta(seconds=1):
        return "now"
    return f"in {_long(span)}" if span > timedelta(0) else f"{_long(-span)} ago"


def _long(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    for size, unit in _UNITS:
        count = seconds // size
        if count >= _ENOUGH or unit == "s":
            return f"{count} {unit}s" if unit == "day" else f"{count} {unit}"
    raise AssertionError("unreachable: seconds are always said")
