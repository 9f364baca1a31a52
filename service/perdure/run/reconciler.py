"""Compares what the database says that this process holds with what is here, after a doubt."""

from __future__ import annotations

from collections.abc import Callable

from perdure.run.holdings import Holdings
from perdure.store import queue
from perdure.store.database import Database, Session
from perdure.tasks.places import LeaseId


class Reconciler:
    """Hands back what nobody here knows of: a lease that was given, and its reply was lost."""

    def __init__(
        self,
        database: Database,
        holdings: Holdings,
        worker_id: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._holdings = holdings
        self._worker_id = worker_id
        self._clock = clock
        self._unheard: list[tuple[LeaseId, int]] = []
        """What nobody here knew and may have gone back: its hand-back was not answered."""

    async def compare(self, session: Session) -> None:
        """One look, on the session that claims; what it finds goes back, and is looked at again.

        Raises:
            DatabaseUnavailable, psycopg errors: all doubts stay.
        """
        doubts = await self._over(session)
        if not doubts:
            return
        held = await queue.leases_of(session, self._worker_id())
        went = [task for lease, task in self._unheard if task not in held.get(lease, ())]
        self._holdings.went_back(went, held)
        self._unheard = self._holdings.unknown(held)
        if self._unheard:
            back = await queue.hand_back(session, self._unheard)
            self._unheard = []
            self._holdings.went_back(back, {})
        else:
            self._holdings.resolved(doubts)

    async def _over(self, session: Session) -> dict[int, float]:
        """The doubts whose sessions can change nothing any more: they are ended.

        Behind a pooler none can be named, nor bounded by the server. What is cut off there before
        its COMMIT is rolled back, and no client sends one later than it waits for a reply. A COMMIT
        that a synchronous standby holds up for longer than that is found after the next doubt.
        """
        doubts = dict(self._holdings.doubts)
        if session.pooled:
            last, own = self._clock() - self._database.reply_seconds, session.backend_pid
            return {pid: since for pid, since in doubts.items() if pid == own or since < last}
        for backend_pid in doubts.keys() - {session.backend_pid}:
            await queue.end_session(session, backend_pid)
        return doubts
