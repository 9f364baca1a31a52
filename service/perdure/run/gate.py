"""The gate of NOTIFY: open while this worker waits for work, closed as soon as there is some.

A commit that notifies holds a lock of the whole server until it is durable, so that commits go one
by one. Producers therefore notify only while somebody waits. Who has heard one closes what it had
opened, and opens it again once nothing has come for a moment: in between it looks by itself, so
that a stream of commits is hardly ever slowed down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from perdure.run.loop import JITTER
from perdure.store import workers
from perdure.store.database import Session

OPEN_POLLS = 3.5
"""How long the gate stays open, in the polls of an idle enqueuer."""
CALM_SECONDS = 0.02
"""After work has been found or heard of, the gate stays closed for so long."""
LOOK_SECONDS = 0.005
"""Pause between two looks meanwhile."""
DOUBT_SECONDS = (0.02, 0.2, 1.2)
"""Looks so long after an opening: who found it closed, and commits later, has notified nobody."""


class Gate:
    """What one enqueuer has opened; the row in the database belongs to all, and the last wins."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: Sequence[str] = ()
        self._value: str | None = None
        self._until = 0.0
        self._doubts: list[float] = []
        self._busy_at = float("-inf")
        self._heard = False

    def hear(self) -> None:
        """There may be work, somebody says."""
        self._heard = True

    async def after_look(self, session: Session, found: int) -> None:
        """Close it if there was work, for us or for others."""
        if found or self._heard:
            self._heard = False
            self._busy_at = self._clock()
            await self.close(session)

    def restless(self) -> bool:
        """Whether there was work a moment ago: then one looks again soon instead of opening it."""
        return self._clock() - self._busy_at < CALM_SECONDS

    async def open(self, session: Session, queues: Sequence[str], pause: float) -> bool:
        """Open it for the pauses to come; False: it was open long enough already."""
        now = self._clock()
        if queues == self._queues and now + pause * (1 + JITTER) <= self._until:
            return False
        if self._value is None:
            self._doubts = [now + seconds for seconds in DOUBT_SECONDS]
        self._value = await workers.await_work(session, queues, OPEN_POLLS * pause)
        self._queues, self._until = queues, now + OPEN_POLLS * pause
        return True

    def pause(self, longest: float) -> float:
        """How long to wait for a notification before the next look."""
        now = self._clock()
        self._doubts = [at for at in self._doubts if at > now]
        return min(self._doubts[0] - now, longest) if self._doubts else longest

    async def close(self, session: Session) -> None:
        """Close what was opened here; what another has opened since stays open."""
        if self._value is not None:
            await workers.stop_awaiting(session, self._queues, self._value)
        self.forget()

    def forget(self) -> None:
        """Whatever was opened may not be any more, such as after a lost connection."""
        self._queues, self._value, self._until = (), None, 0.0
