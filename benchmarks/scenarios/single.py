"""S10: enqueue one by one: one caller, a hundred callers of one client, and SQL by pgbench."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from benchmarks.harness import Bench, Check, Program, Row, median
from benchmarks.measure import pgbench
from benchmarks.peers import peer
from benchmarks.peers.adapter import PAYLOAD, Peer

PEERS = ("pgqueuer", "graphile-worker", "awa", "procrastinate")
SECONDS = 4.0
CLIENTS = 16
BARE = (
    (
        "create table bare (id bigint generated always as identity primary key, name text not null,"
        " queue text not null default 'default', priority smallint not null default 5,"
        " run_at timestamptz not null default now(), metadata jsonb not null)"
    ),
    "create index on bare (queue, priority, id)",
    "create index on bare (run_at)",
)
DOCUMENT = '{"n": 1, "data": "' + PAYLOAD + '"}'
SCRIPTS = {
    "bare": f"insert into bare (name, metadata) values ('noop', '{DOCUMENT}');",
    "perdure": f"select * from perdure.enqueue('noop', '{DOCUMENT}');",
}


def rows(bench: Bench, peers: Sequence[Peer]) -> list[Row]:
    """Calls per second, against the best peer and against a bare INSERT."""
    ours = peer("perdure")
    rates: dict[tuple[str, int], list[float]] = {}
    by_sql: dict[str, list[float]] = {"bare": [], "perdure": []}
    for _ in range(bench.runs):
        for of in (ours, *peers):
            for callers in (1, 100):
                with bench.database(of) as dsn:
                    rate = _call(bench, of, dsn, callers)
                rates.setdefault((of.name, callers), []).append(rate)
                bench.say(f"  {of.name}, {callers} callers: {rate:,.0f} calls/s")
        with bench.database(ours) as dsn:
            for script, values in by_sql.items():
                values.append(_pgbench(bench, dsn, script))
                bench.say(f"  pgbench, {script}: {values[-1]:,.0f} calls/s")
    medians = {key: median(values) for key, values in rates.items()}
    best = {n: max((medians[of.name, n] for of in peers), default=1.0) for n in (1, 100)}
    sql = median([a / b for a, b in zip(by_sql["perdure"], by_sql["bare"], strict=True)])
    checks = [
        Check("one caller, times the best peer", medians["perdure", 1] / best[1], 1.2),
        Check("100 callers, times the best peer", medians["perdure", 100] / best[100], 8.0),
        Check("perdure.enqueue of a bare INSERT", sql, 0.8),
    ]
    return [
        Row(
            row="S10", benchmark="single", unit="calls/s", runs=rates["perdure", 100],
            peers={of.name: medians[of.name, 100] for of in peers}, checks=checks,
            versions=bench.versions(peers),
            settings={
                "seconds": SECONDS, "clients": CLIENTS, "perdure, one caller": "SyncTaskClient",
                **bench.settings(peers),
            },
            details={
                "one_caller": {n: round(v) for (n, callers), v in medians.items() if callers == 1},
                "pgbench": {name: round(median(values)) for name, values in by_sql.items()},
            },
        )
    ]  # fmt: skip


def _call(bench: Bench, of: Peer, dsn: str, callers: int) -> float:
    seconds = str(bench.seconds(SECONDS))
    with Program(
        of.command("one"), dsn, BENCH_SECONDS=seconds, BENCH_CALLERS=str(callers)
    ) as program:
        done = program.result()
    return float(done["tasks"]) / float(done["seconds"])


def _pgbench(bench: Bench, dsn: str, script: str) -> float:
    """Transactions per second of 16 clients; the table of the bare INSERT has three indexes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if script == "bare":
            for statement in BARE:
                connection.execute(statement.encode())
        connection.execute("checkpoint")
    return pgbench(bench, dsn, SCRIPTS[script], clients=CLIENTS, seconds=bench.seconds(SECONDS))
