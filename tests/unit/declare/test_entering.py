"""One use of a factory of each form: its value, its ticks, its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import pytest

from perdure.declare.entering import Entered
from perdure.run.slots import Threads

said: list[str] = []


class Value:
    def tick(self) -> None:
        said.append("tick")


class AsyncValue:
    async def tick(self) -> None:
        said.append("tick")


async def async_generator() -> AsyncIterator[Value]:
    said.append("in")
    yield Value()
    said.append("out")


def generator() -> Iterator[AsyncValue]:
    said.append("in")
    yield AsyncValue()
    said.append("out")


class AsyncManager(AsyncValue):
    async def __aenter__(self) -> Self:
        said.append("in")
        return self

    async def __aexit__(self, *_: object) -> None:
        said.append("out")


class Manager(Value):
    def __enter__(self) -> Self:
        said.append("in")
        return self

    def __exit__(self, *_: object) -> None:
        said.append("out")


async def async_steps() -> AsyncIterator[int]:
    said.append("in")
    try:
        yield 1
        while True:
            said.append("tick")
            yield 1
    finally:
        said.append("out")


def steps() -> Iterator[int]:
    said.append("in")
    try:
        yield 1
        while True:
            said.append("tick")
            yield 1
    finally:
        said.append("out")


FORMS: list[Callable[[], Any]] = [
    async_generator, generator, asynccontextmanager(async_generator), contextmanager(generator),
    AsyncManager, Manager, async_steps, steps,
]  # fmt: skip


def entered(factory: Callable[[], Any], *, ticks: bool = True) -> Entered:
    said.clear()
    return Entered(factory, Threads().run, ticks=ticks)


@pytest.mark.parametrize("factory", FORMS)
async def test_each_form_is_entered_ticked_and_left(factory: Callable[[], Any]) -> None:
    one = entered(factory)
    assert await one.enter() is not None
    await one.tick()
    await one.tick()
    assert not one.over
    await one.leave()
    await one.leave()
    assert said == ["in", "tick", "tick", "out"]


@pytest.mark.parametrize("factory", FORMS[:6])
async def test_without_ticks_a_form_with_one_yield_is_left_by_going_on(
    factory: Callable[[], Any],
) -> None:
    one = entered(factory, ticks=False)
    await one.enter()
    await one.leave()
    assert said == ["in", "out"]


@pytest.mark.parametrize("factory", [async_steps, steps])
async def test_a_second_yield_without_ticks_is_told_and_cleaned_up(
    factory: Callable[[], Any],
) -> None:
    one = entered(factory, ticks=False)
    await one.enter()
    with pytest.raises(RuntimeError, match="yields twice: give tick="):
        await one.leave()
    assert said[-1] == "out"


async def test_a_generator_that_raises_or_ends_has_no_further_tick() -> None:
    def raising() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    async def ending() -> AsyncIterator[int]:
        yield 1

    one = entered(raising)
    await one.enter()
    with pytest.raises(ValueError, match="no"):
        await one.tick()
    assert one.over
    other = entered(ending)
    await other.enter()
    with pytest.raises(RuntimeError, match="has ended"):
        await other.tick()
    assert other.over
    await other.leave()


async def test_what_gives_nothing_to_enter_or_to_tick_is_refused_readably() -> None:
    async def opened() -> int:
        return 1

    def bare() -> Iterator[int]:
        yield 7

    def nothing() -> Iterator[int]:
        yield from ()

    for factory, text in (
        (opened, "type coroutine: it must be a context manager"),
        (lambda: 7, "type int: it must be"),
        (nothing, "without a yield"),
        (contextmanager(bare), "nothing to tick: its value, of type int"),
    ):
        one = entered(factory)
        with pytest.raises(TypeError, match=text):
            await one.enter()
        await one.leave()


async def test_what_could_be_entered_in_a_thread_is_left_after_a_cancellation() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> Iterator[int]:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        said.append("in")
        yield 1
        said.append("out")

    one = entered(slow, ticks=False)
    entering = asyncio.create_task(one.enter())
    await began.wait()
    entering.cancel()
    go_on.set()
    await asyncio.wait([entering])
    await one.leave()
    assert said == ["in", "out"]
