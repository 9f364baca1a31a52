"""S1: preloaded tasks that do nothing, one process, results stored, fenced, durable."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Bench, Check, Drained, Row, drain, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("pgqueuer", "graphile-worker", "awa", "procrastinate")
TASKS = 100_000
SLOW_TASKS = 5_000
RATIOS = {"pgqueuer": 3.0, "graphile-worker": 1.6}


def drains(bench: Bench, peers: Sequence[Peer]) -> dict[str, list[Drained]]:
    """The drains of all, interleaved; measured once for the rows that look at them."""
    known: dict[str, list[Drained]] = bench.kept.setdefault("drains", {})
    missing = [of for of in (peer("perdure"), *peers) if of.name not in known]
    if any(of.name != "perdure" for of in missing):
        # Ratios hold within one run: ours is measured again beside new peers.
        missing = [peer("perdure"), *(of for of in missing if of.name != "perdure")]
        known["perdure"] = []

    def run(of: Peer, _: int) -> float:
        tasks = bench.tasks(SLOW_TASKS if of.slow else TASKS)
        with bench.database(of) as dsn:
            load(bench, of, dsn, tasks)
            drained = drain(bench, of, dsn, tasks)
        known.setdefault(of.name, []).append(drained)
        return drained.rate

    bench.interleaved(missing, run, "tasks/s")
    return known


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Tasks per second, against each peer."""
    found = drains(bench, peers)
    ours = [one.rate for one in found["perdure"]]
    theirs = {of.name: median([one.rate for one in found[of.name]]) for of in peers}
    checks = [
        Check(f"times {name}", median(ours) / theirs[name], ratio)
        for name, ratio in RATIOS.items() if name in theirs
    ]  # fmt: skip
    checks.append(Check("tasks/s", median(ours), 30_000))
    return [
        Row(
            row="S1", benchmark="drain", unit="tasks/s", runs=ours, peers=theirs, checks=checks,
            settings={
                "tasks": TASKS, "tasks of slow peers": SLOW_TASKS, "payload_bytes": 180,
                **bench.settings(peers),
            },
            versions=bench.versions(peers),
            details={
                "worker_cpu_us_per_task": {
                    name: round(median([one.worker_cpu_us for one in of]), 1)
                    for name, of in found.items()
                },
                "server_cpu_us_per_task": {
                    name: round(median([one.server_cpu_us for one in of]), 1)
                    for name, of in found.items()
                },
                "rss_mb": max(one.rss_mb for one in found["perdure"]),
            },
        )
    ]  # fmt: skip
