"""The demo's worker processes: started, asked to stop, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

QUICK = {
    "PERDURE_EXECUTION__LEASE_DURATION": "2s",
    "PERDURE_EXECUTION__BEAT_INTERVAL": "500ms",
    "PERDURE_LOGGING__LEVEL": "error",
}
"""A short lease, so that nobody has to wait for the demo to notice a death."""


@dataclass
class Fleet:
    """Worker processes over one database, by process id, with the names that people see."""

    dsn: str
    application: str
    names: dict[int, str] = field(default_factory=dict)
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> str:
        """Start a worker as a user does; the name that it goes by here."""
        environment = {**os.environ, **QUICK, "PERDURE_DSN": self.dsn}
        command = [sys.executable, "-m", "perdure", "worker", "-A", self.application]
        process = subprocess.Popen(command, env=environment)  # noqa: S603  (our own program)
        name = f"worker {chr(ord('A') + len(self.names))}"
        self.names[process.pid] = name
        self._processes[process.pid] = process
        return name

    def terminate(self, pid: int) -> int:
        """SIGTERM, and wait for the end; its exit code."""
        return self._end(pid, signal.SIGTERM)

    def kill(self, pid: int) -> int:
        """SIGKILL, and wait for the end; its exit code."""
        return self._end(pid, signal.SIGKILL)

    def failed(self) -> str | None:
        """The name of a worker that has ended although nobody asked it to."""
        for pid, process in self._processes.items():
            if process.poll() is not None:
                return self.names[pid]
        return None

    def close(self) -> None:
        """End what still runs, and wait for it."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _end(self, pid: int, number: signal.Signals) -> int:
        process = self._processes.pop(pid)
        process.send_signal(number)
        return process.wait(timeout=20)
