"""The lifespans of one process: entered in order, ticked, left in reverse, all in one task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from perdure.declare.entering import Entered
from perdure.declare.lifespans import Lifespan, provide
from perdure.errors import LifespanError
from perdure.run.bus import Bus
from perdure.run.events import LifespanFailed
from perdure.run.loop import first
from perdure.run.slots import Threads

LAST_TICK_SECONDS = 1.0
"""A tick that is under way when its lifespan is to be left may go on for so long."""


class Lifespans:
    """`enter` before anything is claimed, `leave` after the last handler has ended.

    One task enters and leaves them, because what a library has opened in one task it may refuse to
    close in another. `values` is what runs are given; it is complete once `enter` has returned.
    """

    def __init__(self, lifespans: Sequence[Lifespan[Any]], threads: Threads, bus: Bus) -> None:
        self.values: dict[Lifespan[Any], Any] = {}
        self._lifespans = lifespans
        self._threads = threads
        self._bus = bus
        self._ready = asyncio.Event()
        self._leaving = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    @property
    def none(self) -> bool:
        """Whether there is nothing to be entered."""
        return not self._lifespans

    @property
    def entered(self) -> bool:
        """Whether there is something to be left, or to be given up."""
        return self._life is not None and not self._life.done()

    async def enter(self) -> None:
        """Set them all up; if that fails, or is cancelled, those that had been are left again.

        Raises:
            LifespanError: one could not be set up.
        """
        if self.none:
            return
        self._life = life = asyncio.create_task(self._live(), name="perdure lifespans")
        try:
            await first(life, self._ready.wait())
        except asyncio.CancelledError:
            self._leaving.set()
            life.cancel()
            await asyncio.wait([life])
            raise
        if life.done():
            life.result()

    async def leave(self) -> None:
        """Leave them in reverse; the caller bounds the time."""
        self._leaving.set()
        if self._life is not None:
            await asyncio.wait([self._life])

    async def _live(self) -> None:
        provide(self.values)
        entered: list[tuple[Lifespan[Any], Entered]] = []
        ticking: list[asyncio.Task[None]] = []
        try:
            for lifespan in self._lifespans:
                one = Entered(lifespan.factory, self._threads.run, ticks=lifespan.tick is not None)
                entered.append((lifespan, one))
                await self._enter(lifespan, one)
                if self._leaving.is_set():
                    return
            ticking = [
                asyncio.create_task(self._tick(lifespan, one, lifespan.tick))
                for lifespan, one in entered
                if lifespan.tick is not None
            ]
            self._ready.set()
            await self._leaving.wait()
        finally:
            await _end(ticking)
            for lifespan, one in reversed(entered):
                try:
                    await one.leave()
                except Exception as error:  # noqa: BLE001  (the others are left all the same)
                    self._tell(lifespan, "cleanup", error)

    async def _enter(self, lifespan: Lifespan[Any], one: Entered) -> None:
        try:
            self.values[lifespan] = await one.enter()
        except asyncio.CancelledError:
            if self._leaving.is_set():
                raise
            raise LifespanError(
                f"the lifespan {lifespan.name!r} could not be set up: it was cancelled from within"
            ) from None
        except Exception as error:
            raise LifespanError(
                f"the lifespan {lifespan.name!r} could not be set up:"
                f" {type(error).__name__}: {error}"
            ) from error

    async def _tick(self, lifespan: Lifespan[Any], one: Entered, interval: float) -> None:
        """On a grid from now on; what a long tick lets pass is not made up for."""
        origin = time.monotonic()
        number = 0
        while not one.over:
            number = max(number, int((time.monotonic() - origin) / interval)) + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(origin + number * interval - time.monotonic()):
                    await self._leaving.wait()
            if self._leaving.is_set():
                return
            try:
                await one.tick()
            except Exception as error:  # noqa: BLE001  (a tick is the user's code)
                self._tell(lifespan, "tick", error)

    def _tell(self, lifespan: Lifespan[Any], phase: str, error: Exception) -> None:
        self._bus.emit(LifespanFailed(lifespan=lifespan.name, phase=phase, error=error))


async def _end(ticking: Sequence[asyncio.Task[None]]) -> None:
    """Let the ticks that are under way end, but not for ever."""
    if ticking:
        await asyncio.wait(ticking, timeout=LAST_TICK_SECONDS)
        for tick in ticking:
            tick.cancel()
        await asyncio.wait(ticking)
