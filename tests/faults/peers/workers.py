"""Two worker processes under a plain supervisor: what ends is started again, ten times in all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.kit.fleet import PATH, ROOT

COUNT = 2
RESTARTS_MOST = 10
RESTART_SECONDS = 0.5
LOOK_SECONDS = 0.02
STOP_SECONDS = 5.0


class Exit(NamedTuple):
    """A worker that has ended: its process, exit code, and when, monotonic."""

    pid: int
    code: int
    at: float


class Workers:
    """The workers of one system; a thread watches them.

    Attributes:
        exits: those that have ended, until the end of the block.
        restarts: how many were started in their place.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> None:
        self.exits: list[Exit] = []
        self.restarts = 0
        self._command = command
        self._environment = {**os.environ, **environment, "PYTHONPATH": PATH}
        self._output = output
        self._running: list[subprocess.Popen[bytes]] = []
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def alive(self) -> list[subprocess.Popen[bytes]]:
        """The workers that run, the oldest first."""
        return [process for process in list(self._running) if process.poll() is None]

    @property
    def given_up(self) -> bool:
        """Whether nobody works any more, and nobody will."""
        return self.restarts >= RESTARTS_MOST and not self.alive

    def __enter__(self) -> Self:
        for _ in range(COUNT):
            self._running.append(self._start())
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watcher.join()
        for process in self.alive:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while self.alive and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        for process in self.alive:
            process.kill()
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as file:
            return subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT,
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _watch(self) -> None:
        due: list[float] = []
        while not self._end.wait(LOOK_SECONDS):
            for process in [each for each in self._running if each.poll() is not None]:
                self._running.remove(process)
                self.exits.append(Exit(process.pid, process.wait(), time.monotonic()))
                due.append(time.monotonic() + RESTART_SECONDS)
            while due and due[0] <= time.monotonic():
                due.pop(0)
                if self.restarts < RESTARTS_MOST:
                    self.restarts += 1
                    self._running.append(self._start())
