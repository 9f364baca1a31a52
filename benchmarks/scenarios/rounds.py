"""S14: ten rounds of 100,000 enqueued and drained in one database: nothing may grow or slow down.

One worker does them all, as in production; while a round is enqueued its queue is paused. Nothing
but that worker and the server's own autovacuum cleans up in between.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from benchmarks.harness import Bench, Check, Program, Row, load, median
from benchmarks.measure import beating, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ()
ROUNDS = 10
TASKS = 100_000
MIB = 2**20


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """The last round's speed as a part of the first one's, and the size of `ready`."""
    tasks = bench.tasks(TASKS)
    told: list[list[dict[str, float]]] = []
    for _ in range(bench.runs):
        told.append([])
        ours = peer("perdure")
        with (
            bench.database(ours) as dsn,
            psycopg.connect(dsn, autocommit=True) as connection,
            Program(ours.command("work"), dsn) as program,
        ):
            wait_until("the worker listens", lambda: beating(connection) > 0)
            for number in range(ROUNDS):
                told[-1].append(_round(bench, dsn, connection, program, tasks))
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


def _round(
    bench: Bench, dsn: str, connection: psycopg.Connection[Any], program: Program, tasks: int
) -> dict[str, float]:
    """Enqueue while the queue is paused; then from its resumption until nothing is left."""
    ours, before = peer("perdure"), int(program.last["count"])
    cpu, server_cpu = float(program.last["cpu"]), bench.server_cpu()
    connection.execute("select perdure.pause_queue('default')")
    enqueued = load(bench, ours, dsn, tasks, settle=False)
    connection.execute("select perdure.resume_queue('default')")
    began = time.monotonic()
    wait_until("they have been called", lambda: int(program.last["count"]) - before >= tasks)
    wait_until("nothing is left", lambda: not ours.left(connection))
    seconds = time.monotonic() - began
    return {
        "enqueued_per_second": round(enqueued),
        "drained_per_second": round(tasks / seconds),
        "worker_cpu_us": round((float(program.last["cpu"]) - cpu) / tasks * 1e6, 1),
        "server_cpu_us": round((bench.server_cpu() - server_cpu) / tasks * 1e6, 1),
        "ready_mib": round(_size(connection) / MIB, 1),
    }


def _size(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_total_relation_size('perdure.ready')").fetchone()
    return int(row[0]) if row else 0
