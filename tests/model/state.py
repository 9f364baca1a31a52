"""What a state of the protocol's model is made of: nested tuples, hashable and ordered."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ENDED = frozenset({"completed", "failed", "cancelled", "crash"})


class Task(NamedTuple):
    """Rows of one task: its places outside the leases, its progress, its mail."""

    places: tuple[str, ...] = ()  # exactly one, or none while a lease holds the task
    recovered: bool = False
    started: bool = False  # its start is written, or a beat has listed it
    suspect: bool = False  # was with a worker that died, and may have started there unrecorded
    crashes: int = 0  # counted up to isolate_after
    saved: int = 0  # the number of the last checkpoint
    mail: tuple[str, ...] = ()  # cancel, proceed
    signalled: bool = False  # somebody has sent its one proceed
    woken: bool = False  # the proceed has been used up: it suspends no more

    @property
    def ended(self) -> bool:
        return not ENDED.isdisjoint(self.places)

    def enter(self, place: str) -> Task:
        """Add a place; that it was in none before is what the invariants look at."""
        return self._replace(places=tuple(sorted((*self.places, place))))

    def end(self, place: str) -> Task:
        """Enter an end; nothing else about the task matters any more."""
        return Task(places=self.places).enter(place)

    def leave(self, *places: str) -> Task:
        return self._replace(places=tuple(place for place in self.places if place not in places))


class Lease(NamedTuple):
    id: int
    worker: int
    tasks: tuple[int, ...]


class Database(NamedTuple):
    """What is committed; `workers` are the ids of the worker rows."""

    tasks: tuple[Task, ...]
    leases: tuple[Lease, ...] = ()
    workers: tuple[int, ...] = ()
    sequence: int = 0  # only for the variant that takes its lease ids from here

    def with_task(self, index: int, task: Task) -> Database:
        return self._replace(tasks=changed(self.tasks, index, task))

    def with_lease(self, lease: Lease) -> Database:
        return self._replace(leases=tuple(sorted((*self.leases, lease))))

    def without(self, leases: Iterable[Lease], task: int) -> Database:
        """Cut the task out of these leases; a lease that is left empty goes."""
        cut = set(leases)
        shorter = (
            lease._replace(tasks=tuple(other for other in lease.tasks if other != task))
            if lease in cut
            else lease
            for lease in self.leases
        )
        return self._replace(leases=tuple(lease for lease in shorter if lease.tasks))


class Held(NamedTuple):
    """One task that a worker process believes to hold, and how far it is with it."""

    lease: int
    task: int
    stage: str  # recovered suspect (start unwritten) running child moving surplus; or an end's verb
    page: int = 0  # the checkpoint that the run has in hand
    other: int = 0  # moving: the id of the own lease, made before it was asked for
    known: tuple[str, ...] = ()  # the mail that the decision about its end knows


class Worker(NamedTuple):
    """The memory of a process; row 0: the process is down."""

    row: int
    todo: tuple[str, ...] = ()  # steps of reconciliation still to do before the next claim
    held: tuple[Held, ...] = ()


class Session(NamedTuple):
    """A statement or transaction that the server is working on for a worker."""

    row: int
    verb: str  # claim start list checkpoint separate release finish; settle: fail retry ...
    lease: int
    tasks: tuple[int, ...]
    heard: bool = True  # False: the connection is lost, it may yet commit, late
    other: int = 0  # separate: the id of the own lease; checkpoint: its number
    known: tuple[str, ...] = ()  # settle: the mail that the decision knew
    phase: int = 0  # settle: how many of lock and read are done
    seen: tuple[str, ...] = ()  # settle: the mail that it read
    posted: tuple[str, ...] = ()  # for the invariants: what lay there when the lease was locked


class Recovery(NamedTuple):
    """The transaction that declares a worker dead."""

    row: int
    phase: int = 0  # how many of lock and read are done
    leases: tuple[int, ...] = ()  # as read


class Budget(NamedTuple):
    """How much may still go wrong."""

    crashes: int = 0
    suspicions: int = 0  # a live worker declared dead
    losses: int = 0  # connections lost while something is under way
    failovers: int = 0
    cancels: int = 0


class Witness(NamedTuple):
    """What only an onlooker of the whole history can know; the protocol never reads it."""

    checkpoints: tuple[int, ...]  # per task: the highest accepted
    deaths: tuple[int, ...]  # per task: processes that died of it
    foreign_write: bool = False  # a write was accepted from somebody who did not hold the task
    mail_passed_over: bool = False  # an end ignored mail that was there before it had the lease

    def with_checkpoint(self, task: int, number: int) -> Witness:
        best = max(self.checkpoints[task], number)
        return self._replace(checkpoints=changed(self.checkpoints, task, best))

    def with_death(self, task: int, at_most: int) -> Witness:
        count = min(self.deaths[task] + 1, at_most)
        return self._replace(deaths=changed(self.deaths, task, count))


class State(NamedTuple):
    db: Database
    workers: tuple[Worker, ...]
    budget: Budget
    witness: Witness
    sessions: tuple[Session, ...] = ()
    recovery: tuple[Recovery, ...] = ()  # at most one
    replica: tuple[Database, ...] = ()  # at most one: where it stopped; none: it keeps up

    def databases(self) -> tuple[Database, ...]:
        return (self.db, *self.replica)

    def with_worker(self, index: int, worker: Worker) -> State:
        return self._replace(workers=changed(self.workers, index, worker))

    def fresh_lease(self) -> int:
        """Return an id that nothing in the state knows: for a finite model, a new uuid."""
        known = {lease.id for db in self.databases() for lease in db.leases}
        known.update(held.lease for worker in self.workers for held in worker.held)
        known.update(held.other for worker in self.workers for held in worker.held)
        known.update(session.lease for session in self.sessions)
        known.update(session.other for session in self.sessions if session.verb == "separate")
        return smallest_not_in(known)

    def fresh_row(self) -> int:
        """Return an id for a worker row that nothing in the state knows."""
        known = {row for db in self.databases() for row in db.workers}
        known.update(lease.worker for db in self.databases() for lease in db.leases)
        known.update(worker.row for worker in self.workers)
        known.update(session.row for session in self.sessions)
        known.update(recovery.row for recovery in self.recovery)
        return smallest_not_in(known)


def changed(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def smallest_not_in(known: set[int]) -> int:
    return next(number for number in range(1, len(known) + 2) if number not in known)


def in_order(state: State) -> State:
    """Sort what has no order of its own, so that workers are interchangeable."""
    return state._replace(
        workers=tuple(sorted(state.workers)),
        sessions=tuple(sorted(state.sessions)),
    )


def canonical(state: State, alike: tuple[int, ...]) -> State:
    """Return one state for all that differ only in the numbers of the `alike` tasks."""
    tasks = state.db.tasks
    first = sorted(tasks[task] for task in alike)
    return min(
        in_order(state if order == alike else renamed(state, dict(zip(order, alike, strict=True))))
        for order in permutations(alike)
        if [tasks[task] for task in order] == first  # they are what a state is compared by first
    )


def renamed(state: State, names: dict[int, int]) -> State:
    """Give the tasks in `names` other numbers, everywhere."""

    def of(tasks: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(names.get(task, task) for task in tasks))

    def by_task(values: tuple[Any, ...]) -> tuple[Any, ...]:
        moved = {names.get(task, task): value for task, value in enumerate(values)}
        return tuple(moved[task] for task in range(len(values)))

    def in_database(db: Database) -> Database:
        leases = sorted(lease._replace(tasks=of(lease.tasks)) for lease in db.leases)
        return db._replace(tasks=by_task(db.tasks), leases=tuple(leases))

    def in_memory(worker: Worker) -> Worker:
        held = sorted(held._replace(task=names.get(held.task, held.task)) for held in worker.held)
        return worker._replace(held=tuple(held))

    return state._replace(
        db=in_database(state.db),
        replica=tuple(in_database(db) for db in state.replica),
        workers=tuple(in_memory(worker) for worker in state.workers),
        sessions=tuple(one._replace(tasks=of(one.tasks)) for one in state.sessions),
        witness=state.witness._replace(
            checkpoints=by_task(state.witness.checkpoints),
            deaths=by_task(state.witness.deaths),
        ),
    )
