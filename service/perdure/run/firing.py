"""What one process does for schedules: plans those that have no plan, fires those that are due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC
from typing import NamedTuple

from perdure.run.bus import Bus
from perdure.run.events import ScheduleBroken, ScheduleFired, ScheduleMissed, ScheduleSkipped
from perdure.store import due_schedules as store
from perdure.store.database import SyncSession
from perdure.store.due_schedules import Decided, Fated, ScheduleRow
from perdure.store.faults import describe, is_data_error
from perdure.tasks.schedules import Turn, look_at, turn

LOOK_MOST = 200
"""Schedules of one look: what is decided of them is one transaction."""
FIRES_MOST = 1000
"""Instants of one transaction."""
SECONDS_MOST = 0.5
"""How long looks may follow one another between two beats: a flood must not delay a beat."""


class Looked(NamedTuple):
    """How many tasks were made, and in how many seconds the next look is due; None: none is.

    held: something due was held by somebody else, for who knows how long.
    """

    made: int
    next_in: float | None
    held: bool


def fire_due(session: SyncSession, bus: Bus) -> Looked:
    """Serve what is due, and tell what became of it."""
    until = time.monotonic() + SECONDS_MOST
    made = 0
    passed: list[str] = []
    rows: list[ScheduleRow] = []
    while time.monotonic() < until:
        rows = store.due(session, LOOK_MOST, passed)
        batches = _batches(rows, until)
        found = [fated for batch in batches for fated in _written(session, batch, bus)]
        made += sum(fated.task_id is not None for fated in found)
        # Another process was there before; or somebody's transaction holds the row.
        decided = {one.key for batch in batches for one in batch}
        passed += decided - {fated.key for fated in found}
        if len(rows) < LOOK_MOST:
            break
    next_in = store.next_look(session)
    return Looked(made, next_in, held=bool(passed) and next_in is not None and next_in <= 0)


def _batches(rows: Sequence[ScheduleRow], until: float) -> list[list[Decided]]:
    """What is decided of them until then, in parts of a bounded number of fires.

    The instants of an expression are counted one by one: after an outage hundreds take seconds.
    """
    batches: list[list[Decided]] = []
    fires = FIRES_MOST
    for row in rows:
        if batches and time.monotonic() >= until:
            break
        decided = decide(row)
        fires += len(decided.turn.fires)
        if fires > FIRES_MOST or not batches:
            batches.append([])
            fires = len(decided.turn.fires)
        batches[-1].append(decided)
    return batches


def _written(session: SyncSession, batch: list[Decided], bus: Bus) -> list[Fated]:
    """Write a batch; what the database refuses is looked for, and that schedule alone is broken."""
    try:
        found = store.fire(session, batch)
    except Exception as error:
        if not is_data_error(error):
            raise
        if len(batch) > 1:
            return [fated for one in batch for fated in _written(session, [one], bus)]
        one = batch[0]
        batch = [Decided(one.key, one.version, None, Turn((), None, None), describe(error))]
        found = store.fire(session, batch)
    _tell(bus, batch, found)
    return found


def _tell(bus: Bus, batch: list[Decided], found: list[Fated]) -> None:
    problems = {one.key: one.problem for one in batch if one.problem is not None}
    for one in found:
        at = "" if one.fire_at is None else one.fire_at.astimezone(UTC).isoformat()
        if one.fate is None and one.key in problems:
            bus.emit(ScheduleBroken(schedule_key=one.key, problem=problems[one.key]))
        elif one.fate == "fired" and one.task_id is not None and bus.heard(ScheduleFired):
            late = one.late or 0.0
            bus.emit(
                ScheduleFired(schedule_key=one.key, fire_at=at, task_id=one.task_id, seconds=late)
            )
        elif one.fate == "missed":
            bus.emit(ScheduleMissed(schedule_key=one.key, fire_at=at, count=one.instants or 1))
        elif one.fate == "skipped":
            bus.emit(ScheduleSkipped(schedule_key=one.key, fire_at=at))


def decide(row: ScheduleRow) -> Decided:
    """What to write for a schedule: its turn, or its plan where it has none, or its problem."""
    try:
        schedule, anchor = row.schedule()
        if schedule is None:
            return Decided(row.key, row.version, anchor, Turn((), None, None))
        if row.state == "paused":
            first = schedule.next_fire_at
            at = look_at(schedule, schedule.trigger.grid(anchor), first)
            return Decided(row.key, row.version, anchor, Turn((), first, at))
        return Decided(row.key, row.version, anchor, turn(schedule, row.now))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return Decided(row.key, row.version, None, Turn((), None, None), f"{error}")
