"""Tasks for worker processes under a supervisor, behind a pooler, or with other settings."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended
from perdure.tasks.policies import Delays, RetryPolicy

PAGES = 12
LOOK_SECONDS = 0.02
EATEN_BYTES = 160 * 2**20
SOON = RetryPolicy(backoff=Delays([0]))

eaten: list[bytes] = []


class Order(BaseModel):
    """Metadata: a number, or a file to wait for."""

    n: int = 0
    file: Path | None = None


class Book(BaseModel):
    """A checkpoint: pages that are stored."""

    page: int = 0
    token: str | None = None


builder = TaskService.builder()


@builder.task("short")
async def short(context: TaskContext[Order, None]) -> int:
    """Note the start, return the number."""
    note("start", context.task_id)
    return context.metadata.n


@builder.task("endless")
async def endless(context: TaskContext[Order, None]) -> None:
    """Run until somebody stops it."""
    note("start", context.task_id)
    await asyncio.Event().wait()


@builder.task("grow")
async def grow(context: TaskContext[Order, None]) -> None:
    """Take memory that is never given back."""
    note("start", context.task_id)
    eaten.append(os.urandom(1) * EATEN_BYTES)


@builder.task("pages")
async def pages(context: TaskContext[Order, Book]) -> int:
    """Store page after page, n milliseconds each, with its checkpoint in one transaction."""
    note("start", context.task_id, page=context.execution_metadata.page)
    while context.execution_metadata.page < PAGES:
        async with context.transaction() as connection:
            page = context.execution_metadata.page
            await connection.execute(
                "insert into pages (task_id, page) values (%s, %s)", (context.task_id, page)
            )
            note("page", context.task_id, page=page)
            await asyncio.sleep(context.metadata.n / 1000)
            context.execution_metadata.page += 1
    return context.execution_metadata.page


@builder.task("fails", retry=SOON)
async def fails(context: TaskContext[Order, None]) -> int:
    """Fail as often as the number says, then return it."""
    note("start", context.task_id)
    if context.failures < context.metadata.n:
        raise ValueError
    return context.failures


@builder.task("fails.later", retry=SOON)
async def fails_later(context: TaskContext[Order, None]) -> int:
    """The first run fails when a file is there."""
    note("start", context.task_id)
    while context.failures == 0:
        if context.metadata.file is not None and context.metadata.file.exists():
            raise ValueError
        await asyncio.sleep(LOOK_SECONDS)
    return context.failures


@builder.task("suspends")
async def suspends(context: TaskContext[Order, Book]) -> str | Suspended | None:
    """Wait for a token, then return it."""
    note("start", context.task_id)
    if context.execution_metadata.token is None:
        return Suspended(wait_key=f"token:{context.metadata.n}")
    return context.execution_metadata.token


service: Any = builder.build()
