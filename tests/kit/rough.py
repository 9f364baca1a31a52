"""A service whose tasks go through rough times: they kill their process, block it, outlive it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel
from tests.kit.ledger import VARIABLE, note

from perdure.declare.context import TaskContext
from perdure.errors import LeaseLost
from perdure.service import TaskService
from perdure.tasks.outcomes import Retry


class Request(BaseModel):
    """Metadata: a number, and a word."""

    n: int = 0
    how: str = ""


class Pages(BaseModel):
    """A checkpoint."""

    page: int = 0


WRITTEN = 3
Plain = TaskContext[Request, None]
Paged = TaskContext[Request, Pages]

builder = TaskService.builder()


def gate() -> Path:
    """The file that lets the gated tasks go on."""
    return Path(os.environ[VARIABLE] + ".go")


async def opened() -> None:
    """Wait until the test has made the file."""
    while not gate().exists():  # noqa: ASYNC110  (it is made by another process)
        await asyncio.sleep(0.01)


async def closed() -> None:
    """Wait until the test has removed it."""
    while gate().exists():  # noqa: ASYNC110  (as above)
        await asyncio.sleep(0.01)


@builder.task("poison")
async def poison(context: Plain) -> None:
    """Kills its process: at once, by reading what is not there, or when the gate is open."""
    note("start", context.task_id, parent=os.getppid())
    if context.metadata.how == "segfault":
        ctypes.string_at(0)
    if context.metadata.how == "gated":
        await opened()
    os._exit(9)


@builder.task("neighbour")
async def neighbour(context: Plain) -> int:
    """Takes n ms, and does nothing bad."""
    note("start", context.task_id, parent=os.getppid())
    await asyncio.sleep(context.metadata.n / 1000)
    return context.metadata.n


@builder.task("stays")
async def stays(context: Plain) -> int:
    """Waits for ever in its first n runs."""
    note("start", context.task_id, parent=os.getppid(), attempt=context.attempt)
    if context.attempt <= context.metadata.n:
        await asyncio.Event().wait()
    return context.attempt


@builder.task("climber")
async def climber(context: Paged) -> int:
    """Saves a page in each run, and kills its process after each of the first n."""
    note("start", context.task_id, page=context.execution_metadata.page)
    context.execution_metadata.page += 1
    await context.checkpoint()
    if context.execution_metadata.page <= context.metadata.n:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.execution_metadata.page


@builder.task("gated")
async def gated(context: Paged) -> int:
    """The first run saves page 3, goes on to 4 and stays; the next waits for the gate."""
    note("start", context.task_id, page=context.execution_metadata.page)
    if context.attempt == 1:
        context.execution_metadata.page = 3
        await context.checkpoint()
        context.execution_metadata.page = 4
        note("saved", context.task_id)
        await asyncio.Event().wait()
    await opened()
    context.execution_metadata.page += 1
    await context.checkpoint()
    note("saved", context.task_id)
    await asyncio.Event().wait()
    return context.execution_metadata.page


@builder.task("writer")
async def writer(context: Paged) -> int:
    """The first run writes three pages behind the gate, waits for the next gate, and goes on."""
    note("start", context.task_id, page=context.execution_metadata.page)
    if context.attempt == 1:
        await opened()
    while context.execution_metadata.page < WRITTEN:
        await write_page(context)
    if context.attempt == 1:
        note("written", context.task_id)
        await closed()
        await opened()
        note("goes on", context.task_id)
        if context.metadata.how == "checkpoint":
            await context.checkpoint()
        elif context.metadata.how == "transaction":
            await write_page(context)
    return context.execution_metadata.page


@builder.task("writer_apart", isolated=True)
async def writer_apart(context: Paged) -> int:
    """The same in a child process."""
    return await writer(context)


async def write_page(context: Paged) -> None:
    """A page and its checkpoint in one transaction."""
    page = context.execution_metadata.page
    async with context.transaction() as connection:
        await connection.execute("insert into pages values (%s, %s)", (context.task_id, page))
        context.execution_metadata.page += 1


@builder.task("zombie")
async def zombie(context: Paged) -> int:
    """The first run stays until the lease is lost; then it tries all that it may not do."""
    note("start", context.task_id)
    if context.attempt > 1:
        context.execution_metadata.page = 2
        return 2
    while True:
        await asyncio.sleep(0.02)
        context.execution_metadata.page = 1
        try:
            await context.checkpoint()
        except LeaseLost:
            break
    note("checkpoint refused", context.task_id)
    try:
        async with context.transaction() as connection:
            await connection.execute("insert into effects values (%s)", (context.task_id,))
    except LeaseLost:
        note("transaction refused", context.task_id)
    try:
        async with (
            await psycopg.AsyncConnection.connect(os.environ["PERDURE_DSN"]) as own,
            own.transaction(),
        ):
            await own.execute("insert into effects values (%s)", (context.task_id,))
            await context.checkpoint(on=own)
    except LeaseLost:
        note("own transaction refused", context.task_id)
    return 1


@builder.task("stepped")
async def stepped(context: Plain) -> int:
    """Two steps, with a stop between them."""

    def body(value: int) -> int:
        note("body", context.task_id, value=value)
        return value

    note("start", context.task_id)
    first = await context.step("first", body, 1)
    if context.attempt == 1:
        note("between", context.task_id)
        await asyncio.Event().wait()
    return first + await context.step("second", body, 2)


@builder.task("committed")
async def committed(context: Plain) -> int:
    """Ends itself in a transaction, and its process right after the commit, or right before."""
    note("start", context.task_id)
    insert = "insert into effects values (%s)"
    if context.metadata.how == "transaction":
        async with context.transaction(result=7) as connection:
            await connection.execute(insert, (context.task_id,))
    else:
        async with await psycopg.AsyncConnection.connect(os.environ["PERDURE_DSN"]) as own:
            await own.execute(insert, (context.task_id,))
            await context.complete(7, on=own)
            if context.metadata.how == "before" and not gate().exists():
                os.kill(os.getpid(), signal.SIGKILL)
    if context.metadata.how != "before":
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


@builder.task("sleeper")
async def sleeper(context: Plain) -> int:
    """Takes n ms and lets others work."""
    note("start", context.task_id)
    await asyncio.sleep(context.metadata.n / 1000)
    note("end", context.task_id)
    return context.attempt


@builder.task("blocker")
async def blocker(context: Plain) -> int:
    """Takes n ms and lets nobody on the event loop work."""
    note("start", context.task_id)
    time.sleep(context.metadata.n / 1000)  # noqa: ASYNC251  (the fault that the test is about)
    note("end", context.task_id)
    return context.attempt


@builder.task("again")
async def again(context: Plain) -> int | Retry[None]:
    """Wants to be retried in n s, once; says what time it is in this process."""
    note("start", context.task_id, clock=time.time())
    if context.failures == 0:
        return Retry(after=context.metadata.n)
    return context.attempt


service: Any = builder.build()
