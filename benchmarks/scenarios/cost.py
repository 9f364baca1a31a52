"""S3: what a task costs: write-ahead log, and the server's CPU in the drain."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from benchmarks.harness import Bench, Check, Row, load, lsn, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer
from benchmarks.scenarios.drain import TASKS, drains

PEERS = ("pgqueuer", "awa")


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Bytes of the drain, of the whole life, and server CPU against PgQueuer's."""
    ours = peer("perdure")
    found = drains(bench, peers)
    enqueued = []
    for _ in range(bench.runs):
        with (
            bench.database(ours) as dsn,
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            tasks = bench.tasks(TASKS)
            before = lsn(connection)
            load(bench, ours, dsn, tasks, settle=False)
            enqueued.append((lsn(connection) - before) / tasks)
    drained = [one.wal_bytes for one in found["perdure"]]
    cpu = {name: median([one.server_cpu_us for one in of]) for name, of in found.items()}
    checks = [
        Check("bytes of WAL, claim and completion", median(drained), 450, at_most=True),
        Check("bytes of WAL, whole life", median(drained) + median(enqueued), 1_200, at_most=True),
    ]
    if "pgqueuer" in cpu:
        ratio = cpu["perdure"] / cpu["pgqueuer"]
        checks.append(Check("of pgqueuer's server CPU", ratio, 0.45, at_most=True))
    return [
        Row(
            row="S3", benchmark="cost", unit="bytes of WAL", runs=drained,
            peers={of.name: median([one.wal_bytes for one in found[of.name]]) for of in peers},
            checks=checks, versions=bench.versions(peers),
            settings={"tasks": TASKS, **bench.settings(peers)},
            details={
                "server_cpu_us_per_task": {name: round(value, 1) for name, value in cpu.items()},
                "enqueue_wal_bytes": round(median(enqueued)),
            },
        )
    ]  # fmt: skip
