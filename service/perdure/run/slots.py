"""Long-lived slots on the loop; threads for sync handlers: each keeps its slot until it ends."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

from perdure.tasks.places import Claimed

RATE_SECONDS = 0.25
"""Over how long the speed is measured."""
THREADS_MOST = 10_000
"""Slots bound the threads, and their number may change; the executor must have some bound."""
TURNS_BEFORE_YIELD = 16
"""Runs that never wait for anything would keep the loop: after so many a slot lets others go on."""
WOKEN_AT_ONCE = 4
"""Idle slots that are woken in one turn of the event loop, so that it soon looks at its sockets."""

T = TypeVar("T")


class Slots:
    """As many coroutines as tasks may run at once; each takes a task, runs it, takes the next.

    Idle ones are woken a few at a time, and none while one that has just yielded is about to go on:
    tasks that never wait are run by few slots, between two looks at the sockets, so that claims and
    flushes are under way meanwhile.
    """

    def __init__(
        self,
        *,
        take: Callable[[], Claimed | None],
        run: Callable[[Claimed, asyncio.Task[Any]], Awaitable[None]],
        took: Callable[[], None],
    ) -> None:
        self.busy = 0
        """Slots that run a task now."""
        self.ended = 0
        """Runs that have ended since the start."""
        self._rate = 0.0
        self._rated = (time.monotonic(), 0)
        self._take = take
        self._run_in = run
        self._took = took
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._alive = 0
        self._idle: list[asyncio.Future[None]] = []
        self._yielding = 0
        self._waking = False
        self._dry = True
        """Whether the last look found nothing to take; until `fill` says otherwise."""

    def fill(self) -> None:
        """There may be something to take again."""
        self._dry = False
        if not self._waking:
            self._wake_some()

    def resize(self, wanted: int) -> None:
        """Have `wanted` slots; those too many end when they next look for a task."""
        self._wanted = wanted
        while self._alive < wanted:
            self._alive += 1
            task = asyncio.create_task(self._slot(), name="perdure slot")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._wake_all()

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
            self._wake_all()
            await asyncio.wait(list(self._tasks), timeout=0.05)

    def _wake_soon(self) -> None:
        if not self._waking and not self._dry and self._idle:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Once in a turn of the loop, for as long as there are tasks to take and idle slots."""
        self._waking = False
        if not self._dry and not self._yielding:
            self._wake(WOKEN_AT_ONCE)
        self._wake_soon()

    def _wake_all(self) -> None:
        self._wake(len(self._idle))

    def _wake(self, most: int) -> None:
        for _ in range(min(most, len(self._idle))):
            sleeper = self._idle.pop()
            if not sleeper.done():
                sleeper.set_result(None)

    async def _slot(self) -> None:
        slot, loop = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.get_running_loop()
        turns = 0
        while self._alive <= self._wanted:
            claimed = self._take()
            if claimed is None:
                self._dry = True
                sleeper = loop.create_future()
                self._idle.append(sleeper)
                await sleeper
                continue
            self.busy += 1
            try:
                await self._run_in(claimed, slot)
            finally:
                self.busy -= 1
            self.ended += 1
            self._took()
            turns += 1
            if turns >= TURNS_BEFORE_YIELD:
                turns = 0
                self._yielding += 1
                await asyncio.sleep(0)
                self._yielding -= 1
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


def aside(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call `function` in a thread of its own, which no exit waits for."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is None:
            answer.set_result(cast("T", value))
        else:
            carried = isinstance(error, Exception) and not isinstance(error, StopIteration)
            answer.set_exception(error if carried else RuntimeError(repr(error)))

    def call() -> None:
        with suppress(RuntimeError):  # the loop may have been closed meanwhile
            loop.call_soon_threadsafe(settle, *_caught(function))

    threading.Thread(target=call, name=name, daemon=True).start()
    return answer


def _caught(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """What it returns or raises, as a value.

    A future cannot carry a CancelledError that is not its own, nor a StopIteration.
    """
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001  (it is raised again where it is awaited)
        return None, error
