"""What is told of a run's end: the typed values as JSON, events, counts."""

from __future__ import annotations

import time
from typing import Any

from perdure.declare.definition import TaskDefinition
from perdure.errors import UnencodableValue
from perdure.run.events import (
    TaskEnded,
    TaskInterrupted,
    TaskLost,
    TaskRetrying,
    TasksCompleted,
    TaskSuspended,
)
from perdure.run.port import FencedRun
from perdure.store.database import describe
from perdure.tasks.codec import encode_json, excess
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Ended, Move, Ready, Waiting


def encoded(
    definition: TaskDefinition, outcome: Outcome[Any, Any], result_bytes: int
) -> tuple[str | None, str | None, str | None]:
    """Result and error as JSON text, and why a result cannot be stored; each None if not so."""
    match outcome:
        case Success(result):
            try:
                text = definition.result.dump(result)
            except UnencodableValue as error:
                return None, None, str(error)
            if size := excess(result_bytes, text):
                return None, None, (
                    f"the result has {size} bytes, limits.result_bytes is "
                    f"{result_bytes}: store it elsewhere and return a reference"
                )  # fmt: skip
            return text, None, None
        case Suspended():
            return None, None, None
        case Failure(error=error) | Retry(error=error) | Cancelled(error=error):
            return None, _error_text(definition, error), None


def _error_text(definition: TaskDefinition, error: object) -> str | None:
    """The typed error; what does not fit its type is kept as text: recording cannot fail."""
    if error is None:
        return None
    try:
        if definition.error.is_none:
            return encode_json(error)
        return definition.error.dump(error)
    except UnencodableValue as problem:
        return encode_json({"unencodable": str(problem)})


def lost(run: FencedRun) -> None:
    """The lease did not hold the task any more: another worker has it."""
    bus, claimed = run.tools.bus, run.claimed
    if bus.heard("task.lost"):
        bus.emit(TaskLost(task_id=claimed.task_id, name=claimed.name, attempt=run.attempt))


def completed(run: FencedRun) -> None:
    """The task is completed: by a move, or by a transaction of the handler's own."""
    bus, claimed = run.tools.bus, run.claimed
    _count(run, "completed")
    bus.emit(TasksCompleted(count=1))
    if bus.heard("task.completed"):
        bus.emit(
            TaskEnded(
                task_id=claimed.task_id, name=claimed.name, attempt=run.attempt,
                state="completed", seconds=_seconds(run),
            )
        )  # fmt: skip


def settled(run: FencedRun, move: Move | None) -> None:
    """What became of a move: an event for each, once it is durable."""
    if move is None:
        lost(run)
        return
    bus = run.tools.bus
    about: dict[str, Any] = {
        "task_id": run.claimed.task_id, "name": run.claimed.name,
        "attempt": run.claimed.attempt if move.attempt is None else move.attempt,
    }  # fmt: skip
    match move.to:
        case Ended(state="completed"):
            completed(run)
        case Ended(state=state, kind=kind):
            _count(run, state)
            if bus.heard(f"task.{state}"):
                bus.emit(TaskEnded(**about, state=state, seconds=_seconds(run), kind=kind))
        case Waiting(reason="retry", delay=delay):
            bus.emit(TaskRetrying(**about, delay=delay, kind=move.run))
        case Ready(reason="retry"):
            bus.emit(TaskRetrying(**about, delay=0.0, kind=move.run))
        case _ if move.run == "suspension":
            bus.emit(TaskSuspended(**about))
        case _ if move.run == "interruption":
            bus.emit(TaskInterrupted(**about, reason=move.run_reason or ""))
        case _:
            return


def refusal(error: BaseException) -> str:
    """What the database said of a value that it refused."""
    return describe(error)


def _count(run: FencedRun, state: str) -> None:
    queue = run.tools.queue_of(run.claimed.lane)
    run.tools.completer.tally(run.claimed.name, queue, state, _seconds(run))


def _seconds(run: FencedRun) -> float:
    return time.monotonic() - run.started if run.started else 0.0
