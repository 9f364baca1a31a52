"""Promotion, mail of tasks in no lease, lane 0, ranges, retention, statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import psycopg

from perdure.store.database import SyncSession


class Keep(NamedTuple):
    """How long ended tasks stay, in seconds after their end."""

    completed: float
    failed: float
    cancelled: float


class Promotion(NamedTuple):
    """How many tasks became ready, in how many seconds the next is due (None: nothing has a time),
    and how many alarms had come."""

    moved: int
    due_in: float | None
    rung: int


class Unserved(NamedTuple):
    """Tasks of one name and queue that no live worker takes, counted up to 1,000, and why."""

    queue: str
    name: str
    tasks: int
    why: str


def promote(session: SyncSession, at_most: int) -> Promotion:
    """Serve alarms, and move what is due to ready."""
    return Promotion(*session.run("promote", {"at_most": at_most})[0])


def report_unserved(session: SyncSession) -> list[Unserved]:
    """What has come to be unserved since somebody asked last."""
    return [Unserved(*row) for row in session.run("report_unserved", {})]


def obey(session: SyncSession, at_most: int) -> int:
    """Obey the mail of tasks in no lease: how many letters were dealt with."""
    return int(session.run("obey", {"at_most": at_most})[0][0])


def serve_openings(session: SyncSession, at_most: int) -> int:
    """Let those in who wait for an instance that is free, until `at_most` have been: how many."""
    return int(session.run("serve_openings", {"at_most": at_most})[0][0])


def relane(session: SyncSession, after: int, at_most: int) -> tuple[int, int]:
    """Move tasks of known names out of lane 0: how many, and where the next look begins."""
    moved, next_after = session.run("relane", {"after": after, "at_most": at_most})[0]
    return moved, next_after


def take_upkeep(session: SyncSession) -> bool:
    """Whether this process does the upkeep of this minute."""
    return bool(session.run("take_upkeep", {})[0][0])


def keep_ranges(session: SyncSession) -> int:
    """Make ranges of ids ahead, move the sequence once a day: how many ranges were made."""
    return int(session.run("keep_ranges", {})[0][0])


def retire(session: SyncSession, keep: Keep, at_most: int) -> int:
    """Remove a small batch of what ended long enough ago: how many tasks."""
    return int(session.run("retire", {**keep._asdict(), "at_most": at_most})[0][0])


def retire_by_name(session: SyncSession, keep: Keep, at_most: int) -> bool:
    """Remove what its name keeps no longer: look at so many; whether there are more to look at."""
    return bool(session.run("retire_by_name", {**keep._asdict(), "at_most": at_most})[0][1])


def drop_range(session: SyncSession, keep: Keep, keep_most: int) -> int | None:
    """Drop the oldest range whose tasks have ended long enough ago: its number, or None."""
    number = session.run("drop_range", {**keep._asdict(), "keep_most": keep_most})[0][0]
    return None if number is None else int(number)


def count(
    session: SyncSession, worker: int, counts: Mapping[tuple[str, str, str], tuple[int, float]]
) -> None:
    """Add to the statistics: (name, queue, state) -> (how many ended, seconds that they ran)."""
    document = [
        {"name": name, "queue": queue, "state": state, "count": number, "seconds": seconds}
        for (name, queue, state), (number, seconds) in counts.items()
    ]
    session.run("count", {"worker": worker, "counts": json.dumps(document)})


def vacuum(session: SyncSession, seconds: float) -> None:
    """Free the room of what was taken, if the tables are this login's; give up after `seconds`.

    Not behind a pooler, where the bound would reach strangers.
    """
    milliseconds = max(1, round(seconds * 1000))
    if session.pooled or not session.run("bound_vacuum", {"milliseconds": milliseconds}):
        return
    try:
        with suppress(psycopg.errors.QueryCanceled):
            session.run("vacuum", {}, alone=True)
    finally:
        session.run("unbound", {}, alone=True)


def prune_fires(session: SyncSession, keep: Keep, at_most: int) -> int:
    """Forget a batch of what became of instants longer ago than completed tasks are kept."""
    params = {"older": keep.completed, "at_most": at_most}
    return int(session.run("prune_fires", params)[0][0])


def prune_statistics(session: SyncSession) -> None:
    """Remove a small batch of statistics older than a month."""
    session.run("prune_statistics", {})
