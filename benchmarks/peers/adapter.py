"""What an adapter is: how a peer makes its schema, loads tasks, works, and says what is left."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[2]
PAYLOAD = "x" * 160


def payload(number: int) -> str:
    """The JSON text of a task's payload, about 180 bytes: the same for all."""
    return json.dumps({"n": number, "data": PAYLOAD})


class Peer(ABC):
    """One system at its fastest documented settings; `defaults` asks for what it does untouched.

    Its programs run in processes of their own and speak JSON lines: see `benchmarks.tally`.
    """

    name: str
    slow: bool = False
    """Whether it needs fewer tasks, so that a run ends within seconds."""
    left_sql: str
    """Asks whether anything is left to do: one boolean."""
    insert_sql: str
    """Enqueues one task from SQL; its one parameter is the payload as JSON text."""
    tables: Sequence[str] = ()
    """Analysed and vacuumed after a load, as autovacuum would have done by then."""

    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """The versions of what does the work."""

    @abstractmethod
    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told, for the record."""

    @abstractmethod
    def prepare(self, dsn: str) -> None:
        """Make its schema in an empty database."""

    @abstractmethod
    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """The program for `work`, `load` (its bulk API) or `one` (one call after the other)."""

    def python(self, what: str, *, defaults: bool = False) -> list[str]:
        """The adapter's own module as that program."""
        module = f"benchmarks.peers.{self.name.replace('-', '_')}"
        return [sys.executable, "-m", module, what, *(["defaults"] if defaults else [])]

    def settle(self, connection: psycopg.Connection[Any]) -> None:
        """After a load: what autovacuum does sooner or later, now, so that runs compare."""
        for table in self.tables:
            connection.execute(f"vacuum analyze {table}".encode())
        connection.execute("checkpoint")

    def left(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether anything is left to do."""
        row = connection.execute(self.left_sql.encode()).fetchone()
        return bool(row and row[0])
