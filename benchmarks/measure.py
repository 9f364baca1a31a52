"""Small measures that several scenarios share: percentiles, memory, backends, pgbench, bytecode."""

from __future__ import annotations

import math
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.harness import Bench, cpu_of

PAUSE_SECONDS = 0.002


class Memory(NamedTuple):
    """Resident memory of a process in MiB: now, and the most it ever was."""

    now: float
    most: float


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def memory_of(pid: int) -> Memory:
    """From /proc: getrusage counts the peak of the process that started this one, too."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+)", status))
    return Memory(int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024)


def backends_cpu(connection: psycopg.Connection[Any]) -> float:
    """CPU seconds so far of the server's processes that work for Perdure's workers here."""
    rows = connection.execute(
        "select pid from pg_stat_activity"
        " where datname = current_database() and application_name like 'perdure %'"
    ).fetchall()
    return sum(cpu_of(pid) for (pid,) in rows)


def beating(connection: psycopg.Connection[Any]) -> int:
    """Workers that have beaten since their start: they listen, and know what is paused."""
    return connection.execute(
        "select from perdure.workers where heartbeat_at > started_at + '1 s'"
    ).rowcount


def wait_until(what: str, done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look again and again.

    Raises:
        TimeoutError: it has not come true in time.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(PAUSE_SECONDS)


def pgbench(bench: Bench, dsn: str, script: str, *, clients: int, seconds: float) -> float:
    """Transactions per second of one script by so many clients."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.sql"
        file.write_text(script)
        done = subprocess.run(
            [bench.pgbench, "-n", "-M", "prepared", "-c", str(clients), "-j", "2",
             "-T", str(max(1, round(seconds))), "-f", str(file), dsn],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout)
    return float(found[1])


@contextmanager
def bytecode() -> Iterator[dict[str, str]]:
    """Variables of an environment in which Python keeps its bytecode, as where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
