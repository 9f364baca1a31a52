"""The service under the storm: a task of each kind, each telling the ledger what it does."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from tests.faults import policies
from tests.faults.telling import PATIENT, Done, Order, Paged, Plain, Saved, done, saved, tell, told

from perdure.declare.sync_context import SyncTaskContext
from perdure.run.events import TaskStarted
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended

POISONED: Final = 9
"""The exit code of a process that a task has killed."""
PAGES: Final = 5
STEPS: Final = 3

builder = TaskService.builder()
policies.declare(builder)


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
