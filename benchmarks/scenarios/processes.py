"""S2: the same drain by two processes, and by sixteen."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Bench, Check, Row, drain, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("graphile-worker",)
TASKS = 200_000
SLOW_TASKS = 10_000


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Tasks per second of one, two and sixteen processes of ours; two of the peers'."""
    ours = peer("perdure")
    rates: dict[str, list[float]] = {}

    def run(of: Peer, processes: int) -> None:
        tasks = bench.tasks(SLOW_TASKS if of.slow else TASKS)
        with bench.database(of) as dsn:
            load(bench, of, dsn, tasks)
            rate = drain(bench, of, dsn, tasks, processes=processes).rate
        rates.setdefault(f"{of.name} {processes}", []).append(rate)
        bench.say(f"  {of.name}, {processes} processes: {rate:,.0f} tasks/s")

    for _ in range(bench.runs):
        for processes in (1, 2, 16):
            run(ours, processes)
        for of in peers:
            run(of, 2)
    medians = {name: median(values) for name, values in rates.items()}
    one, two, sixteen = (medians[f"perdure {processes}"] for processes in (1, 2, 16))
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
            settings={"tasks": TASKS, "processes": 2, **bench.settings(peers)},
            details={"by_processes": {name: round(value) for name, value in medians.items()}},
        )
    ]  # fmt: skip
