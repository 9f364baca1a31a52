"""What worker processes keep in mind, and what an answer changes in it."""

from __future__ import annotations

from tests.model.state import Database, Held, Session, State, Worker


def registered(state: State, index: int, row: int) -> State:
    """A process registers under a new id; it knows of no task."""
    db = state.db._replace(workers=tuple(sorted((*state.db.workers, row))))
    after = unheard(state, state.workers[index].row)._replace(db=db)
    return after.with_worker(index, Worker(row))


def died(state: State, index: int) -> State:
    """A process is gone with its memory; what it had sent is still under way."""
    return unheard(state, state.workers[index].row).with_worker(index, Worker(0))


def unheard(state: State, row: int) -> State:
    sessions = (one._replace(heard=False) if one.row == row else one for one in state.sessions)
    return state._replace(sessions=tuple(dict.fromkeys(sessions)))


def replaced(worker: Worker, held: Held, by: Held | None) -> Worker:
    others = (one for one in worker.held if one != held)
    return worker._replace(held=tuple(sorted((*others, *((by,) if by else ())))))


def answered(state: State, session: Session, answer: str, isolate_after: int) -> State:
    """Take the session out of the server; if its client still listens, it hears the answer."""
    sessions = tuple(one for one in state.sessions if one != session)
    state = state._replace(sessions=sessions)
    if not session.heard:
        return state
    for index, worker in enumerate(state.workers):
        if worker.row == session.row:
            told_worker = told(worker, session, answer, state.db, isolate_after)
            state = state.with_worker(index, told_worker)
    return state


def told(worker: Worker, session: Session, answer: str, db: Database, isolate_after: int) -> Worker:
    """Return the worker's memory after it has heard the answer."""
    if session.verb == "claim":
        claimed = (bought(session.lease, task, db, isolate_after) for task in session.tasks)
        return worker._replace(held=tuple(sorted((*worker.held, *claimed))))
    for held in worker.held:
        if (held.lease, held.task) == (session.lease, session.tasks[0]):
            return replaced(worker, held, after_answer(held, session, answer))
    return worker


def bought(lease: int, index: int, db: Database, isolate_after: int) -> Held:
    task = db.tasks[index]
    stage = "recovered" if task.recovered else "running"
    if task.crashes + task.suspect >= isolate_after:
        stage = "suspect"
    return Held(lease, index, stage, page=task.saved)


def after_answer(held: Held, session: Session, answer: str) -> Held | None:
    """Return what is left in mind of a task; None: nothing."""
    if answer == "mail":
        return held._replace(known=session.seen)
    if answer == "done":
        match session.verb:
            case "start":
                return held._replace(stage="child" if held.stage == "suspect" else "running")
            case "checkpoint":
                return held._replace(page=session.other)
            case "separate":
                return held._replace(lease=session.other)
            case "list":
                return held
    return None
