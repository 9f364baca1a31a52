"""What every benchmark needs: a server with honest settings, the machine, the median."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from perdure import __version__
from perdure.embedded import EmbeddedServer
from perdure.store.migrate import migrate

# fsync and synchronous_commit stay on: a number without durability is no number.
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}


@dataclass(frozen=True)
class Measured:
    """One benchmark's values: the median counts, all runs are told."""

    row: str
    benchmark: str
    unit: str
    runs: list[float]
    target: float
    settings: dict[str, Any]
    details: dict[str, Any]

    def as_json(self, server: str) -> dict[str, Any]:
        """The line that is printed: what, how much, against what, where."""
        value = statistics.median(self.runs)
        return {
            "row": self.row,
            "benchmark": self.benchmark,
            "value": round(value, 1),
            "unit": self.unit,
            "target": self.target,
            "met": value >= self.target,
            "runs": [round(run, 1) for run in self.runs],
            "machine": machine(),
            "versions": {
                "perdure": __version__,
                "python": platform.python_version(),
                "postgresql": server,
                "psycopg": psycopg.__version__,
            },
            "settings": self.settings,
            **self.details,
        }


@contextmanager
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of our own for the life of the block."""
    with EmbeddedServer(settings=SERVER) as own:
        yield own


def fresh_database(own: EmbeddedServer) -> str:
    """A migrated database; its DSN."""
    with psycopg.connect(own.dsn(), autocommit=True) as connection:
        connection.execute("drop database if exists bench with (force)")
        connection.execute("create database bench")
    dsn = own.dsn("bench")
    migrate(dsn)
    return dsn


def machine() -> dict[str, Any]:
    """Cores, memory, system."""
    memory = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line
    )
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def repeat(times: int, run: Callable[[int], float], what: str) -> list[float]:
    """The runs of a benchmark, told one by one on standard error."""
    values = []
    for number in range(1, times + 1):
        value = run(number)
        values.append(value)
        print(f"{what}: run {number} of {times}: {value:,.0f}", file=sys.stderr)
    return values
