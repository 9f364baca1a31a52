"""Schedules that are due: what is read of them, and what is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from perdure.store.database import SyncSession
from perdure.tasks.schedules import CatchUp, Overlap, Schedule, Timing, Turn, planned
from perdure.tasks.triggers import from_json


class ScheduleRow(NamedTuple):
    """One as it is stored; spans are in seconds, `now` is the database's clock.

    version: of the row, which whoever writes compares.
    """

    key: str
    version: str
    state: str
    trigger: dict[str, Any]
    planned: dict[str, Any] | None
    jitter: float
    flex: float
    misfire_grace: float | None
    catch_up: CatchUp
    max_catch_up: int
    overlap: Overlap
    plan_from: datetime
    anchor: datetime | None
    next_fire_at: datetime | None
    override_at: datetime | None
    last_fire_at: datetime | None
    now: datetime

    def schedule(self) -> tuple[Schedule | None, datetime]:
        """It with a plan, made now if it has none, and its anchor; None: no instant is left.

        Raises:
            ValueError, TypeError, KeyError, OverflowError: its trigger cannot be evaluated.
        """
        trigger = from_json(self.trigger)
        grace = self.misfire_grace
        timing = Timing(
            jitter=timedelta(seconds=self.jitter),
            flex=timedelta(seconds=self.flex),
            misfire_grace=None if grace is None else timedelta(seconds=grace),
            catch_up=self.catch_up,
            max_catch_up=self.max_catch_up,
            overlap=self.overlap,
        )
        anchor, first = self.anchor, self.next_fire_at
        if first is None or anchor is None:
            before = None if self.planned is None else from_json(self.planned)
            anchor, first = planned(trigger, before, self.anchor, self.last_fire_at, self.plan_from)
        if first is None:
            return None, anchor
        return Schedule(self.key, trigger, timing, anchor, first, self.override_at), anchor


class Decided(NamedTuple):
    """What is to be written for a schedule: a turn for an anchor, or why there can be none."""

    key: str
    version: str
    anchor: datetime | None
    turn: Turn
    problem: str | None = None


class Fated(NamedTuple):
    """What became of an instant, or of a run of them; `fate` None: of none, it is written only.

    late: seconds after the instant; negative: before it.
    """

    key: str
    fire_at: datetime | None
    fate: str | None
    instants: int | None
    task_id: int | None
    late: float | None


def due(session: SyncSession, at_most: int, passed: Sequence[str]) -> list[ScheduleRow]:
    """Those that are to be looked at now, but for those passed over."""
    rows = session.run("due_schedules", {"at_most": at_most, "passed": list(passed)})
    return [ScheduleRow(*row) for row in rows]


def next_look(session: SyncSession) -> float | None:
    """In how many seconds one is to be looked at; None: there is none."""
    found = session.run("next_look", {})
    return float(found[0][0]) if found else None


def fire(session: SyncSession, decided: Sequence[Decided]) -> list[Fated]:
    """Carry out what was decided; those whose rows are held or have changed are left out."""
    document = [
        {
            "key": one.key, "version": one.version, "anchor": _text(one.anchor),
            "next_fire_at": _text(one.turn.next_fire_at), "look_at": _text(one.turn.look_at),
            "problem": one.problem,
            "fires": [
                {"fire_at": _text(fire.fire_at), "fate": fire.fate, "instants": fire.instants}
                for fire in one.turn.fires
            ],
        }
        for one in decided
    ]  # fmt: skip
    return [Fated(*row) for row in session.run("fire", {"turns": json.dumps(document)})]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
