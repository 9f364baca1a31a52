"""Loop: once() -> delay, until stopped; wake, jitter, back-off; on asyncio or in a thread."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from perdure.run.bus import Bus
from perdure.run.events import DatabaseBack, DatabaseLost, LoopFailed
from perdure.store.faults import describe, is_transient

BACKOFF_SECONDS_MAX = 2.0
"""Longest pause between two tries while the database is away."""
JITTER = 0.125
"""A delay is changed by up to this part of itself, so that processes do not march in step."""


class Backoff:
    """Decorrelated jitter: each pause is drawn between a floor and thrice the one before."""

    def __init__(self, rng: random.Random, *, floor: float = 0.05) -> None:
        self._rng = rng
        self._floor = floor
        self._last = floor

    def next(self, most: float = BACKOFF_SECONDS_MAX) -> float:
        """The next pause, in seconds; never longer than `most`."""
        self._last = min(most, self._rng.uniform(self._floor, self._last * 3))
        return self._last

    def reset(self) -> None:
        """After a success."""
        self._last = self._floor


class Loop:
    """Calls `once` again and again on the event loop; `once` returns how many seconds to wait.

    A wake shortens the wait; wakes that come together are one. A fault that may pass (the
    database is away) is told once per outage and followed by a growing pause; `once` reconnects by
    itself. Any other fault is told each time, and the loop goes on after the longest pause.
    """

    def __init__(
        self,
        name: str,
        once: Callable[[], Awaitable[float | None]],
        *,
        bus: Bus,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.turned_at = clock()
        """When the last turn ended, by the monotonic clock: what a probe of liveness looks at."""
        self._once = once
        self._bus = bus
        self._rng = rng
        self._clock = clock
        self._backoff = Backoff(rng)
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._lost_since: float | None = None

    def start(self) -> None:
        """Begin; a second call changes nothing."""
        if self._task is None and not self._stopping:
            self._task = asyncio.create_task(self._run(), name=f"perdure {self.name}")

    def wake(self) -> None:
        """Have the next turn at once."""
        self._wake.set()

    async def stop(self) -> None:
        """End after the turn that is under way; may be called before start, and twice."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def cancel(self) -> None:
        """End in the middle of a turn."""
        self._stopping = True
        # Not kept: its error holds on to what was under way, such as a socket that connects.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            delay = await self._turn()
            self.turned_at = self._clock()
            if delay is not None and delay <= 0:
                # Others must have their turn, too, even if every await of ours was ready at once.
                await asyncio.sleep(0)
            elif not self._stopping:
                await self._pause(delay)

    async def _turn(self) -> float | None:
        try:
            delay = await self._once()
        except Exception as error:  # noqa: BLE001  (the one place where a loop survives its faults)
            if not is_transient(error):
                self._bus.emit(LoopFailed(loop=self.name, error=error))
                return BACKOFF_SECONDS_MAX
            if self._lost_since is None:
                self._lost_since = self._clock()
                self._bus.emit(DatabaseLost(loop=self.name, error=describe(error)))
            return self._backoff.next()
        if self._lost_since is not None:
            self._bus.emit(DatabaseBack(loop=self.name, seconds=self._clock() - self._lost_since))
            self._lost_since = None
        self._backoff.reset()
        return delay

    async def _pause(self, delay: float | None) -> None:
        """Wait for a wake, about `delay` seconds at most; None: for a wake only."""
        longest = None if delay is None else delay * (1 + JITTER * (2 * self._rng.random() - 1))
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._wake.wait()


@asynccontextmanager
async def bounded(seconds: float) -> AsyncIterator[None]:
    """asyncio.timeout that ends quietly: what was not done in time is left to the next step."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            yield


async def first(
    task: asyncio.Task[None], wait: Coroutine[Any, Any, object], *, timeout: float | None = None
) -> None:
    """Until the task has ended or the wait, which is then cancelled, or for `timeout` seconds."""
    waiting = asyncio.create_task(wait)
    try:
        await asyncio.wait([task, waiting], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def ended(seconds: float, *work: Awaitable[object]) -> bool:
    """Whether all of it has ended in that time; what has not goes on by itself."""
    under_way = asyncio.gather(*work, return_exceptions=True)
    await asyncio.wait([under_way], timeout=seconds)
    return under_way.done()


async def broken_off(task: asyncio.Task[None], seconds: float) -> bool:
    """Cancel a task; whether it has ended in time: what hangs ends by itself later."""
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    task.cancel()
    await asyncio.wait([task], timeout=seconds)
    return task.done()
