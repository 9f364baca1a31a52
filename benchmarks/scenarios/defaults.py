"""S16: a drain with nothing configured but the DSN, and without uvloop."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Bench, Check, Row, drain, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("pgqueuer", "awa")
TASKS = 100_000
PEER_TASKS = 10_000


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Tasks per second, against our best settings and the peers' defaults."""
    rates: dict[str, list[float]] = {}

    def run(of: Peer, *, defaults: bool) -> None:
        tasks = bench.tasks(TASKS if of.name == "perdure" else PEER_TASKS)
        with bench.database(of) as dsn:
            load(bench, of, dsn, tasks)
            rate = drain(bench, of, dsn, tasks, defaults=defaults).rate
        rates.setdefault(of.name if defaults else "best", []).append(rate)
        bench.say(f"  {of.name}, {'defaults' if defaults else 'best'}: {rate:,.0f} tasks/s")

    for _ in range(bench.runs):
        run(peer("perdure"), defaults=False)
        for of in (peer("perdure"), *peers):
            run(of, defaults=True)
    medians = {name: median(values) for name, values in rates.items()}
    checks = [Check("of our best settings", medians["perdure"] / medians["best"], 0.7)]
    if "pgqueuer" in medians:
        ratio = medians["perdure"] / medians["pgqueuer"]
        checks.append(Check("times pgqueuer's defaults", ratio, 6.0))
    return [
        Row(
            row="S16", benchmark="defaults", unit="tasks/s", runs=rates["perdure"],
            peers={of.name: medians[of.name] for of in peers}, checks=checks,
            versions=bench.versions(peers),
            settings={"tasks": TASKS, **bench.settings(peers, defaults=True)},
            details={"best_settings_per_second": round(medians["best"])},
        )
    ]  # fmt: skip
