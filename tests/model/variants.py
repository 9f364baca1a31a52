"""The protocol with one defence taken out at a time; for each of them a counterexample exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.protocol import Protocol
from tests.model.server import Size, Step
from tests.model.state import Budget, Database, Held, Lease, Session, State, Task


class NoFence(Protocol):
    """A write is accepted from anybody."""

    def fence(self, db: Database, session: Session, task: int) -> tuple[Lease, ...] | None:
        return super().fence(db, session, task) or ()


class FenceByTask(Protocol):
    """A write is accepted while anybody holds the task."""

    def fence(self, db: Database, session: Session, task: int) -> tuple[Lease, ...] | None:
        return tuple(lease for lease in db.leases if task in lease.tasks) or None


class LeaseFromSequence(Protocol):
    """The database numbers the leases; after a failover a number comes again."""

    def new_lease(self, state: State) -> tuple[int, State]:
        number = state.db.sequence + 1
        return number, state._replace(db=state.db._replace(sequence=number))


class MoveInTwoTransactions(Protocol):
    """Recovery commits when the leases are gone, before the tasks are put back."""

    def put_back(self, task: Task) -> Task:
        return task


class ClaimReadsWorkerPlainly(Protocol):
    """A claim reads its worker row without a lock."""

    claim_locks_worker = False


class OwnLeaseReadsNoWorker(Protocol):
    """A task moves to a lease of its own without a lock on the worker row."""

    separate_locks_worker = False


class RecoveryReadsBeforeItLocks(Protocol):
    """Recovery reads the leases in the statement that waits for the worker row."""

    recovery_order = ("read", "lock")


class NoReconciliation(Protocol):
    """After a lost connection a worker goes on as if nothing had happened."""

    reconciliation = ()


class ReconcilesBesideOldSession(Protocol):
    """The leases are compared while the old session may still commit."""

    reconciliation = ("compare",)


class OwnLeaseNotReread(Protocol):
    """An own lease whose reply was lost is taken for not made."""

    separate_is_reread = False


class CheckpointBesideOldSession(Protocol):
    """A checkpoint is repeated while an older one of the same run may still commit."""

    checkpoint_waits = False


class CrashCountedAtTheEnd(Protocol):
    """A crash is counted by the end of the run, which a crash does not let happen."""

    def blamed(self, task: Task) -> Task:
        return task._replace(recovered=True, started=False)


class NobodySuspected(Protocol):
    """A first run that kills its worker before a beat has listed it counts for nothing."""

    suspects = False


class StartNotWritten(Protocol):
    """A recovered task runs before its start is written."""

    def unstarted(self, state: State, index: int, held: Held) -> Iterator[Step]:
        yield from self.begun(state, index, held)


class NoOwnProcess(Protocol):
    """A task that has crashed too often goes on to run inside the worker."""

    isolates = False


class SettleReadsBeforeItLocks(Protocol):
    """Mail is read before the lease is locked."""

    settle_order = ("read", "lock")


class PromotionLeavesMail(Protocol):
    """Mail of tasks in no lease is not looked at."""

    promotion_reads_mail = False


class Expectation(NamedTuple):
    """A variant, a small size that shows its fault, the fault, and the shortest way to it."""

    variant: type[Protocol]
    size: Size
    violated: str
    steps: int  # 0: no state at all can finish


FALSELY_DEAD = Size(tasks=1, budget=Budget(suspicions=1))
ONE_LOSS = Size(tasks=1, workers=1, budget=Budget(losses=1))
TWO_CHECKPOINTS = Size(tasks=1, workers=1, budget=Budget(losses=1), checkpoints=2)
FAILOVER = Size(tasks=1, budget=Budget(failovers=1))
OWN_LEASE = Size(workers=1, budget=Budget(losses=1, suspicions=1), separates=True)
LOST_OWN_LEASE = Size(workers=1, budget=Budget(losses=1), separates=True)
POISON = Size(tasks=1, workers=1, poison=(0,))
SUSPENSION = Size(tasks=1, workers=1, budget=Budget(cancels=1), ends=("finish", "suspend"))

PLACES = "tasks_in_no_place_or_two"
FOREIGN = "foreign_writes"
ORPHAN = "leases_without_a_worker"
LIVENESS = "cannot finish"
KILLERS = "tasks_that_killed_too_many"

EXPECTATIONS = (
    Expectation(NoFence, FALSELY_DEAD, PLACES, 6),
    Expectation(FenceByTask, FALSELY_DEAD, FOREIGN, 8),
    Expectation(LeaseFromSequence, FAILOVER, FOREIGN, 9),
    Expectation(MoveInTwoTransactions, FALSELY_DEAD, PLACES, 5),
    Expectation(ClaimReadsWorkerPlainly, FALSELY_DEAD, ORPHAN, 5),
    Expectation(OwnLeaseReadsNoWorker, OWN_LEASE, ORPHAN, 6),
    Expectation(RecoveryReadsBeforeItLocks, FALSELY_DEAD, ORPHAN, 5),
    Expectation(NoReconciliation, ONE_LOSS, LIVENESS, 3),
    Expectation(NoReconciliation, FAILOVER, LIVENESS, 5),
    Expectation(ReconcilesBesideOldSession, ONE_LOSS, LIVENESS, 4),
    Expectation(OwnLeaseNotReread, LOST_OWN_LEASE, LIVENESS, 4),
    Expectation(CheckpointBesideOldSession, TWO_CHECKPOINTS, "checkpoints_that_went_back", 6),
    Expectation(CrashCountedAtTheEnd, POISON, LIVENESS, 0),
    Expectation(NobodySuspected, POISON, KILLERS, 19),
    Expectation(StartNotWritten, POISON, KILLERS, 19),
    Expectation(NoOwnProcess, POISON, KILLERS, 19),
    Expectation(SettleReadsBeforeItLocks, SUSPENSION, "mail_that_was_passed_over", 6),
    Expectation(PromotionLeavesMail, SUSPENSION, LIVENESS, 6),
)
