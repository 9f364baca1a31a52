"""Worker processes of a test: start, signal, wait; it ends only what it has started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conformance.pooled import POOLED
from tests.kit import warm
from tests.kit.clocks import shifted
from tests.kit.databases import Database
from tests.kit.ledger import VARIABLE, Ledger

ROOT = Path(__file__).parents[2]
PATH = f"{ROOT / 'service'}{os.pathsep}{ROOT}"
"""PYTHONPATH of processes of tests: the tree that the test is in, whatever is installed."""
PATIENCE = 25.0
"""How long a test waits for what has to come, in seconds: less than the pauses, of half a minute
and more, that tests set where something must come without them."""
STARTING = 60.0
"""The same where processes may have to start first, which takes long on a busy machine."""
LEASE, BEAT, POLL, SWEEP, GRACE = 2.0, 0.4, 0.1, 0.25, 3.0
QUICK = {
    "execution.lease_duration": f"{LEASE}s",
    "execution.beat_interval": f"{BEAT}s",
    "execution.shutdown_grace": f"{GRACE}s",
    "execution.stop_grace": "0.5s",
    "scheduling.polling_delay": f"{POLL}s",
    "scheduling.sweep_interval": f"{SWEEP}s",
    "persistence.allow_unsafe_durability": "true",
    "logging.level": "warning",
    **({"scheduling.wakeups": "off"} if POOLED else {}),
}
"""The times of the fault catalogue's tests; what follows from them is in seconds, too."""
CALM = {"execution__lease_duration": "30s"}
"""For tests that are not about leases: a machine that stands still for two seconds ends none."""
B1 = LEASE + BEAT + 1.5 * POLL + SWEEP
"""From the last beat of a dead worker to the start of its task elsewhere."""
B2 = B1 + LEASE
"""The same where it has left an open transaction behind."""
B4 = 5.0
"""From the server's first answer, free connection or space to a claim of every worker."""
B5 = 10.0
"""From the first write that a new primary takes to a claim of every worker."""
SLACK = 1.5
"""What a test adds to a bound: for so long a busy machine may stand still."""


class Process:
    """One worker process."""

    def __init__(self, popen: subprocess.Popen[bytes] | warm.Forked) -> None:
        self._popen = popen
        self.pid = popen.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._popen.kill()
        self._popen.wait()

    def wait(self, timeout: float = STARTING) -> int:
        """Wait for the end; its exit code."""
        if (code := self._popen.poll()) is not None:
            return code
        if isinstance(self._popen, warm.Forked):
            return self._popen.wait(timeout)
        descriptor = os.pidfd_open(self.pid)
        try:
            ended = select.poll()  # Unlike select, for any number of descriptors.
            ended.register(descriptor, select.POLLIN)
            ended.poll(timeout * 1_000)
        finally:
            os.close(descriptor)
        return self._popen.wait(timeout=0.1)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None


class Fleet:
    """Workers of one service over one database."""

    def __init__(self, database: Database, application: str, folder: Path) -> None:
        self.database = database
        self.ledger = Ledger(folder / "ledger.jsonl")
        self._application = application
        self._processes: list[Process] = []

    def start(self, clock: int = 0, within: Sequence[str] = (), /, **options: str) -> Process:
        """Start a worker; options are dotted settings with `__` for the dot.

        Its wall clock is wrong by `clock` seconds; `within` stands before its command.
        """
        values = QUICK | {key.replace("__", "."): value for key, value in options.items()}
        environment = {
            **os.environ,
            "PERDURE_DSN": options.get("dsn", self.database.dsn),
            VARIABLE: str(self.ledger.path),
            "PYTHONPATH": PATH,
            **(shifted(clock, PATH) if clock else {}),
        }
        values.pop("dsn", None)
        arguments = [self._application, *(f"{key}={value}" for key, value in values.items())]
        if clock or within:
            command = [*within, sys.executable, "-m", "tests.kit.work", *arguments]
            process = Process(subprocess.Popen(command, env=environment, cwd=ROOT))
        else:
            process = Process(warm.parent(PATH, ROOT).fork(arguments, environment))
        self._processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.alive:
                process.signal(signal.SIGCONT)
                process.kill()


def came(question: Callable[[], object], timeout: float, every: float = 0.02) -> bool:
    """Ask until the answer is true; whether it came in time."""
    end = time.monotonic() + timeout
    while not question():
        if time.monotonic() > end:
            return False
        select.select([], [], [], every)
    return True


def until(question: Callable[[], object], timeout: float = STARTING, every: float = 0.02) -> None:
    """The same for what has to come: a fact in the database or the ledger."""
    if not came(question, timeout, every):
        raise AssertionError(f"not within {timeout} s: {question}")


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """Freeze a process for the life of the block."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)
