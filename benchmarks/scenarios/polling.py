"""S8: the same as S7 without wake-ups: workers that only look for tasks, every 100 ms."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness import Bench, Check, Row, median
from benchmarks.measure import percentile
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer
from benchmarks.scenarios.pickup import EVERY_SECONDS, pickups

PEERS = ()
TASKS = 400
SETTINGS = {
    "PERDURE_SCHEDULING__WAKEUPS": "off",
    "PERDURE_SCHEDULING__POLLING_DELAY": "100ms",
}


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """Milliseconds from commit to start."""
    ours = peer("perdure")
    middle, worst = [], []
    for _ in range(bench.runs):
        with bench.database(ours) as dsn:
            found = pickups(bench, ours, dsn, TASKS, **SETTINGS)
        middle.append(percentile(found, 50))
        worst.append(percentile(found, 99))
        bench.say(f"  p50 {middle[-1]:.1f}, p99 {worst[-1]:.1f} ms")
    return [
        Row(
            row="S8", benchmark="polling", unit="ms, p50", runs=middle,
            checks=[Check("ms, p50", median(middle), 55.0, at_most=True)],
            versions=bench.versions(),
            settings={
                "tasks": TASKS, "every_seconds": EVERY_SECONDS, **SETTINGS, **bench.settings()
            },
            details={"p99_ms": round(median(worst), 2)},
        )
    ]  # fmt: skip
