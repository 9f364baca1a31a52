"""Twice a second: overdue runs, memory, a lost supervisor, the end of a burst, a sign of life.

And the end of the lease, to the moment: a beat that hangs cannot tell it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from perdure.run.bus import Bus
from perdure.run.events import LoopFailed, Overdue
from perdure.run.holdings import Holdings
from perdure.run.pulse import Pulse

WATCH_SECONDS = 0.5
BURST_WATCH_SECONDS = 0.05
OVERDUE_SECONDS = 60.0
"""A run that does not end although it was asked to is reported this often; so is a fault here."""


class Watch:
    """Asks a worker to stop when there is a reason that nobody else sees.

    Args:
        stop: told the reason, `recycle`, `burst` or `shutdown`.
        is_done: whether a burst has nothing left to do; None: this is no burst.
        memory_most_mb: resident memory beyond which the process is to be replaced.
        supervisor_pid: the parent; end when it is gone, or has been gone before this one ran.
        health_file: touched at every look, for probes; None: none.
        good_until: the end of the lease, by the monotonic clock.
        lease_over: told at every look from then on.
    """

    def __init__(
        self,
        holdings: Holdings,
        *,
        bus: Bus,
        stop: Callable[[str], None],
        is_done: Callable[[], bool] | None,
        memory_most_mb: int | None,
        supervisor_pid: int | None,
        health_file: Path | None,
        good_until: Callable[[], float],
        lease_over: Callable[[], None],
    ) -> None:
        self._holdings = holdings
        self._bus = bus
        self._stop = stop
        self._is_done = is_done
        self._memory_most_mb = memory_most_mb
        self._supervisor_pid = supervisor_pid
        self._health_file = health_file
        self._good_until = good_until
        self._lease_over = lease_over
        self._told: dict[int, float] = {}
        self._failed_at: float | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        with Pulse(self._health_file) as pulse:
            await self._look(pulse)

    async def _look(self, pulse: Pulse) -> None:
        pause = WATCH_SECONDS if self._is_done is None else BURST_WATCH_SECONDS
        while True:
            left = self._good_until() - time.monotonic()
            if left <= 0:
                self._lease_over()
            await asyncio.sleep(pause if left <= 0 else min(pause, left))
            try:
                self._look_around(pulse)
            except Exception as error:  # noqa: BLE001  (who else would see the end of the lease?)
                self._tell(error)

    def _look_around(self, pulse: Pulse) -> None:
        pulse.beat()
        self._report_overdue(time.monotonic())
        if self._supervisor_pid not in (None, os.getppid()):
            self._stop("shutdown")
        if self._is_done is not None and self._is_done():
            self._stop("burst")
        if self._memory_most_mb is not None and memory_mb() > self._memory_most_mb:
            self._stop("recycle")

    def _tell(self, error: Exception) -> None:
        """Say it once a minute: it is likely to come back at each look."""
        now = time.monotonic()
        if self._failed_at is None or now - self._failed_at >= OVERDUE_SECONDS:
            self._failed_at = now
            self._bus.emit(LoopFailed(loop="watch", error=error))

    def _report_overdue(self, now: float) -> None:
        running = self._holdings.running
        for task_id, run in list(running.items()):
            if run.asked_at is None or now < run.asked_at + run.stop_grace:
                continue
            told = self._told.get(task_id)
            if told is None or now - told >= OVERDUE_SECONDS:
                self._told[task_id] = now
                self._bus.emit(
                    Overdue(
                        task_id=task_id, name=run.claimed.name, attempt=run.attempt,
                        seconds=now - run.asked_at, reason=run.reason or "",
                    )
                )  # fmt: skip
        for task_id in self._told.keys() - running.keys():
            del self._told[task_id]


def memory_mb() -> int:
    """Resident memory of this process, in MiB."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20
