"""The protocol as the database sees it: fences, locks, settle, recovery, mail, failover."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple, TypeAlias

from tests.model.memory import answered
from tests.model.state import Budget, Database, Lease, Recovery, Session, State, Task

Step: TypeAlias = tuple[str, State]

SINGLE = frozenset({"start", "list", "checkpoint", "separate", "release", "finish"})
# These lock the lease FOR KEY SHARE, which a settle does not hinder.
SHARES_THE_LEASE = frozenset({"start", "list", "checkpoint"})


class Size(NamedTuple):
    """What one exploration covers."""

    tasks: int = 2
    workers: int = 2
    budget: Budget = Budget()
    ends: tuple[str, ...] = ("finish",)  # of: finish fail retry suspend
    poison: tuple[int, ...] = ()  # tasks that kill the process that runs them
    separates: bool = False  # runs may move to a lease of their own
    checkpoints: int = 0  # per task
    releases: bool = False  # runs may be handed back, as at a shutdown
    isolate_after: int = 2

    @property
    def innocent(self) -> tuple[int, ...]:
        return tuple(task for task in range(self.tasks) if task not in self.poison)

    @property
    def deaths_max(self) -> int:
        """Return how many worker processes may die of one task."""
        return self.isolate_after


class Server:
    """Statements as the server runs them; a variant overrides one attribute or method."""

    settle_order: ClassVar[tuple[str, ...]] = ("lock", "read")  # then it acts
    recovery_order: ClassVar[tuple[str, ...]] = ("lock", "read")  # then it moves
    suspects: ClassVar[bool] = True
    claim_locks_worker: ClassVar[bool] = True
    separate_locks_worker: ClassVar[bool] = True
    promotion_reads_mail: ClassVar[bool] = True
    reconciliation: ClassVar[tuple[str, ...]] = ("end the old session", "compare")  # by the worker

    def __init__(self, size: Size) -> None:
        self.size = size

    def fence(self, db: Database, session: Session, task: int) -> tuple[Lease, ...] | None:
        """Return the leases that an accepted write takes the task from; None: it is refused."""
        holding = tuple(
            lease for lease in db.leases if lease.id == session.lease and task in lease.tasks
        )
        return holding or None

    def blocked(self, state: State, session: Session) -> bool:
        """Whether the statement has to wait for a lock."""
        moves = session.verb == "separate" and self.separate_locks_worker
        if moves and locked_by_recovery(state, session.row):
            return True
        return session.verb not in SHARES_THE_LEASE and self.settling(state, session.lease)

    def settling(self, state: State, lease: int) -> bool:
        """Whether an open settle has locked the lease."""
        return any(
            one.lease == lease and "lock" in self.settle_order[: one.phase]
            for one in state.sessions
            if one.verb != "claim"
        )

    def execute(self, state: State, session: Session) -> tuple[State, str]:
        """Commit a statement; return the state after it and its answer."""
        db = state.db
        if session.verb == "claim":
            for task in session.tasks:
                db = db.with_task(task, db.tasks[task].leave("ready"))
            db = db.with_lease(Lease(session.lease, session.row, session.tasks))
            return state._replace(db=db), "claimed"
        task = session.tasks[0]
        leases = self.fence(db, session, task)
        if leases is None:
            return state, "lost"
        if session.verb == "separate":
            if self.separate_locks_worker and session.row not in db.workers:
                return state, "lost"
            db = db.without(leases, task).with_lease(Lease(session.other, session.row, (task,)))
        elif session.verb in SHARES_THE_LEASE:
            db = db.with_task(task, self.noted(db.tasks[task], session))
        else:
            db = db.without(leases, task).with_task(task, self.moved(db.tasks[task], session))
        after = self.witnessed(state, session, task)._replace(db=db)
        return after, "done"

    def noted(self, task: Task, session: Session) -> Task:
        """Write about a running task."""
        if session.verb == "checkpoint":
            return task._replace(saved=session.other, crashes=0, suspect=False)
        return task._replace(started=True)

    def moved(self, task: Task, session: Session) -> Task:
        """Move a task out of its lease."""
        left = task._replace(started=False)
        if session.verb == "release":
            return left.enter("ready")
        if session.verb not in SINGLE and "cancel" in session.seen:
            return left.end("cancelled")
        left = left._replace(recovered=False)
        if session.verb == "suspend":
            proceed = "proceed" in session.seen
            return woken(left).enter("ready") if proceed else left.enter("waiting")
        if session.verb == "retry":
            return left.enter("ready")
        return left.end({"finish": "completed", "fail": "failed", "crash": "crash"}[session.verb])

    def witnessed(self, state: State, session: Session, task: int) -> State:
        """Note what the invariants want to know about an accepted write."""
        witness = state.witness
        if not any(
            lease.id == session.lease and lease.worker == session.row and task in lease.tasks
            for lease in state.db.leases
        ):
            witness = witness._replace(foreign_write=True)
        if not set(session.posted) <= set(session.seen):
            witness = witness._replace(mail_passed_over=True)
        if session.verb == "checkpoint":
            witness = witness.with_checkpoint(task, session.other)
        return state._replace(witness=witness)

    # What is under way in the server.

    def serve(self, state: State, session: Session) -> Iterator[Step]:
        late = "" if session.heard else ", unheard"
        name = f"{session.verb} of tasks {session.tasks} for worker {session.row}{late}"
        if session.verb in SINGLE or session.verb == "claim":
            if not self.blocked(state, session):
                after, answer = self.execute(state, session)
                yield f"{name}: {answer}", answered(after, session, answer, self.size.isolate_after)
        else:
            for label, after in self.serve_settle(state, session):
                yield f"{name}: {label}", after
        if not session.heard:
            yield f"{name}: ended by the server", without(state, session)

    def serve_settle(self, state: State, session: Session) -> Iterator[Step]:
        """Run the next statement of a settle: lock, read, act."""
        task = session.tasks[0]
        mail = state.db.tasks[task].mail
        step = (*self.settle_order, "act")[session.phase]
        ahead = session._replace(phase=session.phase + 1)
        if step == "lock":
            if self.settling(state, session.lease):
                return
            if self.fence(state.db, session, task) is None:
                yield "lost", answered(state, session, "lost", self.size.isolate_after)
                return
            ahead = ahead._replace(posted=mail)
        elif step == "read":
            ahead = ahead._replace(seen=mail)
        elif not set(session.seen) <= set(session.known):
            yield "mail", answered(state, session, "mail", self.size.isolate_after)
            return
        else:
            after, answer = self.execute(state, session)
            yield answer, answered(after, session, answer, self.size.isolate_after)
            return
        sessions = tuple(ahead if one == session else one for one in state.sessions)
        yield step, state._replace(sessions=sessions)

    # Recovery: a worker row is locked, its leases are read, its tasks go back.

    def recover(self, state: State) -> Iterator[Step]:
        if state.recovery:
            recovery = state.recovery[0]
            yield from self.recovery_step(state, recovery)
            yield f"recovery of {recovery.row} is broken off", state._replace(recovery=())
            return
        alive = {worker.row for worker in state.workers}
        for row in state.db.workers:
            budget = state.budget
            if row in alive:
                if not budget.suspicions:
                    continue
                budget = budget._replace(suspicions=budget.suspicions - 1)
            yield from self.recovery_step(state._replace(budget=budget), Recovery(row))

    def recovery_step(self, state: State, recovery: Recovery) -> Iterator[Step]:
        step = (*self.recovery_order, "move")[recovery.phase]
        label = f"recovery of {recovery.row}: {step}"
        ahead = recovery._replace(phase=recovery.phase + 1)
        if step == "lock":
            claims = (one.row for one in state.sessions if one.verb == "claim")
            if self.claim_locks_worker and recovery.row in claims:
                return
        elif step == "read":
            mine = (lease.id for lease in state.db.leases if lease.worker == recovery.row)
            ahead = ahead._replace(leases=tuple(mine))
        else:
            if not any(self.settling(state, lease) for lease in recovery.leases):
                yield label, state._replace(db=self.taken_back(state.db, recovery), recovery=())
            return
        yield label, state._replace(recovery=(ahead,))

    def taken_back(self, db: Database, recovery: Recovery) -> Database:
        """Delete the leases that were read and the worker row, put the tasks back."""
        gone = [lease for lease in db.leases if lease.id in recovery.leases]
        for lease in gone:
            for task in lease.tasks:
                db = db.with_task(task, self.put_back(self.blamed(db.tasks[task])))
        return db._replace(
            leases=tuple(lease for lease in db.leases if lease not in gone),
            workers=tuple(row for row in db.workers if row != recovery.row),
        )

    def put_back(self, task: Task) -> Task:
        return task.enter("ready")

    def blamed(self, task: Task) -> Task:
        """Count a crash against a task that is known to have started."""
        crashes = min(task.crashes + task.started, self.size.isolate_after)
        suspect = task.suspect or (self.suspects and not task.started)
        return task._replace(recovered=True, crashes=crashes, started=False, suspect=suspect)

    # Words from outside, and promotion.

    def address(self, state: State) -> Iterator[Step]:
        claimed = {task for one in state.sessions if one.verb == "claim" for task in one.tasks}
        for index, task in enumerate(state.db.tasks):
            if task.ended:
                continue
            here = index not in claimed and bool(task.places)  # its row can be had now
            for label, after, budget in self.words(task, state.budget, here=here):
                db = state.db.with_task(index, after)
                yield f"{label} of task {index}", state._replace(db=db, budget=budget)

    def words(
        self, task: Task, budget: Budget, *, here: bool
    ) -> Iterator[tuple[str, Task, Budget]]:
        """What may be said to a task. Mail comes at any time: its sender may have looked before."""
        if budget.cancels and "cancel" not in task.mail:
            fewer = budget._replace(cancels=budget.cancels - 1)
            yield "mail: cancel", posted(task, "cancel"), fewer
            if here:
                yield "cancel", cancelled(task), fewer
        if "suspend" in self.size.ends and not task.signalled:
            told = task._replace(signalled=True)
            yield "mail: proceed", posted(told, "proceed"), budget
            if "waiting" in task.places:
                yield "proceed", woken(told).leave("waiting").enter("ready"), budget
        if here and task.mail and self.promotion_reads_mail:
            if "cancel" in task.mail:
                yield "promotion: cancel", cancelled(task), budget
            elif "waiting" in task.places:
                yield "promotion: proceed", woken(task).leave("waiting").enter("ready"), budget

    def fail_over(self, state: State) -> Iterator[Step]:
        """Asynchronous failover: to the state in which the replica stopped, memories are kept."""
        if not state.budget.failovers:
            return
        if not state.replica:
            yield "the replica stops", state._replace(replica=(state.db,))
            return
        db = state.replica[0]
        failovers = state.budget.failovers - 1
        saved = tuple(task.saved for task in db.tasks)
        workers = (
            worker._replace(todo=self.reconciliation) if worker.row else worker
            for worker in state.workers
        )
        yield (
            "failover",
            state._replace(
                db=db,
                replica=(),
                sessions=(),
                recovery=(),
                workers=tuple(workers),
                budget=state.budget._replace(failovers=failovers),
                witness=state.witness._replace(checkpoints=saved),
            ),
        )


def locked_by_recovery(state: State, row: int) -> bool:
    return any(one.row == row and one.phase for one in state.recovery)


def without(state: State, session: Session) -> State:
    return state._replace(sessions=tuple(one for one in state.sessions if one != session))


def posted(task: Task, word: str) -> Task:
    return task._replace(mail=tuple(sorted((*task.mail, word))))


def woken(task: Task) -> Task:
    """Use up the proceed."""
    return task._replace(mail=tuple(w for w in task.mail if w != "proceed"), woken=True)


def cancelled(task: Task) -> Task:
    return task.leave("ready", "waiting").end("cancelled")
