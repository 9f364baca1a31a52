"""Cron expressions: the dialect, and the instants that one means in a time zone.

Fields are parsed and matched on the wall clock by cronsim; what is ours is the wrapping of
weekdays, the aliases, and what becomes of a wall time that a clock change leaves out or brings
twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = ("second", "minute", "hour", "day", "month", "weekday")
_OF_LIBRARY: Final = {"day-of-month": "day", "day-of-week": "weekday"}
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HELP: Final = {
    "second": "give 0-59, lists, ranges and steps",
    "minute": "give 0-59, lists, ranges and steps",
    "hour": "give 0-23, lists, ranges and steps",
    "day": "give 1-31, L, LW, lists, ranges and steps",
    "month": "give 1-12 or jan-dec, lists, ranges and steps",
    "weekday": "give 0-7 or sun-sat, 5L, 1#1, lists, ranges and steps",
}
_MINUTES, _SECONDS = 5, 6
"""Fields of an expression that tells minutes, and of one that tells seconds."""
_ANY_WALL: Final = datetime(2000, 1, 1)  # noqa: DTZ001  (what a clock on a wall shows)
_SUNDAY: Final = 7
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


class CronExpression:
    """One expression in one zone.

    It is *fixed* when neither its minute nor its hour field starts with `*`: then it is matched on
    the wall clock, and a time that a clock change leaves out means the first instant after the gap,
    one that comes twice the first of both. Any other is *running*: matched on elapsed time, so that
    hours that do not exist mean nothing, and hours that come twice mean two.

    Args:
        text: five fields (minute hour day month weekday), six with seconds first, or an alias.
        zone: an IANA name.

    Raises:
        ValueError: a bad field, which is named; no match in any year; an unknown zone.
    """

    __slots__ = ("_fields", "_zone", "fixed", "text")

    def __init__(self, text: str, zone: str = "UTC") -> None:
        self.text = text
        self._zone = zone_of(zone)
        words = ALIASES.get(text.strip().lower(), text).split()
        if len(words) not in (_MINUTES, _SECONDS):
            others = ", ".join(ALIASES)
            raise ValueError(f"cron {text!r}: give five fields, six with seconds, or {others}")
        seconds = words[0] if len(words) == _SECONDS else "0"
        minute, hour, day, month, weekday = words[-5:]
        self.fixed = not (minute.startswith("*") or hour.startswith("*"))
        self._fields = " ".join((seconds, minute, hour, day, month, _unwrapped(weekday)))
        try:
            next(CronSim(self._fields, _ANY_WALL))
        except CronSimError as error:
            raise ValueError(self._problem(str(error), words)) from None
        except StopIteration:
            raise ValueError(f"cron {text!r}: no year has such a day") from None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The instants strictly after that one, in UTC, without end."""
        since = moment.astimezone(UTC).replace(microsecond=0)
        return self._fixed_after(since) if self.fixed else self._running_after(since)

    def next(self, moment: datetime) -> datetime:
        """The first instant strictly after that one, in UTC."""
        return next(self.after(moment))

    def _fixed_after(self, last: datetime) -> Iterator[datetime]:
        """Wall time after wall time, at the instant that each means; what is one instant, once."""
        # What is before the wall time of an instant never means a later one.
        for wall in CronSim(self._fields, last.astimezone(self._zone).replace(tzinfo=None)):
            if (instant := self._instant(wall)) > last:
                yield instant
                last = instant

    def _running_after(self, last: datetime) -> Iterator[datetime]:
        """Match with one offset; from the instant on where it is another begin anew with that."""
        offset = self._offset(last)
        while True:
            for wall in CronSim(self._fields, (last + offset).replace(tzinfo=None)):
                instant = wall.replace(tzinfo=UTC) - offset
                change = self._change(last + _SECOND, instant, offset)
                if change is not None:
                    offset = self._offset(change)
                    last = change - _SECOND
                    break
                yield instant
                last = instant
            else:
                return

    def _instant(self, wall: datetime) -> datetime:
        """What a wall time means (PEP 495): fold 0 has the offset before a change, 1 that after."""
        instant = wall.replace(tzinfo=self._zone).astimezone(UTC)
        if instant.astimezone(self._zone).replace(tzinfo=None) == wall:
            return instant
        before = wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return self._change(before, instant, self._offset(before)) or instant

    def _change(self, first: datetime, last: datetime, offset: timedelta) -> datetime | None:
        """The first instant from first to last at which the offset is another.

        No zone changes its offset twice within a day, so looking once a day finds every change.
        """
        same = first - _SECOND
        while same < last:
            other = min(same + _DAY, last)
            if self._offset(other) != offset:
                while other - same > _SECOND:
                    middle = same + timedelta(seconds=(other - same) // _SECOND // 2)
                    same, other = (
                        (middle, other) if self._offset(middle) == offset else (same, middle)
                    )
                return other
            same = other
        return None

    def _offset(self, instant: datetime) -> timedelta:
        return instant.astimezone(self._zone).utcoffset() or timedelta()

    def _problem(self, said: str, words: list[str]) -> str:
        """Which field is wrong, and what stands there."""
        name = said.removeprefix("Bad ")
        name = _OF_LIBRARY.get(name, name)
        value = words[FIELDS.index(name) - len(FIELDS)]
        if name == "day":
            with suppress(CronSimError):
                fields = self._fields.split()
                CronSim(" ".join([*fields[:4], "*", fields[5]]), _ANY_WALL)
                return f"cron {self.text!r}: day {value!r}: no month {words[-2]!r} has it"
        return f"cron {self.text!r}: {name} {value!r}: {_HELP[name]}"


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name; ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"timezone {name!r}: no such zone; give an IANA name such as Europe/Berlin"
        ) from None


def _unwrapped(weekdays: str) -> str:
    """The field with each range that goes over the end of a week as a list: `fri-mon`, `6-1`."""
    return ",".join(map(_as_list, weekdays.lower().split(",")))


def _as_list(term: str) -> str:
    found = re.fullmatch(r"([a-z]{3}|[0-7])-([a-z]{3}|[0-7])(?:/([1-9]\d?))?", term)
    if found is None or not {*re.findall("[a-z]{3}", term)} <= {*_WEEKDAYS}:
        return term
    first, last = (
        _WEEKDAYS.index(word) if word in _WEEKDAYS else int(word) for word in found.groups()[:2]
    )
    if first <= last:
        return term
    days = [*range(first, _SUNDAY), *range(last + 1)]
    return ",".join(map(str, days[:: int(found[3] or 1)]))
