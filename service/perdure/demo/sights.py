"""The service of the tour, as a user writes one: a schedule, a chain, a constraint, a singleton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.demo import handlers
from perdure.service import TaskService
from perdure.tasks.triggers import Every

ROAD = "road:open"
HEARTBEAT = "tour.heartbeat"
LEDGER = "tour.ledger"
SECONDS_PER_STEP = 0.05
TICK_SECONDS = 0.2


class CountRequest(BaseModel):
    """Count the time zones of one region, such as `Europe`."""

    region: str


class CountReport(BaseModel):
    """How many there are, of one region or of all."""

    zones: int


class Delivery(BaseModel):
    """The checkpoint of a delivery: how far the van is."""

    steps: int = 0


class DeliveryRequest(BaseModel):
    """How far it has to go."""

    steps: int


count_zones = TaskKind("tour.count", CountRequest, result=CountReport)
add_up = TaskKind("tour.add-up", result=CountReport)
deliver = TaskKind("tour.deliver", DeliveryRequest, execution_metadata=Delivery)

builder = TaskService.builder()


@builder.schedule(Every(timedelta(seconds=1)), key=HEARTBEAT)
@builder.task(HEARTBEAT)
async def beat(context: TaskContext[None, None]) -> None:
    """Every second, whichever worker is free: once, whenever it is killed."""
    async with context.transaction(result=None) as connection:  # ends the task, too
        await connection.execute("insert into tour_beats (at) values (%s)", (context.fire_at,))


@builder.task(count_zones)
async def count(context: TaskContext[CountRequest, None]) -> CountReport:
    """One of many that run side by side."""
    await asyncio.sleep(SECONDS_PER_STEP)
    region = f"{context.metadata.region}/"
    return CountReport(zones=sum(row[2].startswith(region) for row in handlers.zones()))


@builder.task(add_up)
async def add(context: TaskContext[None, None]) -> CountReport:
    """After all of them: it reads what they have come to."""
    counts = (await context.inputs()).all("tour.count")
    return CountReport(zones=sum(one.result_as(CountReport).zones for one in counts))


@builder.task(deliver, requires=(ROAD,))
async def drive(context: TaskContext[DeliveryRequest, Delivery]) -> None:
    """A long way, that can be driven only while the road is open."""
    while context.execution_metadata.steps < context.metadata.steps:
        context.stop.check()
        async with context.transaction() as connection:
            await asyncio.sleep(SECONDS_PER_STEP)
            context.execution_metadata.steps += 1
            await connection.execute(
                "insert into tour_steps (step, attempt) values (%s, %s)",
                (context.execution_metadata.steps, context.attempt),
            )


async def keep_ledger(context: TaskContext[None, object]) -> AsyncIterator[None]:
    """One in the whole fleet: set up at the first `yield`, one tick at each after it."""
    while True:
        yield
        async with context.transaction() as connection:
            await connection.execute(
                "insert into tour_ticks (attempt) values (%s)", (context.attempt,)
            )


builder.add_singleton(LEDGER, keep_ledger, tick=TICK_SECONDS)

service = builder.build()
