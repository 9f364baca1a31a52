"""A service whose handlers run in child processes, and do there what children should survive."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from typing import Any, NoReturn

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.run.pipe import packed
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure, Suspended
from perdure.tasks.policies import RetryPolicy, Timeouts


class Number(BaseModel):
    """Metadata and result of most of them."""

    n: int = 0


class Pages(BaseModel):
    """A checkpoint."""

    page: int = 0


class Problem(BaseModel):
    """A typed error."""

    reason: str


class Broken(Exception):
    """An exception of which the policy says that it is final."""


PAGES = 7
EATEN_BYTES = 4 * 2**30

plain = TaskKind("plain", Number, result=Number)
works = TaskKind("works", Number, execution_metadata=Pages, result=Number)
loops = TaskKind("loops", Number, execution_metadata=Pages, result=Number)
fails = TaskKind("fails", Number, error=Problem)
raises = TaskKind("raises", Number)
suspends = TaskKind("suspends", Number, execution_metadata=Pages, result=Number)
obeys = TaskKind("obeys", Number, execution_metadata=Pages, result=Number)
cancelled = TaskKind("cancelled", Number)
sleeps = TaskKind("sleeps", Number)
deaf = TaskKind("deaf", Number)
holds = TaskKind("holds", Number)
ignores = TaskKind("ignores", Number, result=Number)
waits = TaskKind("waits", Number, result=Number)
eats = TaskKind("eats", Number)
leaves = TaskKind("leaves", Number)
neighbour = TaskKind("neighbour", Number, result=Number)
poison = TaskKind("poison", Number)

babbles = TaskKind("babbles", Number)

go_on = asyncio.Event()
"""The neighbour waits for it, in the test's own process."""

builder = TaskService.builder()


@builder.task(plain, isolated=True)
def run_plain(context: SyncTaskContext[Number, None]) -> Number:
    """Say where it runs."""
    note("start", context.task_id, parent=os.getppid())
    return Number(n=context.metadata.n + 1)


@builder.task(babbles, isolated=True)
def run_babbles(context: SyncTaskContext[Number, None]) -> None:
    """Write into the pipe what is no message, as a fork that went wrong might."""
    note("start", context.task_id)
    os.write(int(sys.argv[1]), packed([context.task_id]))  # type: ignore[arg-type]
    context.stop.wait()


@builder.task(works, isolated=True)
def run_works(context: SyncTaskContext[Number, Pages]) -> Number:
    """Use all that a context can do; the second run finds what the first has saved."""
    context.execution_metadata.page = context.attempt
    context.checkpoint()
    context.progress(context.attempt, 2, "half")
    done = context.step("once", _once, context.task_id)
    with context.transaction() as connection:
        connection.execute("insert into effects (task_id) values (%s)", (context.task_id,))
        context.execution_metadata.page += 10
    context.enqueue(plain, Number(n=done))
    if context.attempt == 1:
        raise RuntimeError("the first run fails")
    with context.transaction(result=Number(n=done)) as connection:
        connection.execute("insert into effects (task_id) values (%s)", (context.task_id,))
    return Number(n=done)


def _once(task_id: int) -> int:
    note("once", task_id)
    return 41


@builder.task(loops, isolated=True)
async def run_loops(context: TaskContext[Number, Pages]) -> Number:
    """The same on a loop."""
    context.execution_metadata.page = 1
    await context.checkpoint()
    context.progress(1, 2)
    done = await context.step("once", _once, context.task_id)
    async with context.transaction() as connection:
        await connection.execute("insert into effects (task_id) values (%s)", (context.task_id,))
        context.execution_metadata.page = 2
    await context.enqueue(plain, Number(n=done))
    note("last", context.task_id, last=context.is_last_attempt)
    return Number(n=done)


@builder.task(fails, isolated=True)
def run_fails(_: SyncTaskContext[Number, None]) -> Failure[Problem]:
    """Fail with a typed error."""
    return Failure(Problem(reason="no luck"), final=True)


@builder.task(raises, isolated=True, retry=RetryPolicy(give_up_on=(Broken,)))
def run_raises(_: SyncTaskContext[Number, None]) -> NoReturn:
    """Raise what is not retried."""
    raise Broken("not again")


@builder.task(suspends, isolated=True)
def run_suspends(context: SyncTaskContext[Number, Pages]) -> Number | Suspended:
    """Wait for a signal, which says the page."""
    if context.run_reason != "proceeded":
        return Suspended(wait_key="signal")
    return Number(n=context.execution_metadata.page)


@builder.task(obeys, isolated=True)
def run_obeys(context: SyncTaskContext[Number, Pages]) -> Number:
    """The first run counts a page and waits to be stopped; the next one returns."""
    if context.execution_metadata.page == 0:
        context.execution_metadata.page = PAGES
        note("start", context.task_id)
        context.stop.wait()
        note("stop", context.task_id, reason=context.stop.reason)
        context.stop.check()
    return Number(n=context.execution_metadata.page)


@builder.task(cancelled, isolated=True)
async def run_cancelled(context: TaskContext[Number, None]) -> None:
    """Do not look at requests to stop: CancelledError ends it."""
    note("start", context.task_id)
    try:
        await asyncio.Event().wait()
    finally:
        note("unwound", context.task_id, reason=context.stop.reason)


@builder.task(sleeps, isolated=True, retry=0, timeout=Timeouts(hard=2))
def run_sleeps(context: SyncTaskContext[Number, None]) -> None:
    """Sleep beyond the hard timeout."""
    try:
        time.sleep(60)
    finally:
        note("unwound", context.task_id, reason=context.stop.reason)


@builder.task(deaf, isolated=True, retry=0, timeout=Timeouts(hard=2))
def run_deaf(context: SyncTaskContext[Number, None]) -> None:
    """Do not even stop for SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("start", context.task_id)
    while True:
        time.sleep(60)


@builder.task(holds, isolated=True, retry=0)
def run_holds(context: SyncTaskContext[Number, None]) -> None:
    """Keep the interpreter in C code: no other thread of this process runs meanwhile."""
    note("start", context.task_id)
    ctypes.PyDLL(None).sleep(10)


@builder.task(ignores, isolated=True)
def run_ignores(context: SyncTaskContext[Number, None]) -> Number:
    """Get a SIGTERM from somebody else."""
    os.kill(os.getpid(), signal.SIGTERM)
    return Number(n=context.attempt)


@builder.task(waits, isolated=True)
def run_waits(context: SyncTaskContext[Number, None]) -> Number:
    """The first run waits, for somebody to kill it."""
    note("start", context.task_id)
    if context.attempt == 1:
        context.stop.wait()
    return Number(n=context.attempt)


@builder.task(eats, isolated=True, retry=0)
def run_eats(context: SyncTaskContext[Number, None]) -> None:
    """Ask for more memory than there is."""
    note("eaten", context.task_id, size=len(bytearray(EATEN_BYTES)))


@builder.task(leaves, isolated=True)
def run_leaves(_: SyncTaskContext[Number, None]) -> None:
    """End the process without a word."""
    os._exit(3)


@builder.task(neighbour)
async def run_neighbour(context: TaskContext[Number, None]) -> Number:
    """Run in the worker itself until it is told to go on."""
    note("start", context.task_id)
    await go_on.wait()
    return Number(n=context.attempt)


@builder.task(poison)
async def run_poison(context: TaskContext[Number, None]) -> None:
    """Kill whatever process it runs in."""
    note("start", context.task_id)
    os.kill(os.getpid(), signal.SIGKILL)


service: Any = builder.build()
