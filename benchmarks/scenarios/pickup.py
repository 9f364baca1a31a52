"""S7: one task every 50 ms from SQL into an idle system: from its commit to its handler's start."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from benchmarks.harness import Bench, Check, Program, Row, median
from benchmarks.measure import percentile, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer, payload

PEERS = ("pgqueuer", "graphile-worker", "awa", "procrastinate")
TASKS = 200
EVERY_SECONDS = 0.05
WARM_TASKS = 20
CALM_SECONDS = 1.0
START_SECONDS = 60.0


def pickups(
    bench: Bench, of: Peer, dsn: str, tasks: int = TASKS, **environment: str
) -> list[float]:
    """Milliseconds from the return of each commit to the start of its handler."""
    count = max(20, int(tasks * min(bench.scale, 1.0)))
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        Program(of.command("work"), dsn, BENCH_PICKUPS="1", **environment) as program,
    ):
        insert = of.insert_sql.encode()
        connection.execute(insert, [payload(-1)], prepare=True)
        wait_until(f"{of.name} takes its first task", lambda: bool(program.lines), START_SECONDS)
        for number in range(WARM_TASKS):
            connection.execute(insert, [payload(-2 - number)], prepare=True)
            time.sleep(EVERY_SECONDS)
        wait_until("warm", lambda: len(program.lines) > WARM_TASKS, START_SECONDS)
        time.sleep(CALM_SECONDS)
        committed: list[float] = []
        began = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, began + number * EVERY_SECONDS - time.perf_counter()))
            connection.execute(insert, [payload(number)], prepare=True)
            committed.append(time.time())
        wait_until("all are done", lambda: len(program.lines) > WARM_TASKS + count, START_SECONDS)
    started = {int(line["n"]): float(line["at"]) for line in program.lines}
    return [(started[number] - at) * 1e3 for number, at in enumerate(committed)]


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Milliseconds, p50 and p99, against the best of the peers."""
    middle: dict[str, list[float]] = {}
    worst: dict[str, list[float]] = {}
    for _ in range(bench.runs):
        for of in (peer("perdure"), *peers):
            with bench.database(of) as dsn:
                found = pickups(bench, of, dsn)
            middle.setdefault(of.name, []).append(percentile(found, 50))
            worst.setdefault(of.name, []).append(percentile(found, 99))
            bench.say(
                f"  {of.name}: p50 {middle[of.name][-1]:.2f}, p99 {worst[of.name][-1]:.2f} ms"
            )
    p50 = {name: median(values) for name, values in middle.items()}
    p99 = {name: median(values) for name, values in worst.items()}
    checks = [
        Check("ms, p50", p50["perdure"], 1.3, at_most=True),
        Check("ms, p99", p99["perdure"], 5.0, at_most=True),
    ]
    if peers:
        for what, of_all in (("p50", p50), ("p99", p99)):
            best = min(of_all[of.name] for of in peers)
            checks.append(
                Check(f"{what}, times the best peer's", of_all["perdure"] / best, 1.0, at_most=True)
            )
    return [
        Row(
            row="S7", benchmark="pickup", unit="ms, p50", runs=middle["perdure"],
            peers={of.name: p50[of.name] for of in peers}, checks=checks,
            versions=bench.versions(peers),
            settings={"tasks": TASKS, "every_seconds": EVERY_SECONDS, **bench.settings(peers)},
            details={"p99_ms": {name: round(value, 2) for name, value in p99.items()}},
        )
    ]  # fmt: skip
