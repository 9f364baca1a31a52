"""What the handlers of the storm tell the ledger, and what their tasks are asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import TaskStopped
from perdure.tasks.policies import Delays, RetryPolicy

MEMBER: Final = "PERDURE_TEST_MEMBER"
"""Names the process of the fleet: a worker and its children have one name."""
CANARY: Final = "canary-d41f0c77"
"""In the metadata of every task: no log may show it."""

PATIENT: Final = RetryPolicy(max_retries=-1, backoff=Delays([0.2]), jitter=0)
"""Whatever the faults make fail is tried again until it succeeds."""


class Order(BaseModel):
    """Metadata: the operation that asked for the task, and its number there.

    fails: the number of the task in a chain that is to fail.
    """

    op: str
    i: int = 0
    fails: int = -1
    secret: str = CANARY


class Saved(BaseModel):
    """A checkpoint: how much is done."""

    page: int = 0


class Done(BaseModel):
    """A result: of whose task it is."""

    op: str
    i: int


Plain = TaskContext[Order, None]
Paged = TaskContext[Order, Saved]


def tell(what: str, task_id: int, **details: Any) -> None:
    """Note it, with the worker that this process belongs to."""
    note(what, task_id, member=os.environ[MEMBER], **details)


def done(context: TaskContext[Order, Any] | SyncTaskContext[Order, Any]) -> Done:
    """The result of any of these tasks."""
    return Done(op=context.metadata.op, i=context.metadata.i)


@contextmanager
def told(context: TaskContext[Any, Any] | SyncTaskContext[Any, Any]) -> Iterator[None]:
    """Note the start, an exception of the handler's own, a stop that it obeys, and the end."""
    started: dict[str, Any] = {"attempt": context.attempt, "name": context.name}
    if isinstance(context.execution_metadata, Saved):
        started["page"] = context.execution_metadata.page
    tell("start", context.task_id, **started)
    try:
        yield
    except TaskStopped:
        tell("stopped", context.task_id, attempt=context.attempt, reason=context.stop.reason)
        raise
    except Exception as error:
        tell("raised", context.task_id, attempt=context.attempt, type=type(error).__name__)
        raise
    tell("end", context.task_id, attempt=context.attempt)


def saved(context: TaskContext[Any, Saved] | SyncTaskContext[Any, Saved]) -> None:
    """Note that the checkpoint is acknowledged."""
    page = context.execution_metadata.page
    tell("saved", context.task_id, page=page, attempt=context.attempt)
