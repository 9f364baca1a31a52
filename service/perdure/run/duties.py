"""What a beat tells its process to do for all: recovery, promotion, mail, lanes, and the chores.

Every process does it, without a leader: each of these is safe when two do it at once. All of it
runs in the beat's thread, between two beats, in small turns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from perdure.run.bus import Bus
from perdure.run.chores import Chores, Counts
from perdure.run.events import Promoted, TasksUnserved, WorkerRecovered
from perdure.run.firing import fire_due
from perdure.store import upkeep, workers
from perdure.store.database import SyncSession
from perdure.store.upkeep import Keep
from perdure.store.workers import Beat

PROMOTE_MOST = 1000
"""Tasks that one turn of promotion moves: it bounds how long its locks are held."""
OBEY_MOST = 200
"""Letters of one turn: 2 to 5 ms of the server each, so that a beat comes within a second."""
SECONDS_MOST = 0.5
"""How long turns of promotion may follow one another between two beats: a flood of due tasks must
not delay a beat, and one that has followers, or a limit, takes long."""
BLOCKED_SECONDS = 0.25
"""Pause before the next look when something due could not be moved."""


class Duties:
    """Serves what a beat has heard.

    woken: there may be work for this process. counts: takes what has ended since the last call.
    again: have another beat at once.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        woken: Callable[[], None],
        counts: Callable[[], Counts],
        again: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._woken = woken
        self._counts = counts
        self._again = again
        self._promote_at = math.inf
        self._fire_at = math.inf
        self._blocked_until = 0.0
        self._unlaned_after = -1
        self._chores = Chores()

    @property
    def expects_work(self) -> bool:
        """Whether something that waits is due now: promotion is about to move it."""
        return self._promote_at <= time.monotonic()

    @property
    def due_at(self) -> float:
        """When something is to be done next, by the monotonic clock; infinity: nobody knows."""
        return min(max(self._promote_at, self._blocked_until), self._fire_at)

    def serve(
        self,
        session: SyncSession,
        worker_id: int,
        heard: Beat,
        *,
        judges: bool,
        lease_seconds: float,
        keep: Keep,
    ) -> None:
        """Do what a beat has said; `judges`: who looks dead to this process is dead."""
        now = time.monotonic()
        if heard.dead and judges:
            self._recover(session)
        if heard.mail and upkeep.obey(session, OBEY_MOST):
            self._woken()
        if heard.openings:
            self._serve_openings(session)
        self._promote_at = math.inf if heard.due_in is None else now + heard.due_in
        if heard.due_in is not None and heard.due_in <= 0:
            self._promote(session)
        self._fire_at = math.inf if heard.fire_in is None else now + heard.fire_in
        if heard.fire_in is not None and heard.fire_in <= 0:
            self._fire(session)
        if heard.unlaned:
            moved, self._unlaned_after = upkeep.relane(session, self._unlaned_after, PROMOTE_MOST)
            if moved:
                # The next one hears of the lanes that were made.
                self._again()
        self._chores.ended(self._counts())
        self._chores.do(session, worker_id, lease_seconds)
        if heard.upkeep and upkeep.take_upkeep(session):
            self._chores.keep_up(session, keep)
            for one in upkeep.report_unserved(session):
                self._bus.emit(
                    TasksUnserved(queue=one.queue, name=one.name, count=one.tasks, why=one.why)
                )

    def count(self, session: SyncSession, worker_id: int) -> None:
        """Write what has ended until now to the statistics."""
        self._chores.ended(self._counts())
        self._chores.count(session, worker_id)

    def _recover(self, session: SyncSession) -> None:
        recovered = workers.recover(session)
        if recovered:
            tasks = sum(one.tasks for one in recovered)
            self._bus.emit(WorkerRecovered(workers=len(recovered), tasks=tasks))
            self._woken()

    def _fire(self, session: SyncSession) -> None:
        looked = fire_due(session, self._bus)
        now = time.monotonic()
        pause = BLOCKED_SECONDS if looked.held else max(0.0, looked.next_in or 0.0)
        self._fire_at = math.inf if looked.next_in is None else now + pause
        if looked.made:
            self._woken()

    def _serve_openings(self, session: SyncSession) -> None:
        served = upkeep.serve_openings(session, PROMOTE_MOST)
        if served:
            self._woken()
        if served >= PROMOTE_MOST:
            self._again()

    def _promote(self, session: SyncSession) -> None:
        until = time.monotonic() + SECONDS_MOST
        while True:
            done = upkeep.promote(session, PROMOTE_MOST)
            due = math.inf if done.due_in is None else max(0.0, done.due_in)
            self._promote_at = time.monotonic() + due
            if done.moved:
                self._bus.emit(Promoted(count=done.moved))
            if done.moved or done.rung:
                self._woken()
            if due > 0:
                return
            if not (done.moved or done.rung):
                # What is due all the same is locked by somebody, for who knows how long.
                self._blocked_until = time.monotonic() + BLOCKED_SECONDS
                return
            if time.monotonic() >= until:
                return
