"""Every clock change of twenty zones against an oracle that looks at each minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest

from perdure.tasks.cron import CronExpression

pytestmark = pytest.mark.conformance("C94")

ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "America/Asuncion",
    "America/Caracas",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Antarctica/Troll",
)
BEGIN, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """The first minute of each new offset."""
    at, offset = BEGIN, BEGIN.astimezone(zone).utcoffset()
    while at < END:
        before, at = at, at + 3 * HOUR
        if (new := at.astimezone(zone).utcoffset()) != offset:
            while before.astimezone(zone).utcoffset() != new:
                before += MINUTE
            yield before
        offset = new


class Clock:
    """What clocks show in each minute of the day before a change and of the day after it."""

    def __init__(self, change: datetime, zone: ZoneInfo) -> None:
        self.seen: list[tuple[datetime, datetime]] = []
        for quarter in (change - DAY + n * 15 * MINUTE for n in range(2 * 24 * 4)):
            minutes = [quarter + n * MINUTE for n in range(15)]
            shown = [at.astimezone(zone).replace(tzinfo=None) for at in (minutes[0], minutes[-1])]
            if shown[1] - shown[0] == 14 * MINUTE:
                locals_ = [shown[0] + n * MINUTE for n in range(15)]
            else:
                locals_ = [at.astimezone(zone).replace(tzinfo=None) for at in minutes]
            self.seen += zip(minutes, locals_, strict=True)
        self.begin, self.end = self.seen[0][0], self.seen[-1][0]
        self.shown = self.seen[len(self.seen) // 2][1]
        self._first = {local: minute for minute, local in reversed(self.seen)}
        self._gaps = [
            (last, now, local)
            for (_, last), (now, local) in pairwise(self.seen)
            if local > last + MINUTE
        ]
        self._dates = {local.date() for _, local in self.seen}

    def meant(self, wall: datetime) -> datetime | None:
        """The first minute that shows it; where none does, the first at which it is past."""
        if wall in self._first:
            return self._first[wall]
        return next((now for last, now, local in self._gaps if last < wall < local), None)

    def daily(self, at: time) -> list[datetime]:
        """That time on each date from the first to the last that clocks show, also if skipped."""
        first, last = min(self._dates), max(self._dates)
        whole = (datetime.combine(first + n * DAY, at) for n in range((last - first).days + 1))
        return [wall for wall in whole if self.seen[0][1] < wall <= self.seen[-1][1]]


@pytest.mark.parametrize("name", ZONES)
def test_a_daily_time_is_once_a_day_and_half_hours_are_elapsed_time(name: str) -> None:
    zone = ZoneInfo(name)
    found = list(changes(zone))
    assert found
    assert all(later - earlier > DAY for earlier, later in pairwise(found))
    for change in found:
        clock = Clock(change, zone)
        begin, end = clock.begin, clock.end
        offsets = [minute.astimezone(zone).utcoffset() for minute in (begin, end)]
        between = clock.shown + (offsets[0] - offsets[1]) / 2  # type: ignore[operator]
        for wall in {
            clock.shown,
            clock.shown - 30 * MINUTE,
            between.replace(second=0),
            clock.shown + 30 * MINUTE,
        }:
            daily = CronExpression(f"{wall.minute} {wall.hour} * * *", name)
            expected = {clock.meant(at) for at in clock.daily(wall.time())} - {None}
            assert {*within(daily, begin, end)} == expected
        running = CronExpression("*/30 * * * *", name)
        halves = [minute for minute, local in clock.seen if local.minute in (0, 30)]
        assert within(running, begin - MINUTE, end) == halves


def within(expression: CronExpression, begin: datetime, end: datetime) -> list[datetime]:
    """What the expression means in between."""
    return list(takewhile(lambda instant: instant <= end, expression.after(begin)))
