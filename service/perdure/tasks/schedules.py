"""What becomes of the instants of a schedule that are due: pure decisions, made by any worker.

In one turn misfire grace comes first, then catch-up; overlap is judged by the database, which knows
what still runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from perdure.tasks.triggers import Cron, Every, Grid, Once, Trigger, duration

CatchUp: TypeAlias = Literal["latest", "all", "skip"]
"""Which of several instants that are due fire."""
Overlap: TypeAlias = Literal["skip", "queue", "cancel_previous", "allow"]
"""What becomes of an instant while a task of an earlier one lives."""
Fate: TypeAlias = Literal["fired", "coalesced", "missed"]

CATCH_UP_MOST: Final = 100
CATCH_UP_BOUND: Final = 10_000
"""What `max_catch_up` may be at most."""
TURN_MOST: Final = 500
"""Instants of one turn; what is due beyond them is decided by the next."""
SKIP_GRACE: Final = timedelta(seconds=60)
"""How late the one instant may be that `skip` fires, where no misfire grace is set."""
_NONE: Final = timedelta(0)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """How a schedule treats its instants.

    Args:
        jitter: each is due up to this much later, by a hash, the same on every worker; the grid
            does not move. Smaller than the interval of `Every`.
        flex: each may run this much before its instant; not more than the interval of `Every`.
        misfire_grace: one that is looked at later than this after it was due is missed.
        expires_after: its task expires this long after its instant, if it has not started.
        catch_up: of several that are due fire the newest (`latest`), each, up to
            `max_catch_up` (`all`), or only one that is not late (`skip`).
        max_catch_up: 1 to 10,000, default 100; also how many may queue for the one that runs.
        overlap: what happens while an earlier occurrence lives.
    """

    jitter: timedelta = _NONE
    flex: timedelta = _NONE
    misfire_grace: timedelta | None = None
    expires_after: timedelta | None = None
    catch_up: CatchUp = "latest"
    max_catch_up: int = CATCH_UP_MOST
    overlap: Overlap = "skip"

    def problems(self, trigger: Trigger) -> Iterator[str]:
        """What cannot be meant, in the words of the SQL function schedule_problem."""
        yield from self._span_problems(trigger)
        yield from self._rule_problems()

    def _span_problems(self, trigger: Trigger) -> Iterator[str]:
        for name in ("jitter", "flex", "misfire_grace", "expires_after"):
            span = getattr(self, name)
            if span is not None and span < _NONE:
                yield f"{name} {duration(span)} must be 0 or more (hint: leave it out for none)"
        if isinstance(trigger, Every):
            interval = timedelta(seconds=trigger.seconds)
            said = f"the interval, {duration(interval)} (hint: give less)"
            if self.jitter >= interval:
                yield f"jitter {duration(self.jitter)} must be smaller than {said}"
            if self.flex > interval:
                yield f"flex {duration(self.flex)} must not be larger than {said}"
        if _NONE < self.flex < self.jitter:
            yield (
                f"jitter {duration(self.jitter)} must not be larger than flex,"
                f" {duration(self.flex)} (hint: give less)"
            )

    def _rule_problems(self) -> Iterator[str]:
        if self.catch_up not in get_args(CatchUp):
            yield (
                f"catch_up {self.catch_up} must be latest, all or skip"
                " (hint: latest is the default)"
            )
        if self.overlap not in get_args(Overlap):
            yield (
                f"overlap {self.overlap} must be skip, queue, cancel_previous or allow"
                " (hint: skip is the default)"
            )
        if self.catch_up == "all" and self.overlap in ("skip", "cancel_previous"):
            yield (
                f"catch_up all with overlap {self.overlap} would lose all but one"
                " (hint: give overlap queue or allow)"
            )
        if not 1 <= self.max_catch_up <= CATCH_UP_BOUND:
            yield (
                f"max_catch_up {self.max_catch_up} must be 1 to {CATCH_UP_BOUND}"
                " (hint: 100 is the default)"
            )


class Fire(NamedTuple):
    """What became of an instant, or of so many that follow one another from it on."""

    fire_at: datetime
    fate: Fate
    instants: int = 1


class Turn(NamedTuple):
    """What to do with a schedule now, and when to look at it again; None: it is finished."""

    fires: tuple[Fire, ...]
    next_fire_at: datetime | None
    look_at: datetime | None


class Schedule(NamedTuple):
    """What a turn has to know of one.

    `next_fire_at` is the first instant that nobody has decided; `override_at` replaces it once.
    """

    key: str
    trigger: Trigger
    timing: Timing
    anchor: datetime
    next_fire_at: datetime
    override_at: datetime | None = None


def turn(schedule: Schedule, now: datetime) -> Turn:
    """Decide the instants that are due, so many that one transaction carries it out."""
    grid = schedule.trigger.grid(schedule.anchor)
    first = schedule.next_fire_at
    if (at := schedule.override_at) is not None:
        if at > now:
            return Turn((), first, at)
        grace = schedule.timing.misfire_grace
        late = grace is not None and now - at > grace
        used_up = (Fire(at, "missed" if late else "fired"),)
        return _followed(schedule, grid, used_up, max(at, first))
    if look_at(schedule, grid, first) > now:
        return Turn((), first, look_at(schedule, grid, first))
    last = _newest_due(schedule, grid, first, now)
    fires = _fates(schedule, grid, first, last, now)
    if len(fires) > TURN_MOST:
        fires = fires[:TURN_MOST]
        last = fires[-1].fire_at
    return _followed(schedule, grid, fires, last)


def _followed(schedule: Schedule, grid: Grid, fires: tuple[Fire, ...], last: datetime) -> Turn:
    following = grid.after(last)
    if following is None:
        return Turn(fires, None, None)
    return Turn(fires, following, look_at(schedule, grid, following))


def _newest_due(schedule: Schedule, grid: Grid, first: datetime, now: datetime) -> datetime:
    """The newest instant that is due, where `first` is."""
    last = grid.newest(first, now + schedule.timing.flex)
    if schedule.timing.flex and isinstance(schedule.trigger, Cron):
        # A window begins no earlier than the instant before, so the one ahead is the last.
        last = max(first, min(last, grid.after(now) or last))
    while last > first and look_at(schedule, grid, last) > now:
        last = grid.before(last) or first
    return last


def look_at(schedule: Schedule, grid: Grid, instant: datetime) -> datetime:
    """When an instant is due: after its jitter, before its flex, not before the one before it."""
    flex = schedule.timing.flex
    due = instant - flex + _shift(schedule, grid, instant)
    if flex and isinstance(schedule.trigger, Cron):
        before = grid.before(instant)
        due = due if before is None else max(due, before)
    return due


def _shift(schedule: Schedule, grid: Grid, instant: datetime) -> timedelta:
    """How much later than its instant it is due; never after the next instant."""
    jitter = schedule.timing.jitter
    if jitter and isinstance(schedule.trigger, Cron):
        following = grid.after(instant)
        jitter = jitter if following is None else min(jitter, following - instant)
    return jittered(schedule.key, instant, jitter)


def jittered(key: str, instant: datetime, jitter: timedelta) -> timedelta:
    """Jitter x hash / 2^64: the same wherever it is computed."""
    if not jitter:
        return _NONE
    said = f"{key}\0{instant.timestamp():.6f}".encode()
    part = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest()) / 2**64
    return jitter * part


def _fates(
    schedule: Schedule, grid: Grid, first: datetime, last: datetime, now: datetime
) -> tuple[Fire, ...]:
    """What becomes of those from first to last, which are due: misfire grace, then catch-up."""
    timing = schedule.timing
    kept = _first_not_late(schedule, grid, first, now)
    if kept is None or kept > last:
        return (Fire(first, "missed", grid.count(first, last)),)
    missed = grid.count(first, grid.before(kept) or first) if kept > first else 0
    fired = [last]
    if timing.catch_up == "all":
        fired = grid.newest_of(kept, last, timing.max_catch_up)
    between = grid.count(kept, grid.before(fired[0]) or kept) if fired[0] > kept else 0
    if between and timing.catch_up != "latest":
        missed, between = missed + between, 0
    fires = [Fire(first, "missed", missed)] if missed else []
    fires += [Fire(kept, "coalesced", between)] if between else []
    return (*fires, *(Fire(instant, "fired") for instant in fired))


def _first_not_late(
    schedule: Schedule, grid: Grid, first: datetime, now: datetime
) -> datetime | None:
    """The first from there on that is not later than the misfire grace allows."""
    timing = schedule.timing
    grace = timing.misfire_grace
    if grace is None and timing.catch_up == "skip":
        grace = SKIP_GRACE
    if grace is None:
        return first
    found: datetime | None = first
    if now - grace - timing.jitter > first:
        found = grid.after(now - grace - timing.jitter - _TICK)
    while found is not None:
        # One that may run early is not late before its instant.
        due = found if timing.flex else found + _shift(schedule, grid, found)
        if now - due <= grace:
            return found
        found = grid.after(found)
    return None


def planned(
    trigger: Trigger,
    before: Trigger | None,
    anchor: datetime | None,
    last_fire_at: datetime | None,
    since: datetime,
) -> tuple[datetime, datetime | None]:
    """The anchor and the next instant of a schedule that was put or resumed at `since`.

    With the trigger that it had before, the first on the old grid after that. A new interval
    begins at the last fire; if the first of it is past, that fires at once. Anything else, or
    anything where there was no trigger before, begins anew.
    """
    if before is None or anchor is None or (isinstance(trigger, Once) and trigger != before):
        return since, trigger.first(since)
    if trigger == before or _steps(trigger) == _steps(before) is not None:
        return anchor, trigger.grid(anchor).after(since)
    if _steps(trigger) is None:
        return since, trigger.grid(since).after(since)
    anchor = last_fire_at or anchor
    grid = trigger.grid(anchor)
    first = grid.after(anchor)
    if first is None or first > since:
        return anchor, first
    return anchor, grid.after(since) if last_fire_at is None else grid.newest(first, since)


def _steps(trigger: Trigger) -> float | None:
    """The interval of a trigger whose grid hangs on the anchor; None for one that needs none."""
    return trigger.seconds if isinstance(trigger, Every) and trigger.start is None else None
