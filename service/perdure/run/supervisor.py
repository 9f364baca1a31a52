"""N worker processes: signals, restarts, recycling, burst.

The parent opens no connection but for a moment after a child has died by itself: then it reports
the death and recovers the child's tasks, which need not wait for its lease. Children are fresh
interpreters, never forks: a fork would share threads and sockets.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from perdure.run.bus import Bus
from perdure.run.events import ChildEnded, ChildFailed, ChildStarted, LoopFailed, WorkerRecovered
from perdure.run.loop import Backoff
from perdure.store import workers
from perdure.store.database import Database
from perdure.store.faults import is_transient

EXIT_FAILED = 1
EXIT_CONFIGURATION = 78
EXIT_RECYCLE = 75
"""A worker that has done its share of tasks, or grown too large, ends so: start a new one."""
QUICK_SECONDS = 5.0
"""A child that lives shorter than this is started again only after a growing pause."""
PAUSE_SECONDS_MAX = 60.0
"""To this it grows: what fails whenever it is started needs somebody's hand."""
KILL_MARGIN_SECONDS = 4.0
_CLEAN = (0, EXIT_RECYCLE, -signal.SIGTERM, -signal.SIGHUP)
"""Ends that leave nothing behind: a signal itself ends only a child that is not a worker yet."""


class Supervisor:
    """Runs `command` (a worker) `processes` times until it is told to stop.

    Args:
        command: program and arguments of one worker process.
        grace: seconds that a worker may take to stop; a child that takes longer is killed.
        burst: a child that ends by itself is not started again, unless it has crashed.
        reload: reads the settings again; the grace from now on, None: they are wrong.
        is_configured: whether a child that is started now finds settings that it can use.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        database: Database,
        *,
        grace: float,
        burst: bool,
        bus: Bus,
        reload: Callable[[], float | None] = lambda: None,
        is_configured: Callable[[], bool] = lambda: True,
    ) -> None:
        self._command = list(command)
        self._processes = processes
        self._database = database
        self._grace = grace
        self._burst = burst
        self._bus = bus
        self._reload = reload
        self._is_configured = is_configured
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._signals = 0
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Supervise until all children have ended; the exit code: 0, 78 or 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            async with asyncio.TaskGroup() as group:
                for place in range(self._processes):
                    group.create_task(self._keep(place))
        finally:
            for child in self._children.values():
                child.kill()
        return self._status

    def _on_signal(self) -> None:
        """The first asks, the second does not wait."""
        self._signals += 1
        self._stopping.set()
        # To a worker of ours any number of SIGTERM is one: a service manager may send its own.
        self._forward(signal.SIGTERM if self._signals == 1 else signal.SIGINT)

    def _on_hangup(self) -> None:
        """Everybody reads the settings again, this process for its own part."""
        grace = self._reload()
        self._grace = self._grace if grace is None else grace
        self._forward(signal.SIGHUP)

    def _forward(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)

    async def _keep(self, place: int) -> None:
        """Keep one child alive."""
        backoff = Backoff(random.Random(), floor=0.1)  # noqa: S311  (jitter, no secret)
        replaces = False
        while not self._stopping.is_set():
            began = time.monotonic()
            pid, code = await self._live(place)
            # A file that has become wrong stops nothing: the others run, and somebody will mend it.
            mendable = replaces and code == EXIT_CONFIGURATION and not self._is_configured()
            replaces = True
            if code == EXIT_CONFIGURATION and not mendable:
                # It would be as wrong the next time: everything ends, with the same code.
                self._status = EXIT_CONFIGURATION
                self._on_signal()
            wanted = code in (EXIT_RECYCLE, -signal.SIGHUP)
            quick = not wanted and time.monotonic() - began < QUICK_SECONDS
            if not quick:
                backoff.reset()
            pause = backoff.next(PAUSE_SECONDS_MAX) if quick else 0.0
            over = self._stopping.is_set() or (self._burst and code in (0, EXIT_FAILED))
            self._tell_end(pid, place, code, None if over else pause)
            if over:
                self._status = self._status or (0 if code in _CLEAN else 1)
                return
            await self._pause(pause)

    def _tell_end(self, pid: int, place: int, code: int, again_in: float | None) -> None:
        event = ChildEnded if code in _CLEAN else ChildFailed
        self._bus.emit(event(pid=pid, place=place, code=code, again_in=again_in))

    async def _live(self, place: int) -> tuple[int, int]:
        """One child from its start to its end; its process and its exit code."""
        # In a group of its own: Ctrl-C in a terminal is for the supervisor; a child that gets it
        # as well would take the SIGTERM that follows for a second signal, and not wait.
        child = await asyncio.create_subprocess_exec(*self._command, process_group=0)
        self._children[child.pid] = child
        self._bus.emit(ChildStarted(pid=child.pid, place=place))
        if self._stopping.is_set():
            # The signal came while it was being made, and has passed it by.
            child.terminate()
        ended = asyncio.create_task(child.wait())
        asked = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait([ended], timeout=self._grace + KILL_MARGIN_SECONDS)
                if not ended.done():
                    child.kill()
            code = await ended
        finally:
            # Whoever gives up the supervisor must not leave workers behind without one.
            asked.cancel()
            if child.returncode is None:
                child.kill()
                await asyncio.wait([ended])
            self._children.pop(child.pid, None)
        if code not in (*_CLEAN, EXIT_CONFIGURATION):
            await asyncio.to_thread(self._report, child.pid)
        return child.pid, code

    def _report(self, pid: int) -> None:
        """Say that the child is dead, and put its tasks back at once: this death is no suspicion.

        What cannot be said now is left to the child's lease, which ends by itself.
        """
        try:
            with closing(self._database.sync_session(application="perdure supervisor")) as session:
                workers.report_dead(session, socket.gethostname(), pid)
                recovered = workers.recover(session, reported_only=True)
        except Exception as error:  # noqa: BLE001  (it must not take the other children along)
            if not is_transient(error):
                self._bus.emit(LoopFailed(loop="supervisor", error=error))
            return
        if recovered:
            self._bus.emit(
                WorkerRecovered(workers=len(recovered), tasks=sum(r.tasks for r in recovered))
            )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def worker_command(application: str, arguments: Sequence[str]) -> list[str]:
    """The command of one child: this interpreter, one process."""
    return [
        sys.executable, "-m", "perdure", "worker", "-A", application, *arguments,
        "--processes", "1", "--supervisor-pid", str(os.getpid()),
    ]  # fmt: skip
