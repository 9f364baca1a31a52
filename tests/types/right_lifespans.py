"""Lifespans and singletons as they are meant to be used: nothing in here may be refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self, assert_type

from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.lifespans import Lifespan
from perdure.testing import run


class Client:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class File:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@asynccontextmanager
async def opened() -> AsyncIterator[Client]:
    yield Client()


async def counted() -> AsyncIterator[int]:
    yield 7


builder = ServiceBuilder[Declared](lambda declared: declared)
client = builder.add_lifespan("client", Client, tick=30)
assert_type(client, Lifespan[Client])
assert_type(builder.add_lifespan("file", File), Lifespan[File])
assert_type(builder.add_lifespan("opened", opened), Lifespan[Client])
number = builder.add_lifespan("number", counted)
assert_type(number, Lifespan[int])
assert_type(number.value, int)


@builder.lifespan
def words() -> Iterator[list[str]]:
    yield ["a"]


@builder.lifespan(name="text", tick=0.5)
async def text() -> AsyncIterator[str]:
    yield words.value[0]


assert_type(words, Lifespan[list[str]])
assert_type(text, Lifespan[str])


class Uses:
    def __init__(self, client: Client, number: int) -> None:
        self.made_of = (client, number)

    async def execute(self, context: TaskContext[None, None]) -> int:
        return context.attempt


class Keeps:
    def __init__(self, client: Lifespan[Client]) -> None:
        self.client = client

    async def execute(self, _context: TaskContext[None, None]) -> None:
        assert_type(self.client.value, Client)


def holder(context: TaskContext[None, Any]) -> Iterator[int]:
    yield context.attempt


(
    builder.add_task(lambda task: task.named("uses").made_by(Uses, client, number))
    .add_task(lambda task: task.named("keeps").handled_by(Keeps(client)))
    .add_singleton("client", Client)
    .add_singleton("opened", opened, tick=1)
    .add_singleton("holder", holder, tick=1)
)
run(Keeps(client), lifespans={client: Client(), number: 3})
