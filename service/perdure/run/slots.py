"""Long-lived slots on the loop; threads for sync handlers: each keeps its slot until it ends."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from perdure.tasks.places import Claimed

RATE_SECONDS = 0.25
"""Over how long the speed is measured."""
THREADS_MOST = 10_000
"""Slots bound the threads, and their number may change; the executor must have some bound."""
TURNS_BEFORE_YIELD = 64
"""Runs that never wait for anything would keep the loop: after so many a slot lets others go on."""

T = TypeVar("T")


class Slots:
    """As many coroutines as tasks may run at once; each takes a task, runs it, takes the next."""

    def __init__(
        self,
        *,
        take: Callable[[], Claimed | None],
        filled: asyncio.Event,
        run: Callable[[Claimed], Awaitable[None]],
        took: Callable[[], None],
    ) -> None:
        self.busy = 0
        """Slots that run a task now."""
        self.ended = 0
        """Runs that have ended since the start."""
        self._rate = 0.0
        self._rated = (time.monotonic(), 0)
        self._take = take
        self._filled = filled
        self._run = run
        self._took = took
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._alive = 0

    def resize(self, wanted: int) -> None:
        """Have `wanted` slots; those too many end when they next look for a task."""
        self._wanted = wanted
        while self._alive < wanted:
            self._alive += 1
            task = asyncio.create_task(self._slot(), name="perdure slot")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._filled.set()

    def rate(self) -> float:
        """Runs that ended per second, of late."""
        now = time.monotonic()
        since, ended = self._rated
        if now - since >= RATE_SECONDS:
            self._rate = (self.ended - ended) / (now - since)
            self._rated = (now, self.ended)
        return self._rate

    async def idle(self) -> None:
        """End all slots that run nothing, and wait for the others; the caller bounds the time."""
        self._wanted = 0
        while self._tasks:
            self._filled.set()
            await asyncio.wait(list(self._tasks), timeout=0.05)

    async def _slot(self) -> None:
        while self._alive <= self._wanted:
            claimed = self._take()
            if claimed is None:
                self._filled.clear()
                await self._filled.wait()
                continue
            self.busy += 1
            try:
                await self._run(claimed)
            finally:
                self.busy -= 1
            self.ended += 1
            self._took()
            if self.ended % TURNS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
        self._alive -= 1


class Threads:
    """Threads for sync handlers, made when one is needed: never more than ran at once."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread, with this run's context variables.

        The thread is awaited even if the awaiting task is cancelled, because it cannot be killed.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS_MOST, "perdure handler")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, context.run, _caught, function)
        while True:
            try:
                value, error = await asyncio.shield(future)
                break
            except asyncio.CancelledError:
                if future.cancelled():
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
        if error is not None:
            raise error
        return cast("T", value)

    def close(self) -> None:
        """Let go of the threads without waiting: one that does not end must not hold the exit."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _caught(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """What it returns or raises, as a value.

    A future cannot carry a CancelledError that is not its own, nor a StopIteration.
    """
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001  (it is raised again where it is awaited)
        return None, error
