"""What one process does for all now and then, between two beats: upkeep, statistics, vacuum."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeAlias

from perdure.store import upkeep
from perdure.store.database import SyncSession
from perdure.store.upkeep import Keep

RETIRE_MOST = 1000
RETIRE_TURNS_MOST = 20
LOOK_MOST = 5000
"""Ended tasks whose names may have a time of their own: the next look goes on where this ends."""
FORGET_MOST = 5000
"""Instants of schedules: a thousand in a second are forgotten as fast as they come."""
KEEP_MOST = 20_000
"""Rows that may be copied out of a range that is dropped; with more it waits."""
STATISTICS_SECONDS = 10.0
VACUUM_TASKS = 50_000
"""After so many tasks of this worker `ready` is vacuumed: autovacuum looks once in a minute, and
until then each task leaves a dead row, which the next ones cannot use."""
VACUUM_SECONDS = 3.0
"""Shortest pause between two of them."""
VACUUM_SHARE = 50
"""A pause is so many times as long as the last one took: while an old snapshot is held they are in
vain, and take ever longer."""

VACUUM_LEASE_SHARE = 4
"""Nothing beats meanwhile: it is broken off after this part of a lease, and left to autovacuum."""

Counts: TypeAlias = Mapping[tuple[str, str, str], tuple[int, float]]
"""(name, queue, state) -> (how many have ended, seconds that they ran)."""


class Chores:
    """Small turns in the beat's thread; each is safe when two processes do it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], tuple[int, float]] = {}
        self._counted_at = time.monotonic()
        self._ended = 0
        self._vacuum_at = 0.0

    def ended(self, counts: Counts) -> None:
        """So many tasks have ended."""
        for key, (count, seconds) in counts.items():
            had = self._counts.get(key, (0, 0.0))
            self._counts[key] = (had[0] + count, had[1] + seconds)
            self._ended += count

    def do(self, session: SyncSession, worker_id: int, lease_seconds: float) -> None:
        """Statistics and vacuum, where they are due."""
        now = time.monotonic()
        if now - self._counted_at > STATISTICS_SECONDS:
            self.count(session, worker_id)
        if self._ended >= VACUUM_TASKS and now > self._vacuum_at:
            self._ended = 0
            try:
                upkeep.vacuum(session, lease_seconds / VACUUM_LEASE_SHARE)
            finally:
                took = time.monotonic() - now
                self._vacuum_at = now + max(VACUUM_SECONDS, VACUUM_SHARE * took)

    def count(self, session: SyncSession, worker_id: int) -> None:
        """Write what has ended since the last time to the statistics."""
        self._counted_at = time.monotonic()
        counts, self._counts = self._counts, {}
        if counts:
            upkeep.count(session, worker_id, counts)

    def keep_up(self, session: SyncSession, keep: Keep) -> None:
        """Ranges ahead, retention, old statistics: a small batch of each in a minute, or more."""
        upkeep.keep_ranges(session)
        upkeep.drop_range(session, keep, KEEP_MOST)
        for _ in range(RETIRE_TURNS_MOST):
            # A few of them are passed over, those whose key is locked: there may still be more.
            if upkeep.retire(session, keep, RETIRE_MOST) < RETIRE_MOST // 2:
                break
        for _ in range(RETIRE_TURNS_MOST):
            if not upkeep.retire_by_name(session, keep, LOOK_MOST):
                break
        for _ in range(RETIRE_TURNS_MOST):
            if upkeep.prune_fires(session, keep, FORGET_MOST) < FORGET_MOST:
                break
        upkeep.prune_statistics(session)
