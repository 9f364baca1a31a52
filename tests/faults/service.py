"""The service under the storm: a task of each kind, each telling the ledger what it does."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.run.events import TaskStarted
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended
from perdure.tasks.policies import Delays, RetryPolicy

MEMBER: Final = "PERDURE_TEST_MEMBER"
"""Names the process of the fleet: a worker and its children have one name."""
POISONED: Final = 9
"""The exit code of a process that a task has killed."""
PAGES: Final = 5
STEPS: Final = 3
CANARY: Final = "canary-d41f0c77"
"""In the metadata of every task: no log may show it."""

PATIENT: Final = RetryPolicy(max_retries=-1, backoff=Delays([0.2]), jitter=0)
"""Whatever the faults make fail is tried again until it succeeds."""


class Order(BaseModel):
    """Metadata: the operation that asked for the task, and its number there."""

    op: str
    i: int = 0
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

builder = TaskService.builder()


def tell(what: str, task_id: int, **details: Any) -> None:
    """Note it, with the worker that this process belongs to."""
    note(what, task_id, member=os.environ[MEMBER], **details)


def done(context: TaskContext[Order, Any] | SyncTaskContext[Order, Any]) -> Done:
    """The result of any of these tasks."""
    return Done(op=context.metadata.op, i=context.metadata.i)


@contextmanager
def told(context: TaskContext[Any, Any] | SyncTaskContext[Any, Any]) -> Iterator[None]:
    """Note the start, an exception of the handler's own, and the end."""
    started: dict[str, Any] = {"attempt": context.attempt, "name": context.name}
    if isinstance(context.execution_metadata, Saved):
        started["page"] = context.execution_metadata.page
    tell("start", context.task_id, **started)
    try:
        yield
    except Exception as error:
        tell("raised", context.task_id, attempt=context.attempt, type=type(error).__name__)
        raise
    tell("end", context.task_id, attempt=context.attempt)


def saved(context: TaskContext[Any, Saved] | SyncTaskContext[Any, Saved]) -> None:
    """Note that the checkpoint is acknowledged."""
    page = context.execution_metadata.page
    tell("saved", context.task_id, page=page, attempt=context.attempt)


@builder.task("short", retry=PATIENT)
async def short(context: Plain) -> Done:
    """Nothing but its result."""
    with told(context):
        return done(context)


@builder.task("effect", retry=PATIENT)
async def effect(context: Plain) -> Done:
    """One row, and the end of the task, in one transaction."""
    with told(context):
        result = done(context)
        async with context.transaction(result=result) as connection:
            await connection.execute(
                "insert into effects (task_id, attempt, pid) values (%s, %s, %s)",
                (context.task_id, context.attempt, os.getpid()),
            )
        return result


@builder.task("pages", retry=PATIENT)
async def pages(context: Paged) -> Done:
    """Page after page, each with its checkpoint in one transaction."""
    with told(context):
        while context.execution_metadata.page < PAGES:
            async with context.transaction() as connection:
                await connection.execute(
                    "insert into pages (task_id, attempt, page) values (%s, %s, %s)",
                    (context.task_id, context.attempt, context.execution_metadata.page),
                )
                context.execution_metadata.page += 1
            saved(context)
            await asyncio.sleep(0.02)
        return done(context)


@builder.task("durable", retry=PATIENT)
async def durable(context: Paged) -> Done:
    """A checkpoint after each of some slow parts."""
    with told(context):
        while context.execution_metadata.page < PAGES:
            await asyncio.sleep(0.3)
            context.execution_metadata.page += 1
            await context.checkpoint()
            saved(context)
        return done(context)


@builder.task("steps", retry=PATIENT)
async def steps(context: Plain) -> Done:
    """Steps whose results are kept."""

    def body(number: int) -> int:
        tell("body", context.task_id, step=number, attempt=context.attempt)
        return number

    with told(context):
        for number in range(STEPS):
            await context.step(f"step {number}", body, number)
            tell("stepped", context.task_id, step=number, attempt=context.attempt)
            await asyncio.sleep(0.05)
        return done(context)


@builder.task("thread", retry=PATIENT)
def thread(context: SyncTaskContext[Order, Saved]) -> Done:
    """The same in a thread."""
    with told(context):
        while context.execution_metadata.page < PAGES:
            time.sleep(0.1)
            context.execution_metadata.page += 1
            context.checkpoint()
            saved(context)
        return done(context)


@builder.task("isolated", retry=PATIENT, isolated=True)
def isolated(context: SyncTaskContext[Order, None]) -> Done:
    """In a child process of its own."""
    with told(context):
        time.sleep(0.05)
        return done(context)


@builder.task("retrying", retry=PATIENT)
async def retrying(context: Plain) -> Done:
    """Fails as often as its number says."""
    with told(context):
        if context.failures < context.metadata.i % 3:
            raise RuntimeError("not yet")
        return done(context)


@builder.task("suspending", retry=PATIENT)
async def suspending(context: Paged) -> Done | Suspended:
    """Waits for a signal, and ends after it."""
    with told(context):
        if context.execution_metadata.page == 0:
            context.execution_metadata.page = 1
            return Suspended(wait_key=wait_key(context.metadata.op, context.metadata.i))
        return done(context)


@builder.task("keyed", retry=PATIENT)
async def keyed(context: Plain) -> Done:
    """Holds a unique key for a while."""
    with told(context):
        await asyncio.sleep(0.1)
        return done(context)


@builder.task("poison", retry=PATIENT)
async def poison(context: Plain) -> Done:
    """Kills whichever process runs it."""
    tell("start", context.task_id, attempt=context.attempt, name="poison")
    tell("poison", context.task_id, attempt=context.attempt)
    os._exit(POISONED)


def wait_key(operation: str, number: int) -> str:
    """The key that such a task suspends with."""
    return f"{operation}/{number}"


def begun(event: TaskStarted) -> None:
    """Note what the worker begins: a handler in a child process comes to its first line later."""
    tell("begun", event.task_id, attempt=event.attempt)


builder.on("task.started", begun)
service: Any = builder.build()
