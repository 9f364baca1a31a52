"""Singletons: tasks that do not end, each with at most one holder in the schema."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.definition import Handler, TaskDefinition, UniqueKey
from perdure.declare.entering import Entered
from perdure.declare.lifespans import Spanned, check_factory
from perdure.declare.registry import SINGLETON_PREFIX
from perdure.errors import LeaseLost, TaskStopped
from perdure.tasks.codec import Payload, clean_text
from perdure.tasks.policies import UNLIMITED, Exponential, RetryPolicy
from perdure.tasks.ticks import following

QUEUE: Final = "singletons"
"""Where they stand: workers serve it beside their slots, and it can be paused."""
BACKOFF: Final = Exponential(cap=60.0)
"""Failures of a task that does not end are never forgotten: the pause must not grow to an hour."""
PROBLEM_BYTES_MAX: Final = 300


class Ticks(BaseModel):
    """What a singleton keeps: the grid of its ticks, and how they went.

    origin, number: the last instant that was begun is `number` intervals after `origin`.
    at: that instant. failures: ticks that have raised. problem: why the last one did, if it did.
    """

    origin: float | None = None
    interval: float | None = None
    number: int = 0
    at: datetime | None = None
    failures: int = 0
    problem: str | None = None


SingletonContext: TypeAlias = TaskContext[None, Ticks]
SingletonFactory: TypeAlias = (
    Callable[[], Spanned[Any]] | Callable[[TaskContext[None, Any]], Spanned[Any]]
)
"""As `LifespanFactory`, and it may take the task's context."""


def singleton_definition(
    name: str, factory: SingletonFactory, interval: float | None
) -> TaskDefinition:
    """The task that holds a singleton.

    Raises:
        TypeError: the factory takes neither nothing nor the context; the name is no text.
    """
    if not isinstance(name, str):
        raise TypeError("give a text as its name")
    made = _taking_context(factory)
    key = f"{SINGLETON_PREFIX}{name}"

    async def hold(context: SingletonContext) -> None:
        await _hold(context, partial(made, context), interval)

    return TaskDefinition(
        name=key,
        handler=Handler(mode="async", make=lambda: hold, label=f"the singleton {name!r}"),
        metadata=Payload(NoneType),
        execution_metadata=Payload(Ticks),
        result=Payload(NoneType),
        error=Payload(NoneType),
        queue=QUEUE,
        retry=RetryPolicy(max_retries=UNLIMITED, backoff=BACKOFF),
        unique_key=UniqueKey(function=lambda _: key),
        description=f"the one holder of {name}",
        singleton=True,
    )


def _taking_context(factory: SingletonFactory) -> Callable[[SingletonContext], object]:
    """The factory as a function of the context, which it may take or not."""
    given: Callable[..., object] = factory
    try:
        check_factory(factory, None)
    except TypeError:
        check_factory(factory)
        return lambda _: given()
    return given


async def _hold(
    context: SingletonContext, make: Callable[[], object], interval: float | None
) -> None:
    """One run: enter, tick until it is to stop, leave."""
    entered = Entered(make, context.port.in_thread, ticks=interval is not None)
    try:
        await entered.enter()
        await _begin_grid(context, interval)
        if interval is None:
            await context.stop.wait()
        else:
            await _tick(context, entered, interval)
    finally:
        await _leave(context, entered)
    context.stop.check()


async def _begin_grid(context: SingletonContext, interval: float | None) -> None:
    """Save before the first tick: who has come so far is not to blame for crashes before."""
    ticks = context.execution_metadata
    if interval is not None and ticks.interval != interval:
        ticks.origin = await context.port.now() if ticks.at is None else ticks.at.timestamp()
        ticks.interval, ticks.number = interval, 0
    await context.checkpoint()


async def _tick(context: SingletonContext, entered: Entered, interval: float) -> None:
    """Tick on the grid until the run is to stop; an instant is saved before its tick."""
    origin = context.execution_metadata.origin or 0.0
    while not context.stop.requested:
        ticks, now = context.execution_metadata, await context.port.now()
        number = following(ticks.number, origin=origin, interval=interval, now=now)
        if not await _comes(context, origin + number * interval):
            return
        ticks.number = number
        ticks.at = datetime.fromtimestamp(origin + number * interval, UTC)
        await context.checkpoint()
        await _tick_once(context, entered)


async def _comes(context: SingletonContext, instant: float) -> bool:
    """Wait for an instant; False: the run is to stop before."""
    while (left := instant - await context.port.now()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await context.stop.wait()
        if context.stop.requested:
            return False
    return not context.stop.requested


async def _tick_once(context: SingletonContext, entered: Entered) -> None:
    """One tick. What it raises is told and counted, and the next one comes, but for what ends
    the run: a lost lease, a stop, and the end of a generator, which cannot go on."""
    try:
        await entered.tick()
    except (LeaseLost, TaskStopped):
        raise
    except Exception as error:
        ticks = context.execution_metadata
        ticks.failures += 1
        ticks.problem = clean_text(f"{type(error).__name__}: {error}", PROBLEM_BYTES_MAX)
        context.port.has_raised("tick", error)
        if entered.over:
            await context.checkpoint()
            raise
        context.checkpoint_soon()
    else:
        if context.execution_metadata.problem is not None:
            context.execution_metadata.problem = None
            context.checkpoint_soon()


async def _leave(context: SingletonContext, entered: Entered) -> None:
    """What raises here is told: whatever the run has come to, it is over."""
    try:
        await entered.leave()
    except Exception as error:  # noqa: BLE001  (a cleanup is the user's code)
        context.port.has_raised("cleanup", error)
