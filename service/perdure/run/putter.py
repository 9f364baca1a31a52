"""Putter: puts what a program declares, and waits for nobody's open transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure.errors import DatabaseUnavailable, PerdureError, QueueFull, UnknownOutcome
from perdure.run.bus import Bus
from perdure.run.events import LoopFailed
from perdure.store.database import Database
from perdure.store.operations import Operation
from perdure.store.perform import perform

AGAIN_SECONDS: Final = 5.0
"""After so long what could not be put is tried again."""
LATER: Final = (DatabaseUnavailable, UnknownOutcome, QueueFull)
"""What passes, such as the lock of somebody's transaction, for which none waits long."""


class Putter:
    """The schedules and singletons of one worker, by key."""

    def __init__(
        self, database: Database, schedules: Mapping[str, Operation[str]], bus: Bus
    ) -> None:
        self.keys = tuple(schedules)
        self._database = database
        self._schedules = schedules
        self._bus = bus
        self._later: list[asyncio.Task[None]] = []

    async def put(self) -> None:
        """Put them, up to the first that somebody's transaction holds: it may hold all of them, and
        a start waits for one at most. The rest is put meanwhile.

        Raises:
            PerdureError: one is refused.
        """
        left = list(self._schedules.values())
        while left and await self._has_put(left[0]):
            left = left[1:]
        if left:
            self._put_soon("schedules", [*left[1:], left[0]], 0.0)

    def put_singletons(self, singletons: Sequence[Operation[Any]]) -> None:
        """Put these, meanwhile: the key of one may be locked by somebody's transaction."""
        if singletons:
            self._put_soon("singletons", list(singletons), 0.0)

    def close(self) -> None:
        """Put none any more."""
        for task in self._later:
            task.cancel()

    async def _has_put(self, put: Operation[Any]) -> bool:
        try:
            await perform(self._database, put)
        except LATER:
            return False
        return True

    def _put_soon(self, what: str, held: list[Operation[Any]], seconds: float) -> None:
        task = asyncio.create_task(self._put_later(what, held, seconds), name=f"perdure {what}")
        self._later.append(task)

    async def _put_later(self, what: str, held: list[Operation[Any]], seconds: float) -> None:
        while held:
            await asyncio.sleep(seconds)
            seconds = AGAIN_SECONDS
            held = [put for put in held if not await self._is_over(what, put)]

    async def _is_over(self, what: str, put: Operation[Any]) -> bool:
        """Whether it was put, or is refused for good, which is told."""
        try:
            return await self._has_put(put)
        except PerdureError as error:
            self._bus.emit(LoopFailed(loop=what, error=error))
            return True
