"""A service with a task for each way in which a run writes, each telling the ledger what it did."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Retry, Suspended
from perdure.tasks.policies import Delays, RetryPolicy

PAGES = 4
DESCRIPTORS = 256
PATIENT = RetryPolicy(max_retries=-1, backoff=Delays([0.05]), jitter=0)
"""Whatever the faults make fail is tried again until it succeeds."""


class Order(BaseModel):
    """Metadata: a number."""

    n: int = 0


class Book(BaseModel):
    """A checkpoint: how many pages are done."""

    page: int = 0


Plain = TaskContext[Order, None]
Paged = TaskContext[Order, Book]

builder = TaskService.builder()


def began(context: Plain | Paged) -> None:
    """Note the start, with the page it goes on from."""
    page = getattr(context.execution_metadata, "page", 0)
    note("start", context.task_id, attempt=context.attempt, page=page)


@builder.task("short", retry=PATIENT)
async def short(context: Plain) -> int:
    """Takes n ms, and ends plainly."""
    began(context)
    await asyncio.sleep(context.metadata.n / 1000)
    return context.metadata.n


@builder.task("alone", retry=PATIENT, isolated=True)
async def alone(context: Plain) -> int:
    """Runs in a process of its own."""
    began(context)
    return context.metadata.n


@builder.task("hoards", retry=PATIENT)
async def hoards(context: Plain) -> None:
    """Takes every descriptor that its process may have, for n ms."""
    began(context)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, limits[1]), limits[1]))
    try:
        note("full", context.task_id)
        with suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        await asyncio.sleep(context.metadata.n / 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


@builder.task("again", retry=PATIENT)
async def again(context: Plain) -> int | Retry[None]:
    """Wants to be run a second time, soon."""
    began(context)
    return Retry(after=0.05) if context.failures == 0 else context.failures


@builder.task("suspends", retry=PATIENT)
async def suspends(context: Paged) -> int | Suspended:
    """Waits for a time that comes soon."""
    began(context)
    if context.execution_metadata.page == 0:
        context.execution_metadata.page = 1
        return Suspended(until=datetime.now(UTC) + timedelta(milliseconds=50))
    return context.execution_metadata.page


@builder.task("saves", retry=PATIENT)
async def saves(context: Paged) -> int:
    """A durable checkpoint after each page."""
    began(context)
    while context.execution_metadata.page < PAGES:
        context.execution_metadata.page += 1
        await context.checkpoint()
        note("saved", context.task_id, page=context.execution_metadata.page)
    return context.execution_metadata.page


@builder.task("pages", retry=PATIENT)
async def pages(context: Paged) -> int:
    """Page after page, each with its checkpoint in one transaction; n ms each."""
    began(context)
    while context.execution_metadata.page < PAGES:
        async with context.transaction() as connection:
            await connection.execute(
                "insert into pages values (%s, %s)",
                (context.task_id, context.execution_metadata.page),
            )
            await asyncio.sleep(context.metadata.n / 1000)
            context.execution_metadata.page += 1
        note("saved", context.task_id, page=context.execution_metadata.page)
    return context.execution_metadata.page


@builder.task("effect", retry=PATIENT)
async def effect(context: Plain) -> int:
    """One row, and the end of the task, in one transaction."""
    began(context)
    async with context.transaction(result=context.metadata.n) as connection:
        await connection.execute("insert into effects values (%s)", (context.task_id,))
    return context.metadata.n


@builder.task("own", retry=PATIENT)
async def own(context: Plain) -> int:
    """The same on a connection of the handler's own."""
    began(context)
    async with await psycopg.AsyncConnection.connect(os.environ["PERDURE_DSN"]) as connection:
        await connection.execute("insert into effects values (%s)", (context.task_id,))
        await context.complete(context.metadata.n, on=connection)
    return context.metadata.n


@builder.task("parent", retry=PATIENT)
async def parent(context: Plain) -> int:
    """Enqueues a child in a transaction that ends itself: there is one child, whatever happens."""
    began(context)
    async with context.transaction(result=context.metadata.n) as connection:
        await connection.execute("insert into effects values (%s)", (context.task_id,))
        await context.enqueue("short", on=connection)
    return context.metadata.n


service: Any = builder.build()
