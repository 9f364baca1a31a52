"""How many tasks of which queue may run in this process: what it was told, or the database says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from perdure.tasks.places import Claimed


class QueueBounds:
    """The bounds of queues; the smaller of two counts, a queue without any is not bounded.

    told: by the options of this worker (None: no bound). queue_of: the queue of a lane.
    """

    def __init__(self, told: Mapping[str, int | None], queue_of: Callable[[int], str]) -> None:
        self.heard: Mapping[str, int] = {}
        """What the database says."""
        self._told = {name: slots for name, slots in told.items() if slots is not None}
        self._queue_of = queue_of

    def free(self, running: Iterable[Claimed], buffer: Iterable[Claimed]) -> dict[str, int]:
        """Slots that bounded queues have left beside what runs and what waits to be started."""
        most = self._most()
        if not most:
            return {}
        used = Counter(map(self._queue, running))
        used.update(map(self._queue, buffer))
        return {name: max(0, slots - used[name]) for name, slots in most.items()}

    def beyond(self, running: Iterable[Claimed], buffer: Iterable[Claimed]) -> list[Claimed]:
        """What of the buffer may not be started: the last of each queue beyond its bound."""
        left = self._most()
        surplus: list[Claimed] = []
        for name in map(self._queue, running if left else ()):
            if name in left:
                left[name] -= 1
        for task in buffer if left else ():
            name = self._queue(task)
            if name in left:
                left[name] -= 1
                if left[name] < 0:
                    surplus.append(task)
        return surplus

    def _queue(self, task: Claimed) -> str:
        return self._queue_of(task.lane)

    def _most(self) -> dict[str, int]:
        most = dict(self._told)
        for name, slots in self.heard.items():
            most[name] = min(slots, most.get(name, slots))
        return most
