"""What this process believes it holds: leases, each with those of its tasks that are still here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from perdure.tasks.places import Claimed, LeaseId


class Placed(Protocol):
    """A task and the lease that it is held under."""

    lease: LeaseId
    task_id: int


class Running(Protocol):
    """A run, as far as the parts that only ask it to stop need to know it."""

    claimed: Claimed
    lease: LeaseId
    attempt: int
    begun: bool
    reason: str | None
    asked_at: float | None

    @property
    def stop_grace(self) -> float:
        """Seconds between the request to stop and the cancellation."""

    def ask(self, reason: str, *, grace: float | None = None) -> None:
        """Ask it to stop, and cancel it after its grace."""

    @property
    def deadline_passed(self) -> bool:
        """Whether it may run without what it requires."""

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
        self._doubts: dict[int, float] = {}
        self._leases: dict[LeaseId, set[int]] = {}
        self._expected: set[LeaseId] = set()

    def now(self) -> float:
        """The database's clock: seconds of the epoch."""
        return time.monotonic() + self.clock_offset

    def took(self, claimed: Iterable[Claimed]) -> None:
        """These tasks are here now."""
        leases = self._leases
        last, held = "", set[int]()
        for task in claimed:
            if task.lease != last:  # Those of one lease mostly come together.
                last = task.lease
                held = leases.setdefault(last, set())
            held.add(task.task_id)

    def expects(self, lease: LeaseId) -> None:
        """A lease of a task's own is asked for: it may exist before its reply has come, so nobody
        must hand it back; and it may not exist yet, so no beat must be asked for it."""
        self._expected.add(lease)

    def separated(
        self,
        task_id: int,
        old: LeaseId,
        asked: LeaseId,
        holder: LeaseId | None,
        unanswered: Mapping[int, float],
    ) -> None:
        """The answer: which of the two leases holds the task. None: neither, or nobody knows; from
        now on the sessions that have not answered are doubted, and no longer the lease expected."""
        self._expected.discard(asked)
        if holder is None:
            for backend_pid, since in unanswered.items():
                self.doubt(backend_pid, since)
        elif holder == asked:
            self._leases[asked] = {task_id}
            self.gave(old, task_id)

    def gave(self, lease: LeaseId, task_id: int) -> None:
        """This task of the lease has left: ended, settled, handed back or lost."""
        held = self._leases.get(lease)
        if held is not None:
            held.discard(task_id)
            if not held:
                del self._leases[lease]

    def gave_all(self, runs: Iterable[Placed]) -> None:
        """The same for many."""
        leases = self._leases
        last, held = "", set[int]()
        for run in runs:
            if run.lease != last:
                last = run.lease
                held = leases.get(last) or set()
            held.discard(run.task_id)
            if not held:
                leases.pop(last, None)

    @property
    def tasks(self) -> int:
        """How many tasks are here."""
        return sum(map(len, self._leases.values()))

    def leases(self) -> list[LeaseId]:
        """The leases that this process believes to hold."""
        return list(self._leases)

    def unknown(self, held: Mapping[LeaseId, list[int]]) -> list[tuple[LeaseId, int]]:
        """What the database says that we hold, and we know nothing of: (lease, task).

        After a failover a lease may be back as it was before some of its tasks had ended.
        """
        return [
            (lease, task)
            for lease, tasks in held.items()
            if lease not in self._expected
            for task in tasks
            if task not in self._leases.get(lease, ())
        ]

    @property
    def doubts(self) -> Mapping[int, float]:
        """Sessions that were asked for a lease and have not answered, each with when it was asked
        last: what the database says that we hold is to be compared with what is here."""
        return self._doubts

    def doubt(self, backend_pid: int, since: float) -> None:
        """This session was asked for a lease at that time (monotonic) and has not answered."""
        self._doubts[backend_pid] = max(since, self._doubts.get(backend_pid, since))

    def resolved(self, doubts: Mapping[int, float]) -> None:
        """What these sessions had done by then is known; who has been asked again since is not."""
        for backend_pid, since in doubts.items():
            if self._doubts.get(backend_pid) == since:
                del self._doubts[backend_pid]

    def went_back(self, tasks: Iterable[int], held: Mapping[LeaseId, list[int]]) -> None:
        """These were handed back: who runs one of them, and not under one of the leases that are
        held by now, does so under a lease that is no more."""
        for task in tasks:
            run = self.running.get(task)
            if run is not None and task not in held.get(run.lease, ()):
                run.ask("lease_lost")
