"""One system under one fault: its database, its workers, what was asked and what was seen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from subprocess import Popen
from typing import Any, NamedTuple

import psycopg
from tests.faults.peers.adapter import POISON, System
from tests.faults.peers.cutter import Cutter
from tests.faults.peers.workers import Workers
from tests.kit.databases import Server
from tests.kit.fleet import came
from tests.kit.ledger import Ledger

BATCHES = 60
"""Of the whole load; a smoke test takes fewer."""
EVERY_SECONDS = 0.15
SHORT_PER_BATCH = 6
STEPS = 5
PATIENCE_SECONDS = 60.0
WARM_FROM = 1_000_000
"""Numbers of tasks that warm up, or only show that a worker works: they are not judged."""


class Loss(NamedTuple):
    """When runs were broken off, monotonic: those of a process, or any (None)."""

    at: float
    pid: int | None = None


@dataclass
class Scene:
    """What a fault can do, and what the judge will ask."""

    system: System
    server: Server
    dsn: str
    workers: Workers
    ledger: Ledger
    cutter: Cutter
    asked: dict[int, int] = field(default_factory=dict)
    """Number -> steps of the tasks that are judged."""
    losses: list[Loss] = field(default_factory=list)
    in_the_middle: int = 0
    """Tasks of several steps that were under way when the fault came."""
    answered: float | None = None
    """When the server answered after its crash, monotonic."""
    before: list[int] = field(default_factory=list)
    """The workers that ran at the crash of the server."""
    frozen: dict[int, Popen[bytes]] = field(default_factory=dict)
    _warm: int = WARM_FROM

    def sql(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database directly, on a connection of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def enqueue(self, tasks: dict[int, int], kind: str = "effect") -> None:
        """Enqueue tasks, number -> steps, in one transaction."""
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.executemany(
                self.system.enqueue.encode(),
                [{"kind": kind, "payload": json.dumps({"n": n, "steps": steps})}
                 for n, steps in tasks.items()],
            )  # fmt: skip

    def enqueue_batch(self, batch: int) -> None:
        """The load's next tasks: some short, one in several steps."""
        first = batch * (SHORT_PER_BATCH + 1)
        tasks = {first + at: 1 for at in range(SHORT_PER_BATCH)} | {first + SHORT_PER_BATCH: STEPS}
        self.enqueue(tasks)
        self.asked |= tasks

    def warm_up(self, *pids: int, since: float) -> bool:
        """Enqueue little tasks until each of these processes has begun a run since then."""

        def both() -> bool:
            self.enqueue({self._warm + at: 1 for at in range(10)})
            self._warm += 10
            begun = {each["pid"] for each in self.ledger.records("start") if each["at"] > since}
            return begun.issuperset(set(pids) & {process.pid for process in self.workers.alive})

        return came(both, PATIENCE_SECONDS, every=0.25)

    def busiest(self) -> Popen[bytes]:
        """The worker with most tasks of several steps under way."""

        def under_way(pid: int) -> int:
            started: dict[int, int] = {}
            for each in self.ledger.records():
                if self.asked.get(each["task"]) == STEPS:
                    started[each["task"]] = each["pid"] if each["what"] == "start" else 0
            return list(started.values()).count(pid)

        def alive() -> list[Popen[bytes]]:
            return [each for each in self.workers.alive if each.pid not in self.frozen]

        came(lambda: any(under_way(each.pid) for each in alive()), PATIENCE_SECONDS / 3)
        found = max(alive(), key=lambda each: under_way(each.pid))
        self.in_the_middle += under_way(found.pid)
        return found

    def left(self) -> set[int]:
        """Judged tasks, and the poison, that have not ended."""
        found = {n for (n,) in self.sql(self.system.left)}
        return {n for n in found if n in self.asked or n == POISON}

    def failed(self) -> set[int]:
        """Judged tasks, and the poison, that the system has given up."""
        found = {n for (n,) in self.sql(self.system.failed)}
        return {n for n in found if n in self.asked or n == POISON}
