"""What this process believes it holds: leases with how many of their tasks are still here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from perdure.tasks.places import Claimed, LeaseId


class Running(Protocol):
    """A run, as far as the parts that only ask it to stop need to know it."""

    claimed: Claimed
    lease: LeaseId
    attempt: int
    reason: str | None
    asked_at: float | None

    @property
    def stop_grace(self) -> float:
        """Seconds between the request to stop and the cancellation."""

    def ask(self, reason: str, *, grace: float | None = None) -> None:
        """Ask it to stop, and cancel it after its grace."""

    def abandon(self) -> None:
        """Give its task up; what its code still does is not recorded."""


class Holdings:
    """Every task of a lease is in the buffer, in a run, or in the completer's backlog.

    Only the event loop changes it; the beat's thread reads copies made on the loop.
    """

    def __init__(self) -> None:
        self.running: dict[int, Running] = {}
        self.clock_offset = 0.0
        """Seconds to add to the monotonic clock to get the database's (epoch)."""
        self._leases: Counter[LeaseId] = Counter()
        self._expected: set[LeaseId] = set()

    def took(self, claimed: Iterable[Claimed]) -> None:
        """These tasks are here now."""
        self._leases.update(task.lease for task in claimed)

    def expects(self, lease: LeaseId) -> None:
        """A lease of a task's own is asked for: it may exist before its reply has come, so nobody
        must hand it back; and it may not exist yet, so no beat must be asked for it."""
        self._expected.add(lease)

    def separated(self, old: LeaseId, asked: LeaseId, holder: LeaseId | None) -> None:
        """The answer: which of the two leases holds the task (None: neither)."""
        self._expected.discard(asked)
        if holder == asked:
            self._leases[asked] += 1
            self.gave(old)

    def gave(self, lease: LeaseId, count: int = 1) -> None:
        """So many tasks of this lease have left: ended, settled, handed back or lost."""
        left = self._leases[lease] - count
        if left > 0:
            self._leases[lease] = left
        else:
            del self._leases[lease]

    @property
    def tasks(self) -> int:
        """How many tasks are here."""
        return self._leases.total()

    def leases(self) -> list[LeaseId]:
        """The leases that this process believes to hold."""
        return list(self._leases)

    def unknown(self, held: Mapping[LeaseId, list[int]]) -> list[tuple[LeaseId, int]]:
        """What the database says that we hold, and we know nothing of: (lease, task)."""
        return [
            (lease, task)
            for lease, tasks in held.items()
            if lease not in self._leases and lease not in self._expected
            for task in tasks
        ]
