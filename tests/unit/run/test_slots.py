"""Slots: who is woken when, and that runs which never wait leave the event loop its turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from perdure.run.slots import Slots
from perdure.tasks.places import Claimed

Run = Callable[[Claimed, "asyncio.Task[object]"], Awaitable[None]]


class Bench:
    """Slots over a buffer, and what they ran."""

    def __init__(self, slots: int, run: Run) -> None:
        self.buffer: deque[Claimed] = deque()
        self.looks = 0
        self.open = True
        self.slots = Slots(take=self._take, run=run, took=lambda: None)
        self.slots.resize(slots)

    def put(self, count: int) -> None:
        self.buffer.extend(Claimed("", number, "a", "{}") for number in range(count))
        self.slots.fill()

    def _take(self) -> Claimed | None:
        self.looks += 1
        return self.buffer.popleft() if self.buffer and self.open else None


@asynccontextmanager
async def bench(slots: int, run: Run) -> AsyncIterator[Bench]:
    made = Bench(slots, run)
    await turns(2)
    yield made
    await made.slots.idle()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_as_many_runs_as_there_are_slots_wait_at_once() -> None:
    go = asyncio.Event()

    async def waits(_: Claimed, __: object) -> None:
        await go.wait()

    async with bench(64, waits) as made:
        made.put(100)
        await turns(64)
        assert made.slots.busy == 64
        assert len(made.buffer) == 36
        go.set()
        await turns(64)
        assert made.slots.ended == 100


async def test_runs_that_never_wait_leave_the_loop_its_turns() -> None:
    async def at_once(_: Claimed, __: object) -> None:
        return

    async with bench(64, at_once) as made:
        made.put(10_000)
        before = 0
        most = 0
        while made.buffer:
            await asyncio.sleep(0)
            most = max(most, made.slots.ended - before)
            before = made.slots.ended
        assert most <= 64


async def test_slots_that_may_take_nothing_sleep_until_they_are_told() -> None:
    async def at_once(_: Claimed, __: object) -> None:
        return

    async with bench(8, at_once) as made:
        made.open = False
        made.put(3)
        await turns(20)
        looks = made.looks
        await turns(20)
        assert made.looks == looks
        made.open = True
        made.slots.fill()
        await turns(5)
        assert made.slots.ended == 3


async def test_one_task_starts_in_the_next_turn_of_the_loop() -> None:
    began = asyncio.Event()

    async def begins(_: Claimed, __: object) -> None:
        began.set()

    async with bench(8, begins) as made:
        made.put(1)
        await turns(1)
        assert began.is_set()


async def test_fewer_slots_end_the_idle_ones_at_once() -> None:
    async def at_once(_: Claimed, __: object) -> None:
        return

    async with bench(8, at_once) as made:
        made.slots.resize(2)
        await turns(2)
        made.put(10)
        await turns(5)
        assert made.slots.ended == 10
