"""Prices in another currency: a client that each process opens once, rates that one keeps fresh."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self

from pydantic import BaseModel

from perdure import SyncTaskContext, TaskContext, TaskKind, TaskService


class Order(BaseModel):
    what: str


class RatesClient:
    """Stands for a client that is dear to open."""

    async def __aenter__(self) -> Self:
        self.fetched = 0
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fetched = 0

    async def fetch(self) -> float:
        self.fetched += 1
        return 1.25

    async def tick(self) -> None:
        await self.fetch()  # so that the other side does not hang up


builder = TaskService.builder()
rates_client = builder.add_lifespan("rates client", RatesClient, tick=30)


@builder.lifespan
def price_list() -> Iterator[dict[str, float]]:
    prices = {"coffee": 4.0}  # before anything is claimed
    yield prices
    prices.clear()  # after the last handler has ended


class Convert:
    def __init__(self, client: RatesClient, prices: dict[str, float]) -> None:
        self.client = client
        self.prices = prices

    async def execute(self, context: TaskContext[Order, None]) -> float:
        return self.prices[context.metadata.what] * await self.client.fetch()


convert = TaskKind("order.convert", Order, result=float)
builder.add_task(lambda task: task.of(convert).made_by(Convert, rates_client, price_list))


@builder.task("prices.names")
def names(_context: SyncTaskContext[None, None]) -> list[str]:
    return sorted(price_list.value)


class Rates:
    """Held by one process at a time."""

    def __init__(self, context: TaskContext[None, Any]) -> None:
        self.context = context

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.context.logger.info("somebody else may hold the rates now")

    async def tick(self) -> None:
        rate = await rates_client.value.fetch()
        async with self.context.transaction() as connection:  # refused once another holds them
            await connection.execute("create table if not exists rates (rate float)")
            await connection.execute("insert into rates (rate) values (%s)", (rate,))


builder.add_singleton("rates", Rates, tick=timedelta(seconds=1))
service = builder.build()
