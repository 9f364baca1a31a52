"""The protocol as its worker processes see it: what a live worker may do next.

`Protocol.successors` yields what may happen in a state. A statement is sent by a worker and
either answered, or its connection is lost while it is under way: then the server may still
commit it, late, or never. A reply that was lost after the commit is the first of these.
Each defence is an attribute or a small method, so that a variant takes out exactly one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations
from typing import ClassVar

from tests.model.invariants import Invariant, all_ended, invariants_of
from tests.model.memory import died, registered, replaced, told, unheard
from tests.model.server import Server, Step, locked_by_recovery
from tests.model.state import Database, Held, Session, State, Task, Witness, Worker, canonical


class Protocol(Server):
    """The protocol with all its defences."""

    separate_is_reread: ClassVar[bool] = True
    checkpoint_waits: ClassVar[bool] = True  # until no older one of the same run can come late
    isolates: ClassVar[bool] = True

    def start(self) -> State:
        """Return the state in which every task is ready and every worker registered."""
        rows = tuple(range(1, self.size.workers + 1))
        zeros = (0,) * self.size.tasks
        return State(
            db=Database(tasks=(Task(("ready",)),) * self.size.tasks, workers=rows),
            workers=tuple(Worker(row) for row in rows),
            budget=self.size.budget,
            witness=Witness(checkpoints=zeros, deaths=zeros),
        )

    def successors(self, state: State) -> Iterator[Step]:
        for index, worker in enumerate(state.workers):
            if worker.row:
                yield from self.live(state, index, worker)
            else:
                row = state.fresh_row()
                yield f"process {row} starts", registered(state, index, row)
        for session in state.sessions:
            yield from self.serve(state, session)
        yield from self.recover(state)
        yield from self.address(state)
        yield from self.fail_over(state)

    def invariants(self) -> Mapping[str, Invariant]:
        return invariants_of(self.size)

    def all_ended(self, state: State) -> bool:
        return all_ended(state)

    def canonical(self, state: State) -> State:
        """Return one state for all that differ only in the numbers of innocent tasks."""
        return canonical(state, self.size.innocent)

    # What a worker process does.

    def live(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        name = f"worker {worker.row}"
        if worker.todo:
            yield f"{name}: {worker.todo[0]}", self.reconciled(state, index, worker)
        elif worker.row not in state.db.workers:
            row = state.fresh_row()
            yield f"{name} learns that it is dead, comes as {row}", registered(state, index, row)
        else:
            yield from self.claim(state, worker)
        for held in worker.held:
            yield from self.hold(state, index, held)
        if state.budget.crashes:
            crashes = state.budget.crashes - 1
            budget = state.budget._replace(crashes=crashes)
            yield f"{name} crashes", died(state, index)._replace(budget=budget)
        underway = any(one.heard and one.row == worker.row for one in state.sessions)
        if state.budget.losses and underway:
            yield f"{name} loses its connections", self.cut_off(state, index)

    def claim(self, state: State, worker: Worker) -> Iterator[Step]:
        """Begin a claim: the worker row is locked FOR KEY SHARE, the ready rows are locked."""
        underway = [one for one in state.sessions if one.verb == "claim"]
        if any(one.heard and one.row == worker.row for one in underway):
            return
        if self.claim_locks_worker and locked_by_recovery(state, worker.row):
            return
        taken = {task for one in underway for task in one.tasks}
        free = [
            index
            for index, task in enumerate(state.db.tasks)
            if "ready" in task.places and index not in taken
        ]
        some = chain.from_iterable(combinations(free, count) for count in range(1, len(free) + 1))
        for tasks in some:
            lease, after = self.new_lease(state)
            session = Session(worker.row, "claim", lease, tasks)
            label = f"worker {worker.row} begins to claim {tasks} as lease {lease}"
            yield label, after._replace(sessions=(*after.sessions, session))

    def new_lease(self, state: State) -> tuple[int, State]:
        return state.fresh_lease(), state

    def hold(self, state: State, index: int, held: Held) -> Iterator[Step]:
        """What may come next for one task that the worker believes to hold."""
        match held.stage:
            case "moving":  # its ids are re-read by reconciliation before anything else
                return
            case "recovered" | "suspect":
                yield from self.unstarted(state, index, held)
            case "surplus":
                yield from self.send(state, index, held, "release")
            case "running" | "child":
                yield from self.run(state, index, held)
            case "finish" | "release":
                yield from self.send(state, index, held, held.stage)
            case end:
                yield from self.settle(state, index, held, end)

    def unstarted(self, state: State, index: int, held: Held) -> Iterator[Step]:
        """A task taken back from a dead worker: its start is written before it runs."""
        yield from self.send(state, index, held, "start")

    def begun(self, state: State, index: int, held: Held) -> Iterator[Step]:
        """Begin a run without a word to the database."""
        worker = state.workers[index]
        stage = "child" if held.stage == "suspect" else "running"
        begun = replaced(worker, held, held._replace(stage=stage))
        yield f"worker {worker.row} starts task {held.task}", state.with_worker(index, begun)

    def run(self, state: State, index: int, held: Held) -> Iterator[Step]:
        row, task = state.workers[index].row, held.task
        if self.size.releases:
            yield from self.send(state, index, held, "release")
        if task in self.size.poison:
            if held.stage == "child" and self.isolates:
                yield from self.settle(state, index, held, "crash")
                return
            yield from self.send(state, index, held, "list")
            witness = state.witness.with_death(task, at_most=self.size.deaths_max + 1)
            after = died(state, index)._replace(witness=witness)
            yield f"worker {row} dies of task {task}", after
            return
        unsure = self.checkpoint_waits and "end the old session" in state.workers[index].todo
        if held.page < self.size.checkpoints and not unsure:
            yield from self.send(state, index, held, "checkpoint", held.page + 1)
        alone = sum(other.lease == held.lease for other in state.workers[index].held) == 1
        if self.size.separates and not alone:
            yield from self.send(state, index, held, "separate", state.fresh_lease())
        for end in self.size.ends:
            if end == "finish":
                yield from self.send(state, index, held, end)
            elif end != "suspend" or not state.db.tasks[task].woken:
                yield from self.settle(state, index, held, end)

    def send(
        self, state: State, index: int, held: Held, verb: str, other: int = 0
    ) -> Iterator[Step]:
        """Send one statement: it is answered, or the connection is lost while it is under way."""
        worker = state.workers[index]
        session = Session(worker.row, verb, held.lease, (held.task,), other=other)
        label = f"worker {worker.row}: {verb} task {held.task} of lease {held.lease}"
        if not self.blocked(state, session):
            after, answer = self.execute(state, session)
            wiser = told(worker, session, answer, after.db, self.size.isolate_after)
            yield f"{label}, {answer}", after.with_worker(index, wiser)
        if state.budget.losses:
            match verb:
                case "separate" if self.separate_is_reread:
                    left = held._replace(stage="moving", other=other)
                case "finish" | "release":
                    left = held._replace(stage=verb)
                case _:
                    left = held
            gone = session._replace(heard=False)
            after = state.with_worker(index, replaced(worker, held, left))
            after = after._replace(sessions=(*after.sessions, gone))
            yield f"{label}, connection lost", self.cut_off(after, index, verb)

    def settle(self, state: State, index: int, held: Held, end: str) -> Iterator[Step]:
        """Send a settle: its first statement is run, the others are the server's next steps."""
        worker = state.workers[index]
        session = Session(worker.row, end, held.lease, (held.task,), known=held.known)
        this = (worker.row, end, held.lease, session.tasks)
        heard = (one for one in state.sessions if one.heard)
        if this in ((one.row, one.verb, one.lease, one.tasks) for one in heard):
            return  # it is under way
        begun = state.with_worker(index, replaced(worker, held, held._replace(stage=end)))
        begun = begun._replace(sessions=(*begun.sessions, session))
        for label, after in self.serve_settle(begun, session):
            yield f"worker {worker.row} settles task {held.task} as {end}: {label}", after

    def cut_off(self, state: State, index: int, verb: str = "") -> State:
        """Lose the connections: what is under way goes on unheard, reconciliation is due."""
        worker = state.workers[index]
        budget = state.budget._replace(losses=state.budget.losses - 1)
        todo = self.reconciliation
        if verb == "separate" and not self.separate_is_reread:
            todo = worker.todo
        after = state.with_worker(index, worker._replace(todo=todo))
        return unheard(after, worker.row)._replace(budget=budget)

    def reconciled(self, state: State, index: int, worker: Worker) -> State:
        """Do the next step of reconciliation."""
        step, todo = worker.todo[0], worker.todo[1:]
        if step == "end the old session":
            left = tuple(one for one in state.sessions if one.heard or one.row != worker.row)
            after = state._replace(sessions=left)
            return after.with_worker(index, worker._replace(todo=todo))
        mine = {
            (lease.id, task): Held(lease.id, task, "surplus")
            for lease in state.db.leases
            if lease.worker == worker.row
            for task in lease.tasks
        }
        for held in worker.held:
            if (held.lease, held.task) in mine:
                stage = "running" if held.stage == "moving" else held.stage
                mine[held.lease, held.task] = held._replace(stage=stage, other=0)
            elif held.stage == "moving" and (held.other, held.task) in mine:
                moved = held._replace(lease=held.other, other=0, stage="running")
                mine[held.other, held.task] = moved
        return state.with_worker(
            index, worker._replace(todo=todo, held=tuple(sorted(mine.values())))
        )
