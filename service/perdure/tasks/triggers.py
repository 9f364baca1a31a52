"""When a schedule fires: the instants of an interval, a cron expression, or one moment.

Instants are arithmetic on an anchor, so the millionth is still exactly on the grid. All are in UTC;
every moment that is handed in must have a zone. Triggers are values like kinds: nothing is checked
when one is made; a service reports what is wrong at `build()`, a client when it is put.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Final, TypeAlias

from perdure.tasks.cron import CronExpression
from perdure.tasks.outcomes import seconds_of

INTERVAL_SECONDS_MIN: Final = 1.0
COUNTED_MOST: Final = 10_000
"""Instants of a cron expression are counted one by one, and no further than this."""
_TICK: Final = timedelta(microseconds=1)
_MINUTE: Final = timedelta(minutes=1)
_LOOK_BACK: Final = timedelta(days=366 * 9)


@dataclass(frozen=True, slots=True)
class Every:
    """Anchor + k x interval, in elapsed time: 24 hours are no day where clocks change.

    Without `start` the anchor is the creation, and the first instant one interval after it; with
    one it is `start`, which counts itself, and nothing before the creation is caught up.

    Args:
        interval: seconds or a timedelta, at least 1 s.
        start, end: datetimes with a zone; `end` is inclusive.
    """

    interval: float | timedelta
    start: datetime | None = None
    end: datetime | None = None

    def problems(self) -> Iterator[str]:
        """For the runtime: what is wrong with it."""
        try:
            seconds = self.seconds
        except (ValueError, TypeError):
            yield f"every {self.interval!r}: give seconds or a timedelta, from 1 s to 100 years"
            return
        if seconds < INTERVAL_SECONDS_MIN:
            said = duration(timedelta(seconds=seconds))
            yield f"every {said} must be at least 1 s (hint: give a longer interval)"
        yield from _bound_problems(start=self.start, end=self.end)

    @property
    def seconds(self) -> float:
        """The interval in seconds."""
        return seconds_of(self.interval)

    def grid(self, anchor: datetime) -> Grid:
        """For the runtime: its instants."""
        return _Steps(self.start or anchor, timedelta(seconds=self.seconds), self.end)

    def first(self, created: datetime) -> datetime | None:
        """For the runtime: the first one of a schedule that was created then."""
        since = created if self.start is None else created - _TICK
        return self.grid(created).after(since)


@dataclass(frozen=True)
class Cron:
    """The matches of a cron expression in a time zone, strictly after the creation.

    Args:
        expression: five fields, six with seconds first, or an alias such as `@daily`.
        timezone: an IANA name, default UTC.
        start, end: datetimes with a zone, both inclusive.
    """

    expression: str
    timezone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None

    def problems(self) -> Iterator[str]:
        """For the runtime: what is wrong with it: a field, a day that no month has, the zone."""
        if not isinstance(self.expression, str) or not isinstance(self.timezone, str):
            yield f"cron {self.expression!r} and timezone {self.timezone!r} must be texts"
            return
        try:
            _ = self._parsed
        except ValueError as error:
            yield f"{error}"
        yield from _bound_problems(start=self.start, end=self.end)

    @cached_property
    def _parsed(self) -> CronExpression:
        return CronExpression(self.expression, self.timezone)

    def grid(self, anchor: datetime) -> Grid:  # noqa: ARG002  (as of an interval)
        """For the runtime: its instants, which do not depend on an anchor."""
        return _Matches(self._parsed, self.start, self.end)

    def first(self, created: datetime) -> datetime | None:
        """For the runtime: the first one of a schedule that was created then."""
        return self.grid(created).after(created)


@dataclass(frozen=True, slots=True)
class Once:
    """One moment; one in the past fires at once, if it may be so late."""

    at: datetime

    def problems(self) -> Iterator[str]:
        """For the runtime: what is wrong with it."""
        yield from _bound_problems(once=self.at)

    def grid(self, anchor: datetime) -> Grid:  # noqa: ARG002  (as of an interval)
        """For the runtime: the one instant."""
        return _Steps(self.at.astimezone(UTC), None, None)

    def first(self, created: datetime) -> datetime | None:  # noqa: ARG002  (as of others)
        """For the runtime: the moment, whenever the schedule was created."""
        return self.at.astimezone(UTC)


Trigger: TypeAlias = Every | Cron | Once
"""When a schedule fires."""


class _Steps:
    """Start + k x step, k >= 0; without a step the start alone."""

    def __init__(self, start: datetime, step: timedelta | None, end: datetime | None) -> None:
        self._start = start.astimezone(UTC)
        self._step = step
        self._end = end

    def after(self, moment: datetime) -> datetime | None:
        """The first one strictly after that moment; None if there is none any more."""
        if moment < self._start:
            return self._in_time(self._start)
        if self._step is None:
            return None
        try:
            following = self._start + ((moment - self._start) // self._step + 1) * self._step
        except OverflowError:  # after the year 9999
            return None
        return self._in_time(following)

    def newest(self, first: datetime, moment: datetime) -> datetime:
        """The last one from `first`, which is one, to that moment."""
        if self._step is None or moment < first:
            return first
        if self._end is not None:
            moment = max(first, min(moment, self._end))
        return first + (moment - first) // self._step * self._step

    def before(self, instant: datetime) -> datetime | None:
        """The one before an instant of it."""
        if self._step is None or instant <= self._start:
            return None
        return instant - self._step

    def newest_of(self, first: datetime, last: datetime, at_most: int) -> list[datetime]:
        """Of those from one to another of them the newest, in their order."""
        if self._step is None:
            return [last]
        found = min(at_most, self.count(first, last))
        return [last - n * self._step for n in reversed(range(found))]

    def count(self, first: datetime, last: datetime) -> int:
        """How many there are from one to another of them, both included."""
        return 1 if self._step is None else (last - first) // self._step + 1

    def _in_time(self, instant: datetime) -> datetime | None:
        return None if self._end is not None and instant > self._end else instant


class _Matches:
    """The matches of an expression from a start to an end."""

    def __init__(
        self, expression: CronExpression, start: datetime | None, end: datetime | None
    ) -> None:
        self._expression = expression
        self._start = start
        self._end = end

    def after(self, moment: datetime) -> datetime | None:
        """The first one strictly after that moment; None if there is none any more."""
        return next(self._after(moment), None)

    def newest(self, first: datetime, moment: datetime) -> datetime:
        """The last one from `first`, which is one, to that moment."""
        if moment <= first:
            return first
        span = _MINUTE
        while moment - span > first:
            if found := self._between(moment - span, moment):
                return found[-1]
            span *= 4
        return [first, *self._between(first, moment)][-1]

    def before(self, instant: datetime) -> datetime | None:
        """The one before an instant of it, looked for up to nine years back."""
        span = _MINUTE
        while span <= _LOOK_BACK:
            if found := self._between(instant - span, instant - _TICK):
                return found[-1]
            span *= 4
        return None

    def newest_of(self, first: datetime, last: datetime, at_most: int) -> list[datetime]:
        """Of those from one to another of them the newest, in their order."""
        span = _MINUTE
        while True:
            found = self._between(max(first - _TICK, last - span), last)
            if len(found) >= at_most or last - span < first:
                return found[-at_most:]
            span *= 4

    def count(self, first: datetime, last: datetime) -> int:
        """How many there are from one to another of them, both included, up to `COUNTED_MOST`."""
        return len(self._between(first - _TICK, last, COUNTED_MOST))

    def _between(
        self, after: datetime, until: datetime, at_most: int | None = None
    ) -> list[datetime]:
        found: list[datetime] = []
        for instant in islice(self._after(after), at_most):
            if instant > until:
                break
            found.append(instant)
        return found

    def _after(self, moment: datetime) -> Iterator[datetime]:
        if self._start is not None and moment < self._start:
            moment = self._start - _TICK
        for instant in self._expression.after(moment):
            if self._end is not None and instant > self._end:
                return
            yield instant


Grid: TypeAlias = _Steps | _Matches


def as_json(trigger: Trigger) -> dict[str, object]:
    """The trigger as the database keeps it."""
    if isinstance(trigger, Once):
        return {"once": _text(trigger.at)}
    bounds = {"start": trigger.start, "end": trigger.end}
    said = {name: _text(moment) for name, moment in bounds.items() if moment is not None}
    if isinstance(trigger, Every):
        return {"every": trigger.seconds, **said}
    return {"cron": trigger.expression, "timezone": trigger.timezone, **said}


def from_json(said: Mapping[str, object]) -> Trigger:
    """The trigger that the database keeps; ValueError if it cannot be evaluated."""
    trigger = _from_json(said)
    for problem in trigger.problems():
        raise ValueError(problem)
    return trigger


def _from_json(said: Mapping[str, object]) -> Trigger:
    if "once" in said:
        return Once(_moment(said["once"]))
    bounds = {name: _moment(said[name]) for name in ("start", "end") if said.get(name) is not None}
    if "every" in said:
        return Every(float(str(said["every"])), **bounds)
    return Cron(str(said["cron"]), str(said.get("timezone") or "UTC"), **bounds)


def duration(span: timedelta) -> str:
    """A length of time as messages say it: `90 s`."""
    return f"{Decimal(span // _TICK).scaleb(-6).normalize():f} s"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _moment(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def _bound_problems(**moments: datetime | None) -> Iterator[str]:
    said = {name: moment for name, moment in moments.items() if moment is not None}
    zoned = {name: m for name, m in said.items() if isinstance(m, datetime) and m.tzinfo}
    for name in [name for name in said if name not in zoned]:
        yield f"{name} {said[name]!r} must be a datetime with a time zone"
    if "start" in zoned and "end" in zoned and zoned["end"] < zoned["start"]:
        yield f"end {zoned['end']} is before start {zoned['start']} (hint: leave one of them out)"
