"""S14: ten rounds of 100,000 enqueued and drained in one database: nothing may grow or slow down.

Nothing but the server's own autovacuum cleans up in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from benchmarks.harness import Bench, Check, Row, drain, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ()
ROUNDS = 10
TASKS = 100_000
MIB = 2**20


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """The last round's speed as a part of the first one's, and the size of `ready`."""
    ours = peer("perdure")
    tasks = bench.tasks(TASKS)
    told: list[list[dict[str, float]]] = []
    for _ in range(bench.runs):
        told.append([])
        with (
            bench.database(ours) as dsn,
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            for number in range(ROUNDS):
                enqueued = load(bench, ours, dsn, tasks, settle=False)
                drained = drain(bench, ours, dsn, tasks)
                told[-1].append({
                    "enqueued_per_second": round(enqueued),
                    "drained_per_second": round(drained.rate),
                    "cpu_us_per_task": round(drained.cpu_us, 1),
                    "ready_mib": round(_size(connection) / MIB, 1),
                })  # fmt: skip
                bench.say(f"  round {number + 1}: {told[-1][-1]}")
    ratios = [rounds[-1]["drained_per_second"] / rounds[0]["drained_per_second"] for rounds in told]
    size = median([rounds[-1]["ready_mib"] for rounds in told])
    return [
        Row(
            row="S14", benchmark="rounds", unit="of the first round's tasks/s", runs=ratios,
            checks=[
                Check("last round, of the first", median(ratios), 0.95),
                Check("MiB, ready and its index", size, 20, at_most=True),
            ],
            versions=bench.versions(),
            settings={"rounds": ROUNDS, "tasks": TASKS, **bench.settings()},
            details={"rounds": told},
        )
    ]  # fmt: skip


def _size(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_total_relation_size('perdure.ready')").fetchone()
    return int(row[0]) if row else 0
