"""The lanes of this worker's names, and which of them it may claim from and start tasks of now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from perdure.run.singletons import Singletons
from perdure.store import workers
from perdure.store.database import Session
from perdure.tasks.places import Claimed
from perdure.tasks.plan import Lane, served


class Lanes:
    """Read anew when the beat has heard of others.

    Attributes:
        served: those to claim from now: the same object for as long as nothing changes.
        paused: queues that are paused; set it with `pause`.
        satisfied: constraints that hold; set it with `satisfy`.
    """

    def __init__(
        self, names: Sequence[str], queues: Mapping[str, int | None], singletons: Singletons
    ) -> None:
        self.served: tuple[Lane, ...] = ()
        self.paused: Mapping[str, bool] = {}
        self.satisfied: Collection[str] = frozenset()
        self._limited: frozenset[int] = frozenset()
        self._names = frozenset(names)
        self._queues = queues
        self._singletons = singletons
        self._known: dict[int, Lane] = {}
        self._lacking: frozenset[int] = frozenset()
        self._version = -1
        self._wanted = 0

    def changed(self, version: int) -> bool:
        """The beat has heard of lanes up to this number; whether that is news."""
        news, self._wanted = version != self._wanted, version
        return news

    async def refresh(self, session: Session) -> None:
        """Read them, if there are others than are known here."""
        if self._version != self._wanted:
            version = self._wanted
            lanes = await workers.lanes(session, sorted(self._names | self._singletons.names))
            self._known = {lane.id: lane for lane in lanes}
            self._limited = frozenset(lane.id for lane in lanes if lane.limited)
            self._version = version
            self._serve()

    def pause(self, paused: Mapping[str, bool]) -> None:
        """Serve no lane of these queues."""
        self.paused = paused
        self._serve()

    def satisfy(self, satisfied: Collection[str]) -> None:
        """Serve no lane that requires anything else."""
        self.satisfied = satisfied
        self._serve()

    def queue_of(self, lane: int) -> str:
        """The queue of a lane that a task was claimed from."""
        known = self._known.get(lane)
        return "default" if known is None else known.queue

    def marked(self, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        """The same tasks; those that hold an instance say so."""
        if not self._limited:
            return claimed
        return [task._replace(limited=task.lane in self._limited) for task in claimed]

    def lacks(self, lane: int) -> list[str]:
        """The constraints that a lane requires and that do not hold."""
        known = self._known.get(lane) if lane in self._lacking else None
        return [] if known is None else [n for n in known.requires if n not in self.satisfied]

    @property
    def may_halt(self) -> bool:
        """Whether there is any lane of which nothing may start."""
        return bool(self.paused or self._lacking)

    def halts(self, lane: int) -> bool:
        """Whether no task of it may start; a claim under way may have brought one all the same."""
        paused = self.paused
        if paused and ("*" in paused or self.queue_of(lane) in paused):
            return True
        return lane in self._lacking

    def _serve(self) -> None:
        """Make the list of lanes that may be claimed from; the plan keeps it until it changes."""
        lanes = self._known.values()
        self._lacking = frozenset(
            lane.id for lane in lanes if not all(n in self.satisfied for n in lane.requires)
        )
        self.served = served(
            lanes,
            names=self._names,
            queues=self._queues or None,
            satisfied=self.satisfied,
            paused=self.paused,
        )
        self._singletons.serve(lanes, self.paused, self.satisfied)
