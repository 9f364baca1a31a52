"""Handles of lifespans: what is refused when they are declared, and where they have a value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.lifespans import Lifespan, provide, provided
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import LifespanError, RegistrationError
from perdure.tasks.outcomes import Success
from perdure.testing import run


def builder() -> ServiceBuilder[Declared]:
    return ServiceBuilder(lambda declared: declared)


async def client() -> AsyncIterator[str]:
    yield "client"


def files() -> Iterator[int]:
    yield 7


class Import:
    def __init__(self, client: str, files: int) -> None:
        self.made_of = (client, files)

    async def execute(self, _context: TaskContext[None, None]) -> list[Any]:
        return [*self.made_of]


class Held:
    """A handler that keeps the handle itself."""

    def __init__(self, client: Lifespan[str]) -> None:
        self.client = client

    def execute(self, _context: SyncTaskContext[None, None]) -> str:
        return self.client.value


async def singly(_context: TaskContext[None, None]) -> None:
    pass


def test_they_are_declared_in_order_and_named_by_their_functions() -> None:
    declaring = builder()
    first = declaring.add_lifespan("first", client)
    second = declaring.lifespan(files)
    third = declaring.lifespan(name="third", tick=30)(files)
    assert declaring.build().lifespans == (first, second, third)
    assert [(each.name, each.tick) for each in (first, second, third)] == [
        ("first", None), ("files", None), ("third", 30.0),
    ]  # fmt: skip


def test_a_handler_gets_the_values_of_the_test() -> None:
    declaring = builder()
    http, disk = declaring.add_lifespan("http", client), declaring.add_lifespan("disk", files)
    declaring.add_task(lambda task: task.named("import").made_by(Import, http, disk))
    (definition,) = declaring.build().registry
    values: dict[Lifespan[Any], Any] = {http: "fake", disk: 0}
    assert run(definition, lifespans=values) == Success(["fake", 0])
    assert run(Held(http), lifespans=values) == Success("fake")
    with pytest.raises(LifespanError, match="'http' has no value here"):
        run(Held(http))


async def test_a_value_is_that_of_its_context_also_in_tasks_and_threads() -> None:
    handle: Lifespan[str] = Lifespan("http", client, None)

    async def read() -> str:
        return handle.value

    async def of(value: str) -> list[str]:
        provide({handle: value})
        return [handle.value, await asyncio.create_task(read()), await asyncio.to_thread(value_of)]

    def value_of() -> str:
        return handle.value

    one, two = await asyncio.gather(of("one"), of("two"))
    assert (one, two) == (["one"] * 3, ["two"] * 3)
    with provided({handle: "block"}):
        assert handle.value == "block"
    with pytest.raises(LifespanError):
        assert handle.value


def test_every_mistake_is_told_when_the_service_is_built() -> None:
    async def opened() -> str:
        return "client"

    def unsaid(client: str):  # type: ignore[no-untyped-def]
        return Import(client, 7)

    declaring: Any = builder()
    http = declaring.add_lifespan("http", client)
    declaring.add_lifespan("http", client)
    declaring.add_lifespan("opened", opened)
    declaring.add_lifespan("asks", lambda more: files())
    declaring.add_lifespan("ticks", files, tick=0)
    declaring.add_lifespan("value", 7)
    foreign: Any = builder().add_lifespan("foreign", client)
    declaring.add_task(lambda task: task.named("few").made_by(Import, http))
    declaring.add_task(lambda task: task.named("odd").made_by(Import, http, 7))
    declaring.add_task(lambda task: task.named("unsaid").made_by(unsaid, http))
    declaring.add_task(lambda task: task.named("foreign").made_by(Import, http, foreign))
    declaring.add_singleton("ticks", client, tick=-1)
    declaring.add_singleton("asks", lambda context, more: files())
    declaring.add_singleton("b a d", client)
    declaring.add_singleton("rates", client)
    declaring.add_singleton("rates", client)
    declaring.add_singleton("", client)
    declaring.add_task(lambda task: task.named("singleton:mine").handled_by(singly))
    declaring.add_task(
        lambda task: task.named("ends").handled_by(singly).on_exhausted("singleton:rates")
    )
    with pytest.raises(RegistrationError) as caught:
        declaring.build()
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 16
    for text in (
        "the lifespan 'opened': its factory is a coroutine function: have it yield its value",
        "the lifespan 'asks': its factory cannot be called without arguments",
        "the lifespan 'ticks': tick=0: give 0.01 seconds or more, or None",
        "the lifespan 'value': 7 is no factory: give a generator function or the like",
        "the lifespan 'http' was added twice: rename one",
        "test_lifespans.Import) with 1 lifespans: missing a required argument",
        "test_lifespans.Import) was given 7, which is no lifespan",
        "does not say what it makes: annotate what it returns",
        "test_lifespans.Import uses the lifespan 'foreign' of another service",
        "the singleton 'ticks': -1 is not a delay",
        "the singleton 'asks': its factory cannot be called without arguments",
        "the name 'singleton:b a d' is not valid",
        "the name 'singleton:rates' is given to two tasks",
        "the name 'singleton:mine' is a singleton's: use another, or add_singleton",
        "a singleton has no name: give one to add_singleton",
        "on_exhausted='singleton:rates': workers put a singleton, nobody else does",
    ):
        assert text in said, said
