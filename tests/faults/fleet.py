"""The system under the storm: workers and producers, each behind a proxy of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.produce import FOLDER, RATE
from tests.kit.clocks import shifted
from tests.kit.fleet import PATH, QUICK, ROOT, Process, until
from tests.kit.ledger import VARIABLE
from tests.kit.proxy import Proxy

SETTINGS: Final = QUICK | {"execution.concurrency": "8", "logging.format": "json"}
GRACE_SECONDS: Final = 3.0
STARTING_SECONDS: Final = 10.0


@dataclass(eq=False)
class Member:
    """One process of the fleet, with what has been done to it.

    Attributes:
        proxy: the only way by which it reaches the server.
        busy: a fault is at work on it; no second one is chosen meanwhile.
    """

    name: str
    process: Process
    proxy: Proxy
    log: Path
    busy: bool = False
    killed_at: float | None = None
    frozen: bool = False
    cut_off: bool = False
    ended: bool = False
    started_at: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started_at


@dataclass
class Crew:
    """Starts, replaces and ends workers and producers; all output goes to files in the folder."""

    dsn: str
    folder: Path
    seed: int
    rate: float
    members: list[Member] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ledger(self) -> Path:
        """Where handlers write."""
        return self.folder / "ledger.jsonl"

    @property
    def histories(self) -> Path:
        """Where clients write."""
        return self.folder / "histories"

    def worker(self, clock: int = 0) -> Member:
        """Start a worker, whose wall clock is wrong by so many seconds."""
        settings = [f"{key}={value}" for key, value in SETTINGS.items()]
        command = [sys.executable, "-m", "tests.kit.work", "tests.faults.service:service"]
        extra = shifted(clock, PATH) if clock else {}
        return self._start("worker", [*command, *settings], extra)

    def producer(self, how: str) -> Member:
        """Start a producer, `python` or `sql`."""
        client = f"{how}{self._count}"
        command = [sys.executable, "-m", "tests.faults.produce", how, client, str(self.seed)]
        return self._start(how, command, {})

    def alive(self, kind: str) -> list[Member]:
        """The members of a kind that run and that no fault is at work on."""
        with self._lock:
            return [
                member for member in self.members
                if member.name == kind and not member.busy and member.process.alive
            ]  # fmt: skip

    def dead(self, kind: str) -> list[Member]:
        """The members of a kind that have died, and that nobody has noticed yet."""
        with self._lock:
            return [
                member for member in self.members
                if member.name == kind and not member.ended and not member.process.alive
            ]  # fmt: skip

    def stop(self, member: Member, grace: float) -> None:
        """SIGTERM; it has to end with 0 in time."""
        member.process.signal(signal.SIGTERM)
        try:
            code = member.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.surprises.append(f"{member.name} {member.process.pid} has not ended in {grace} s")
            member.process.kill()
        else:
            # Python alone is there at first, and ends at once.
            if code != 0 and not (code == -signal.SIGTERM and member.age < STARTING_SECONDS):
                self.surprises.append(f"{member.name} {member.process.pid} ended with {code}")
        self.leave(member)

    def leave(self, member: Member) -> None:
        """It is gone."""
        member.ended = True
        member.proxy.close()

    def close(self) -> None:
        """End whatever is left."""
        for member in self.members:
            if not member.ended:
                member.process.signal(signal.SIGCONT)
                member.process.kill()
                self.leave(member)

    def _start(self, name: str, command: list[str], extra: dict[str, str]) -> Member:
        with self._lock:
            self._count += 1
            number = self._count
        self.histories.mkdir(exist_ok=True)
        proxy = Proxy(self.dsn)
        environment = {
            **os.environ, "PYTHONPATH": PATH, "PERDURE_DSN": proxy.dsn,
            VARIABLE: str(self.ledger), FOLDER: str(self.histories), RATE: str(self.rate), **extra,
        }  # fmt: skip
        log = self.folder / f"{number:03}-{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        member = Member(name, Process(popen), proxy, log)
        with self._lock:
            self.members.append(member)
        return member


def wait_for(moment: float) -> None:
    """Until a time of the monotonic clock."""
    until(lambda: time.monotonic() >= moment, timeout=moment - time.monotonic() + 60)
