"""A service of lifespans, a schedule and a singleton; each notes what becomes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kit.ledger import VARIABLE, note

from perdure.declare.context import TaskContext
from perdure.errors import LeaseLost
from perdure.service import TaskService
from perdure.tasks.triggers import Every

SETUP = "TEST_SETUP"
"""What the setup of `third` does: it `raises`, or it `hangs`; else it goes well."""
INTERVAL = 0.25

builder = TaskService.builder()


@builder.lifespan
async def first() -> AsyncIterator[str]:
    """On the loop."""
    note("enter", 1)
    yield f"first of {os.getpid()}"
    note("leave", 1)


@builder.lifespan
def second() -> Iterator[str]:
    """In a thread, of what the first has given."""
    note("enter", 2)
    yield f"second after {first.value}"
    note("leave", 2)


@builder.lifespan
async def third() -> AsyncIterator[None]:
    """As the environment says."""
    match os.environ.get(SETUP):
        case "raises":
            raise ConnectionError("no answer\nfrom the other side")
        case "hangs":
            note("hangs", 3)
            await asyncio.Event().wait()
    note("enter", 3)
    yield
    note("leave", 3)


@builder.task("use")
async def use(context: TaskContext[None, None]) -> str:
    """Tell the value; the first run notes that it ends only when it is stopped."""
    note("start", context.task_id, value=second.value)
    return second.value


@builder.task("stay")
async def stay(context: TaskContext[None, None]) -> None:
    """Until it is stopped."""
    note("start", context.task_id)
    try:
        await context.stop.wait()
        context.stop.check()
    finally:
        note("end", context.task_id, value=second.value)


@builder.task("fail", retry=0)
def fail(context: Any) -> None:
    """Fail."""
    note("start", context.task_id)
    raise ValueError(second.value)


@builder.task("apart", isolated=True)
async def apart(_context: TaskContext[None, None]) -> str:
    """In a child of its own, on its loop."""
    return second.value


@builder.task("apart.plain", isolated=True)
def apart_plain(_context: Any) -> str:
    """In a child of its own, in its main thread."""
    return second.value


@builder.schedule(Every(1))
@builder.task("fired")
async def fired(context: TaskContext[None, None]) -> None:
    """One for each instant."""
    at = context.fire_at
    note("fired", context.task_id, value=first.value, at_instant=at.isoformat() if at else None)


def frozen() -> Path:
    """Names the process whose next tick is to wait until this file is gone."""
    return Path(os.environ[VARIABLE] + ".frozen")


async def holder(context: TaskContext[None, Any]) -> AsyncIterator[None]:
    """Write a row for each tick, and for the beginning and the end of the hold."""
    note("hold", context.task_id, attempt=context.attempt, value=second.value)
    try:
        yield
        while True:
            await _tick(context)
            yield
    finally:
        note("release", context.task_id, attempt=context.attempt)


async def _tick(context: TaskContext[None, Any]) -> None:
    file = frozen()
    with suppress(FileNotFoundError):
        if file.read_text() == str(os.getpid()):
            note("waits", context.task_id, number=context.execution_metadata.number)
            while file.exists():  # noqa: ASYNC110  (another process takes it away)
                await asyncio.sleep(0.005)
    number = context.execution_metadata.number
    try:
        async with context.transaction() as connection:
            await connection.execute(
                "insert into ticks (attempt, number) values (%s, %s)", (context.attempt, number)
            )
    except LeaseLost as error:
        state = getattr(error.__cause__, "sqlstate", None)
        note("lost", context.task_id, attempt=context.attempt, sqlstate=state)
        raise


builder.add_singleton("holder", holder, tick=INTERVAL)
service: Any = builder.build()
"""All of them."""
