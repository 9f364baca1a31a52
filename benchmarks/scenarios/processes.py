"""S2: the same drain by two processes, and by sixteen.

The sixteen begin together, once all of them are there: on a few cores it takes them longer to load
Python than to do the tasks. One and two begin as they come, like the peers'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from benchmarks.harness import Bench, Check, Row, drain, load, median
from benchmarks.measure import beating, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("graphile-worker",)
TASKS = 200_000
SLOW_TASKS = 10_000
MANY = 16


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Tasks per second of one, two and sixteen processes of ours; two of the peers'."""
    ours = peer("perdure")
    rates: dict[str, list[float]] = {}

    def run(of: Peer, processes: int) -> None:
        tasks = bench.tasks(SLOW_TASKS if of.slow else TASKS)
        with bench.database(of) as dsn:
            load(bench, of, dsn, tasks)
            if processes == MANY:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute("select perdure.pause_queue('default')")
            rate = drain(
                bench, of, dsn, tasks, processes=processes,
                started=_begin_together if processes == MANY else None,
            ).rate  # fmt: skip
        rates.setdefault(f"{of.name} {processes}", []).append(rate)
        bench.say(f"  {of.name}, {processes} processes: {rate:,.0f} tasks/s")

    for _ in range(bench.runs):
        for processes in (1, 2, MANY):
            run(ours, processes)
        for of in peers:
            run(of, 2)
    medians = {name: median(values) for name, values in rates.items()}
    one, two, sixteen = (medians[f"perdure {processes}"] for processes in (1, 2, MANY))
    theirs = {of.name: medians[f"{of.name} 2"] for of in peers}
    checks = [
        Check("times our one process", two / one, 1.25),
        Check("sixteen against our best", sixteen / max(one, two), 0.8),
    ]
    if "graphile-worker" in theirs:
        checks.append(Check("times graphile-worker's two", two / theirs["graphile-worker"], 1.6))
    return [
        Row(
            row="S2", benchmark="processes", unit="tasks/s", runs=rates["perdure 2"],
            peers=theirs, checks=checks, versions=bench.versions(peers),
            settings={
                "tasks": TASKS, "tasks of slow peers": SLOW_TASKS, "processes": 2,
                **bench.settings(peers),
            },
            details={"by_processes": {name: round(value) for name, value in medians.items()}},
        )
    ]  # fmt: skip


def _begin_together(connection: psycopg.Connection[Any]) -> None:
    """Wait until all beat, and know that the queue is paused; then let them begin."""
    wait_until("all processes are there", lambda: beating(connection) == MANY, seconds=120.0)
    connection.execute("select perdure.resume_queue('default')")
