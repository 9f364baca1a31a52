"""The system under the storm: workers and producers, each behind a proxy of its own."""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.chance import Chance
from tests.faults.evidence import Hurt
from tests.faults.policies import LINE
from tests.faults.produce import FOLDER, RATE
from tests.faults.telling import MEMBER
from tests.kit.clocks import shifted
from tests.kit.fleet import GRACE, PATH, QUICK, ROOT, SLACK, Process, until
from tests.kit.ledger import VARIABLE
from tests.kit.proxy import Proxy

SETTINGS: Final = QUICK | {"execution.concurrency": "8", "logging.format": "json"}
STOP_SECONDS: Final = GRACE + 1 + SLACK
"""B3; a second more where the server is away."""
HANGING_SECONDS: Final = 15.0


@dataclass(eq=False)
class Member:
    """One process of the fleet.

    Attributes:
        name: unique in all storms; its children have it, too.
        proxy: the only way by which it reaches the server.
        busy: a fault is at work on it; no second one is chosen meanwhile.
        ended_at: since when it is known to be gone, monotonic.
    """

    name: str
    kind: str
    process: Process
    proxy: Proxy
    log: Path
    busy: bool = False
    ended_at: float = math.inf


@dataclass
class Crew:
    """Starts, replaces and ends workers and producers; all output goes to files in the folder.

    Attributes:
        hurts: what was done to members, in the order of its end.
        stops: when members were told to stop, and when they had.
        exits: the exit codes of those that were told to stop.
        surprises: what members did that they must not do.
    """

    dsn: str
    folder: Path
    seed: int
    rate: float
    run: str = field(default_factory=lambda: secrets.token_hex(6))
    members: list[Member] = field(default_factory=list)
    hurts: list[Hurt] = field(default_factory=list)
    stops: list[Hurt] = field(default_factory=list)
    exits: dict[Member, int] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ledger(self) -> Path:
        """Where handlers write."""
        return self.folder / "ledger.jsonl"

    @property
    def line(self) -> Path:
        """There while a constraint of all workers does not hold."""
        return self.folder / "line-is-down"

    @property
    def histories(self) -> Path:
        """Where clients write."""
        return self.folder / "histories"

    def worker(self, clock: int = 0) -> Member:
        """Start a worker, whose wall clock is wrong by so many seconds."""
        settings = [f"{key}={value}" for key, value in SETTINGS.items()]
        command = [sys.executable, "-m", "tests.kit.work", "tests.faults.service:service"]
        extra = shifted(clock, PATH) if clock else {}
        return self._start("worker", self._number(), [*command, *settings], extra)

    def producer(self, how: str) -> Member:
        """Start a producer, `python` or `sql`."""
        number = self._number()
        client = f"{how}{number}"
        command = [sys.executable, "-m", "tests.faults.produce", how, client, str(self.seed)]
        return self._start(how, number, command, {})

    def alive(self, kind: str) -> list[Member]:
        """The members of a kind that run and that no fault is at work on."""
        with self._lock:
            return self._free(kind)

    @contextmanager
    def chosen(self, kind: str, chance: Chance) -> Iterator[Member | None]:
        """A member that nothing else happens to meanwhile; None if there is none to spare."""
        with self._lock:
            free = self._free(kind)
            member = chance.one(free, "member") if free else None
            if member is not None:
                member.busy = True
        try:
            yield member
        finally:
            if member is not None:
                member.busy = False

    @contextmanager
    def hurting(self, member: Member, how: str) -> Iterator[None]:
        """What is done to the member for the time of the block."""
        since = time.monotonic()
        try:
            yield
        finally:
            self.hurts.append(Hurt(member.name, how, since, time.monotonic()))

    def dead(self, kind: str) -> list[Member]:
        """The members of a kind that have died, and that nobody has noticed yet."""
        with self._lock:
            return [
                member for member in self.members
                if member.kind == kind and member.ended_at == math.inf
                and not member.busy and not member.process.alive
            ]  # fmt: skip

    def stop(self, member: Member, bound: float) -> None:
        """SIGTERM; it has to end in time."""
        since = time.monotonic()
        member.process.signal(signal.SIGTERM)
        try:
            code = member.process.wait(bound + HANGING_SECONDS)
        except subprocess.TimeoutExpired:
            self.surprises.append(f"{member.log} has not ended in {bound + HANGING_SECONDS} s")
            member.process.kill()
        else:
            self.exits[member] = code
            if (seconds := time.monotonic() - since) > bound:
                self.surprises.append(f"{member.log} has ended after {seconds:.1f} s")
        self.leave(member)
        self.stops.append(Hurt(member.name, "stopped", since, member.ended_at))

    def kill(self, member: Member) -> None:
        """SIGKILL it."""
        killed = time.monotonic()
        member.process.kill()
        self.hurts.append(Hurt(member.name, "killed", killed, math.inf))
        self.leave(member)

    def leave(self, member: Member) -> None:
        """It is gone."""
        member.ended_at = time.monotonic()
        member.proxy.close()

    def close(self) -> None:
        """End whatever is left."""
        for member in self.members:
            if member.ended_at == math.inf:
                member.process.signal(signal.SIGCONT)
                member.process.kill()
                self.leave(member)

    def processes(self) -> Iterator[tuple[int, str]]:
        """The processes of this storm that are there, children of members included."""
        mark = f"{MEMBER}={self.run}:".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    line = path.with_name("cmdline").read_bytes().replace(b"\0", b" ")
                    yield int(path.parent.name), line.decode(errors="replace")
            except OSError:
                continue

    def _free(self, kind: str) -> list[Member]:
        return [
            member for member in self.members
            if member.kind == kind and not member.busy and member.process.alive
        ]  # fmt: skip

    def _number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def _start(self, kind: str, number: int, command: list[str], extra: dict[str, str]) -> Member:
        self.histories.mkdir(exist_ok=True)
        proxy = Proxy(self.dsn)
        name = f"{self.run}:{number}"
        environment = {
            **os.environ, "PYTHONPATH": PATH, "PERDURE_DSN": proxy.dsn, MEMBER: name,
            VARIABLE: str(self.ledger), FOLDER: str(self.histories), RATE: str(self.rate),
            LINE: str(self.line), **extra,
        }  # fmt: skip
        log = self.folder / f"{number:03}-{kind}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        member = Member(name, kind, Process(popen), proxy, log)
        with self._lock:
            self.members.append(member)
        return member


def wait_for(moment: float) -> None:
    """Until a time of the monotonic clock."""
    until(lambda: time.monotonic() >= moment, timeout=moment - time.monotonic() + 60)
