"""The singletons of one worker: claimed one at a time, and run beside its slots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from perdure.tasks.places import Claimed
from perdure.tasks.plan import served
from perdure.tasks.positions import FROM_THE_START, PRIORITIES, Lane, Pick


class Singletons:
    """Runs each in a task of the event loop of its own, so that it takes no slot.

    names: those that this worker may hold. run: runs one to its end.
    """

    def __init__(
        self,
        names: Iterable[str],
        run: Callable[[Claimed, asyncio.Task[Any]], Awaitable[None]],
    ) -> None:
        self.names = frozenset(names)
        self.lanes: tuple[Lane, ...] = ()
        """Where they stand, but for those that are paused."""
        self.look_at = 0.0
        """When to look for them next, by the monotonic clock: they wait for no slot."""
        self._run = run
        self._held: dict[asyncio.Task[None], str] = {}

    def serve(
        self, lanes: Iterable[Lane], paused: Mapping[str, bool], satisfied: Collection[str]
    ) -> None:
        """Whatever queues the worker is for: who declares a singleton may have to hold it."""
        self.lanes = served(
            lanes, names=self.names, queues=None, satisfied=satisfied, paused=paused
        )

    def picks(self) -> list[Pick]:
        """What to claim: one task of each that does not run here."""
        held = set(self._held.values())
        return [
            Pick(lane.id, priority, FROM_THE_START, 1)
            for lane in self.lanes
            if lane.name not in held
            for priority in PRIORITIES
        ]

    def begin(self, claimed: Sequence[Claimed]) -> None:
        """Run them from now on."""
        for one in claimed:
            task = asyncio.create_task(self._hold(one), name=f"perdure {one.name}")
            self._held[task] = one.name

    async def idle(self) -> None:
        """Wait until none runs; somebody else asks them to stop, and bounds the time."""
        while self._held:
            await asyncio.wait(list(self._held))

    async def _hold(self, claimed: Claimed) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            await self._run(claimed, task)
        finally:
            del self._held[task]
