"""What is told of a run's end: the typed values as JSON, events, counts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

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
from perdure.settings import mask, redact
from perdure.store.faults import describe
from perdure.tasks.codec import clean_text, encode_json, excess
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Ended, Move, Ready, Waiting

_THIS_ROOM: Final = f"{Path(__file__).parent}/"
REASON_BYTES_MAX: Final = 1_000
"""Of a message, or of a typed error, in events and log lines; all of it is in the record."""


def encoded(
    definition: TaskDefinition, outcome: Outcome[Any, Any], result_bytes: int
) -> tuple[str | None, str | None, str | None]:
    """Result and error as JSON text, and why a result cannot be stored; each None if not so."""
    match outcome:
        case Success(result):
            text, problem = result_text(definition, result, result_bytes)
            return text, None, problem
        case Suspended():
            return None, None, None
        case Failure(error=error) | Retry(error=error) | Cancelled(error=error):
            return None, _error_text(definition, error), None


def result_text(
    definition: TaskDefinition, result: object, result_bytes: int
) -> tuple[str | None, str | None]:
    """A result as JSON text, or why it cannot be stored; null where none is kept."""
    try:
        text = definition.result.dump(result)
    except UnencodableValue as error:
        return None, str(error)
    if size := excess(result_bytes, text):
        return None, (
            f"the result has {size} bytes, limits.result_bytes is {result_bytes}: "
            "store it elsewhere and return a reference"
        )
    return definition.kept(text), None


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


def handlers_own(error: BaseException) -> BaseException:
    """The exception with a traceback that begins with the handler: what called it tells nothing.

    One that was raised before the handler began keeps its traceback.
    """
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_THIS_ROOM):
        found = found.tb_next
    return error if found is None else error.with_traceback(found)


def lost(run: FencedRun) -> None:
    """The lease did not hold the task any more: another worker has it."""
    bus, claimed = run.tools.bus, run.claimed
    if bus.heard("task.lost"):
        bus.emit(TaskLost(task_id=claimed.task_id, name=claimed.name, attempt=run.attempt))


def completed(run: FencedRun) -> None:
    """The task is completed: by a move, or by a transaction of the handler's own."""
    bus, claimed = run.tools.bus, run.claimed
    _count(run, "completed")
    bus.emit(TasksCompleted(count=1, task_id=claimed.task_id, name=claimed.name))
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
        case Ended(state=state, error=error):
            _count(run, state)
            if bus.heard(f"task.{state}"):
                seconds = _seconds(run)
                bus.emit(TaskEnded(**about, state=state, seconds=seconds, **_why(run, error)))
        case Waiting(reason="retry", delay=delay):
            bus.emit(TaskRetrying(**about, delay=delay, **_why(run, move.run_error)))
        case Ready(reason="retry" | "crash"):
            bus.emit(TaskRetrying(**about, delay=0.0, **_why(run, move.run_error)))
        case _ if move.run == "suspension":
            bus.emit(TaskSuspended(**about))
        case _ if move.run == "interruption":
            bus.emit(TaskInterrupted(**about, reason=move.run_reason or ""))
        case _:
            return


def _why(run: FencedRun, record: str | None) -> dict[str, Any]:
    """What may be told of a stored error: its kind and its reason, masked and then cut."""
    stored = json.loads(record or "{}")
    message, typed = stored.get("message"), stored.get("error")
    if message is not None:
        message = clean_text(mask(message, run.tools.settings()), REASON_BYTES_MAX)
    if typed is not None:
        typed = clean_text(json.dumps(redact(typed)), REASON_BYTES_MAX)
    return {
        "kind": stored.get("kind"), "type": stored.get("type"), "message": message, "error": typed,
    }  # fmt: skip


def refusal(error: BaseException) -> str:
    """What the database said of a value that it refused."""
    return describe(error)


def _count(run: FencedRun, state: str) -> None:
    queue = run.tools.queue_of(run.claimed.lane)
    run.tools.completer.tally(run.claimed.name, queue, state, _seconds(run))


def _seconds(run: FencedRun) -> float:
    return time.monotonic() - run.started if run.started else 0.0
