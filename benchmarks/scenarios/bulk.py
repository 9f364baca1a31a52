"""S9: 100,000 tasks enqueued from Python: by COPY, and with ids and answers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Bench, Check, Row, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("pgqueuer", "graphile-worker", "awa", "procrastinate")
TASKS = 100_000
SLOW_TASKS = 50_000


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Tasks per second, against the best bulk API of the peers."""
    rates: dict[str, list[float]] = {}

    def run(of: Peer, how: str) -> None:
        with bench.database(of) as dsn:
            tasks = bench.tasks(SLOW_TASKS if of.slow else TASKS)
            rate = load(bench, of, dsn, tasks, how, settle=False)
        rates.setdefault(how if of.name == "perdure" else of.name, []).append(rate)
        bench.say(f"  {of.name} {how}: {rate:,.0f} tasks/s")

    for _ in range(bench.runs):
        run(peer("perdure"), "copy")
        run(peer("perdure"), "enqueue_many")
        for of in peers:
            run(of, "bulk")
    theirs = {of.name: median(rates[of.name]) for of in peers}
    best = max(theirs.values(), default=1.0)
    checks = [
        Check("copy, times the best peer", median(rates["copy"]) / best, 2.0),
        Check("enqueue_many, times the best peer", median(rates["enqueue_many"]) / best, 1.0),
    ]
    return [
        Row(
            row="S9", benchmark="bulk", unit="tasks/s", runs=rates["copy"], peers=theirs,
            checks=checks, versions=bench.versions(peers),
            settings={"tasks": TASKS, "tasks of slow peers": SLOW_TASKS, **bench.settings(peers)},
            details={"enqueue_many_per_second": round(median(rates["enqueue_many"]))},
        )
    ]  # fmt: skip
