"""What every benchmark needs: a server with honest settings, programs that tell, rows."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import psycopg

from benchmarks.peers import peer
from benchmarks.peers.adapter import ROOT, Peer
from perdure.embedded import EmbeddedServer

# fsync and synchronous_commit stay on: a number without durability is no number.
SERVER = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
}
TICKS = os.sysconf("SC_CLK_TCK")
SERIES_SECONDS = 0.25


@dataclass(frozen=True)
class Check:
    """One number that a row must reach: `value` at least (or at most) `target`."""

    what: str
    value: float
    target: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def margin(self) -> float:
        """How far above the target, as a factor: below 1 it is missed."""
        if self.at_most:
            return self.target / self.value if self.value else float("inf")
        return self.value / self.target

    def as_json(self) -> dict[str, Any]:
        """What was asked, what came."""
        bound = "at most" if self.at_most else "at least"
        return {"what": self.what, "value": round(self.value, 3), bound: self.target,
                "met": self.met}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of what is to be reached, measured: the median of the runs counts, all are told."""

    row: str
    benchmark: str
    unit: str
    runs: Sequence[float]
    checks: Sequence[Check]
    peers: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether every number was reached."""
        return all(check.met for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The line that is printed. `ratio` and `target` are those of the tightest check."""
        tightest = min(self.checks, key=lambda check: check.margin)
        return {
            "row": self.row,
            "benchmark": self.benchmark,
            "value": round(statistics.median(self.runs), 3),
            "unit": self.unit,
            "peers": {name: round(value, 3) for name, value in self.peers.items()},
            "ratio": round(tightest.value, 3),
            "target": tightest.target,
            "met": self.met,
            "checks": [check.as_json() for check in self.checks],
            "runs": [round(run, 3) for run in self.runs],
            "machine": machine(),
            "versions": {"python": platform.python_version(), **self.versions},
            "settings": {"server": SERVER, **self.settings},
            **self.details,
        }


class Bench:
    """One server for a whole run of benchmarks, and what was asked of them."""

    def __init__(self, server: EmbeddedServer, *, runs: int, scale: float) -> None:
        self.server = server
        self.runs = runs
        self.scale = scale
        """Factor on the number of tasks: below 1 it is a smoke test, and no number counts."""
        self.kept: dict[str, Any] = {}
        """What one scenario has measured and another looks at, too."""

    def tasks(self, count: int) -> int:
        """So many tasks, scaled."""
        return max(200, int(count * self.scale))

    def seconds(self, seconds: float) -> float:
        """So many seconds, scaled."""
        return max(0.5, seconds * min(self.scale, 1.0))

    def versions(self, peers: Sequence[Peer] = ()) -> dict[str, str]:
        """Of the server, of ours and of the peers."""
        found = {"postgresql": self.server.version}
        for of in (peer("perdure"), *peers):
            found |= of.versions()
        return found

    def settings(self, peers: Sequence[Peer] = (), *, defaults: bool = False) -> dict[str, Any]:
        """What ours and the peers were told."""
        return {of.name: of.settings(defaults=defaults) for of in (peer("perdure"), *peers)}

    def say(self, text: str) -> None:
        """Progress, for who waits."""
        print(text, file=sys.stderr, flush=True)

    @property
    def pgbench(self) -> str:
        """The program that comes with the server.

        Raises:
            SystemExit: it is nowhere.
        """
        beside = Path(self.server.binaries.folder) / "pgbench"
        found = str(beside) if beside.exists() else shutil.which("pgbench")
        if found is None:
            raise SystemExit("pgbench is needed: install postgresql (or postgresql-contrib)")
        return found

    @contextmanager
    def database(self, of: Peer, name: str = "bench") -> Iterator[str]:
        """An empty database with the peer's schema; its DSN."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(f'drop database if exists "{name}" with (force)'.encode())
            connection.execute(f'create database "{name}"'.encode())
        dsn = self.server.dsn(name)
        of.prepare(dsn)
        yield dsn
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(f'drop database if exists "{name}" with (force)'.encode())

    def interleaved(
        self, peers: Sequence[Peer], run: Callable[[Peer, int], float], unit: str
    ) -> dict[str, list[float]]:
        """Run each in turn, again and again: what the machine does meanwhile meets all alike."""
        values: dict[str, list[float]] = {of.name: [] for of in peers}
        for number in range(self.runs):
            for of in peers:
                value = run(of, number)
                values[of.name].append(value)
                self.say(f"  {of.name}: {value:,.1f} {unit}")
        return values

    def server_cpu(self) -> float:
        """CPU seconds of the server so far, its ended processes included."""
        master = self.server.pid
        if master is None:
            return 0.0
        pids = [master, *children(master)]
        return sum(cpu_of(pid, reaped=pid == master) for pid in pids)


@contextmanager
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of our own for the life of the block."""
    with EmbeddedServer(settings=SERVER) as own:
        yield own


class Program:
    """A measured program: its lines are read as they come."""

    def __init__(self, command: Sequence[str], dsn: str, **environment: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] = {"count": 0, "cpu": 0.0, "rss_mb": 0}
        self._heard = threading.Event()
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PERDURE_DSN": dsn, **environment},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for text in self.process.stdout or ():
            if not text.startswith("{"):
                continue
            line = json.loads(text)
            if "first" in line:
                self.first = line
            elif "count" in line:
                self.last = line
            else:
                self.lines.append(line)

    @property
    def cpu(self) -> float:
        """CPU seconds since the first task."""
        return float(self.last["cpu"]) - float(self.first["cpu"] if self.first else 0.0)

    def result(self) -> dict[str, Any]:
        """Wait for its end; its last line."""
        code = self.process.wait()
        self._reader.join()
        if code or not self.lines:
            raise RuntimeError(f"{self.process.args!r} ended with {code}")
        return self.lines[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()


@dataclass(frozen=True)
class Drained:
    """One drain: how fast, and what it cost."""

    rate: float
    worker_cpu_us: float
    server_cpu_us: float
    wal_bytes: float
    rss_mb: int
    series: list[tuple[float, int]]
    """Seconds since the first handler, and how many handlers had been called by then."""

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of worker and server for one task."""
        return self.worker_cpu_us + self.server_cpu_us


def load(
    _bench: Bench, of: Peer, dsn: str, tasks: int, how: str = "copy", *, settle: bool = True
) -> float:
    """Enqueue by the peer's bulk API; tasks per second."""
    with Program(of.command("load"), dsn, BENCH_TASKS=str(tasks), BENCH_HOW=how) as program:
        done = program.result()
    if settle:
        with psycopg.connect(dsn, autocommit=True) as connection:
            of.settle(connection)
    return float(done["tasks"]) / float(done["seconds"])


def drain(
    bench: Bench, of: Peer, dsn: str, tasks: int, *, processes: int = 1, defaults: bool = False,
    started: Callable[[psycopg.Connection[Any]], None] | None = None,
) -> Drained:  # fmt: skip
    """Let workers do what was loaded: from the first handler's start until nothing is left.

    `started` is called once the processes have been started.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        programs = [Program(of.command("work", defaults=defaults), dsn) for _ in range(processes)]
        try:
            if started is not None:
                started(connection)
            while not (begun := [p.first for p in programs if p.first]):
                _check(programs)
                time.sleep(0.001)
            wal, cpu = lsn(connection), bench.server_cpu()
            seen: list[tuple[float, int]] = []
            while (done := sum(int(p.last["count"]) for p in programs)) < tasks:
                _check(programs)
                if not seen or time.time() - seen[-1][0] >= SERIES_SECONDS:
                    seen.append((time.time(), done))
                time.sleep(0.005)
            while of.left(connection):
                time.sleep(0.002)
            ended = time.time()
            written, used = lsn(connection) - wal, bench.server_cpu() - cpu
            begun = [p.first for p in programs if p.first]
            first = min(float(line["first"]) for line in begun)
            worker_cpu = sum(p.cpu for p in programs if p.first)
            rss = max(int(p.last["rss_mb"]) for p in programs)
        finally:
            for program in programs:
                program.__exit__()
    return Drained(
        rate=tasks / (ended - first),
        worker_cpu_us=worker_cpu / tasks * 1e6,
        server_cpu_us=used / tasks * 1e6,
        wal_bytes=written / tasks,
        rss_mb=rss,
        series=[(round(at - first, 2), count) for at, count in seen],
    )


def _check(programs: Sequence[Program]) -> None:
    for program in programs:
        if program.process.poll() is not None:
            raise RuntimeError(f"{program.process.args!r} has ended by itself")


def lsn(connection: psycopg.Connection[Any]) -> int:
    """Bytes of write-ahead log so far."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def children(pid: int) -> list[int]:
    """Processes whose parent is this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def cpu_of(pid: int, *, reaped: bool = False) -> float:
    """CPU seconds of a process; `reaped`: with those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15] if reaped else fields[11:13])) / TICKS


def machine() -> dict[str, Any]:
    """Cores, memory, system, and the day."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


class Cpu(NamedTuple):
    """Seconds of all cores since the machine's start: all, and what its host gave to others."""

    total: float
    stolen: float

    @classmethod
    def now(cls) -> Cpu:
        """From /proc/stat: the eighth number is steal, those after it are parts of others."""
        with Path("/proc/stat").open() as stat:
            times = [int(field) / TICKS for field in stat.readline().split()[1:9]]
        return cls(sum(times), times[7])

    def stolen_since(self, began: Cpu) -> float:
        """Percent of the time since then."""
        return round(100 * (self.stolen - began.stolen) / (self.total - began.total or 1), 1)


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
