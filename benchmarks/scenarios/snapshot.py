"""S4: a drain while an old snapshot is held, which keeps every dead row, against one without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from benchmarks.harness import Bench, Check, Row, drain, load, median
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ("pgqueuer", "graphile-worker", "awa")
TASKS = 300_000
PEER_TASKS = 60_000
SLOW_TASKS = 5_000


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Which part of its speed each keeps."""
    rates: dict[tuple[str, bool], list[float]] = {}
    series: dict[str, list[tuple[float, int]]] = {}
    for _ in range(bench.runs):
        for of in (peer("perdure"), *peers):
            for held in (False, True):
                tasks = bench.tasks(_tasks(of))
                with bench.database(of) as dsn:
                    load(bench, of, dsn, tasks)
                    with _snapshot(dsn, held=held):
                        drained = drain(bench, of, dsn, tasks)
                rates.setdefault((of.name, held), []).append(drained.rate)
                series[f"{of.name}{', snapshot held' if held else ''}"] = drained.series
                bench.say(f"  {of.name}, snapshot {held}: {drained.rate:,.0f} tasks/s")
    kept = {
        name: median(rates[name, True]) / median(rates[name, False])
        for name in ("perdure", *(of.name for of in peers))
    }
    return [
        Row(
            row="S4", benchmark="snapshot", unit="of the speed without", checks=[
                Check("of the speed without", kept["perdure"], 0.9)
            ],
            runs=[
                with_ / without
                for with_, without in zip(
                    rates["perdure", True], rates["perdure", False], strict=True
                )
            ],
            peers={of.name: kept[of.name] for of in peers}, versions=bench.versions(peers),
            settings={
                "tasks": {"perdure": TASKS, **{of.name: _tasks(of) for of in peers}},
                **bench.settings(peers),
            },
            details={
                "tasks_per_second": {
                    f"{name}{', snapshot held' if held else ''}": round(median(values))
                    for (name, held), values in rates.items()
                },
                "series": series,
            },
        )
    ]  # fmt: skip


def _tasks(of: Peer) -> int:
    if of.name == "perdure":
        return TASKS
    return SLOW_TASKS if of.slow else PEER_TASKS


@contextmanager
def _snapshot(dsn: str, *, held: bool) -> Iterator[None]:
    """A transaction in another session that has looked once and stays open."""
    if not held:
        yield
        return
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from pg_class")
        yield
        connection.rollback()
