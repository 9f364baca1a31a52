"""The service that most tests run: one task of each kind that the engine has to carry."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService


class Number(BaseModel):
    """Metadata of most of them."""

    n: int = 0


class Pages(BaseModel):
    """A checkpoint: how many pages are done."""

    page: int = 0


COUNT = 20

short = TaskKind("short", Number, result=Number)
effect = TaskKind("effect", Number, result=Number)
pages = TaskKind("pages", Number, execution_metadata=Pages, result=Number)
gate = TaskKind("gate", Number, execution_metadata=Pages, result=Number)
stubborn = TaskKind("stubborn", Number, result=Number)
thread = TaskKind("thread", Number, execution_metadata=Pages, result=Number)

builder = TaskService.builder()


@builder.task(short)
async def run_short(context: TaskContext[Number, None]) -> Number:
    """Note the start, return the number."""
    note("start", context.task_id)
    return Number(n=context.metadata.n)


@builder.task(effect)
async def run_effect(context: TaskContext[Number, None]) -> Number:
    """Write one row and complete in the same transaction."""
    result = Number(n=context.metadata.n)
    note("start", context.task_id)
    async with context.transaction(result=result) as connection:
        await connection.execute("insert into effects (task_id) values (%s)", (context.task_id,))
        note("effect", context.task_id)
    return result


@builder.task(pages)
async def run_pages(context: TaskContext[Number, Pages]) -> Number:
    """Store page after page, each with its checkpoint in one transaction."""
    note("start", context.task_id, page=context.execution_metadata.page)
    while context.execution_metadata.page < COUNT:
        async with context.transaction() as connection:
            page = context.execution_metadata.page
            await connection.execute(
                "insert into pages (task_id, page) values (%s, %s)", (context.task_id, page)
            )
            note("page", context.task_id, page=page)
            await asyncio.sleep(context.metadata.n / 1000)
            context.execution_metadata.page += 1
    return Number(n=context.execution_metadata.page)


@builder.task(gate)
async def run_gate(context: TaskContext[Number, Pages]) -> Number:
    """The first run counts a page and waits to be stopped; the next one returns."""
    note("start", context.task_id, page=context.execution_metadata.page)
    if context.execution_metadata.page == 0:
        context.execution_metadata.page = 7
        await asyncio.Event().wait()
    return Number(n=context.execution_metadata.page)


@builder.task(stubborn)
async def run_stubborn(context: TaskContext[Number, None]) -> Number:
    """The first run ignores every request to stop."""
    note("start", context.task_id, attempt=context.attempt)
    while context.attempt == 1:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note("ignored", context.task_id)
    return Number(n=context.attempt)


@builder.task(thread)
def run_thread(context: SyncTaskContext[Number, Pages]) -> Number:
    """The same as gate, in a thread."""
    note("start", context.task_id, page=context.execution_metadata.page)
    if context.execution_metadata.page == 0:
        context.execution_metadata.page = 7
        context.stop.wait()
        context.stop.check()
    return Number(n=context.execution_metadata.page)


service: Any = builder.build()
