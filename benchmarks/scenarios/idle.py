"""S12: an idle worker process: statements per second, CPU, memory; and memory in a drain.

The worker is `perdure worker` with a service of one task, started as a user does, with bytecode.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from benchmarks.handlers import SETTINGS
from benchmarks.harness import Bench, Check, Program, Row, cpu_of, median
from benchmarks.measure import bytecode, memory_of, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer
from benchmarks.scenarios.drain import drains

PEERS = ()
SECONDS = 60.0
CALM_SECONDS = 5.0
COMMAND = [sys.executable, "-m", "perdure", "worker", "-A", "benchmarks.handlers:service"]
STATEMENTS = b"""
    select s.query, s.calls from pg_stat_statements as s join pg_database as d on d.oid = s.dbid
    where d.datname = 'bench'
"""
TRANSACTIONS = b"""
    select 'transactions', xact_commit + xact_rollback from pg_stat_database where datname = 'bench'
"""


class Idle(NamedTuple):
    """What doing nothing costs."""

    queries: float
    cpu: float
    memory: float
    top: dict[str, int]
    """The statements that came most often, with their number."""


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """Statements per second; the other numbers are checks of their own."""
    ours = peer("perdure")
    found: list[Idle] = []
    with (
        bench.database(ours) as dsn,
        bytecode() as kept,
        psycopg.connect(bench.server.dsn(), autocommit=True) as connection,
    ):
        sql = _counting(connection)
        with Program([*COMMAND, "--burst"], dsn, **kept) as program:
            program.process.wait()
        with Program(COMMAND, dsn, **kept) as program:
            wait_until("it beats", lambda: _beats(dsn))
            time.sleep(bench.seconds(CALM_SECONDS))
            for _ in range(bench.runs):
                found.append(_idle(bench, connection, program.process.pid, sql))
                bench.say(
                    f"  {found[-1].queries:.2f} queries/s, {found[-1].cpu:.2f} CPU s a minute, "
                    f"{found[-1].memory:.0f} MiB"
                )
            most = memory_of(program.process.pid).most
    draining = max(one.rss_mb for one in drains(bench, [])["perdure"])
    checks = [
        Check("queries/s", median([one.queries for one in found]), 1.0, at_most=True),
        Check("CPU seconds per minute", median([one.cpu for one in found]), 0.3, at_most=True),
        Check("MiB, idle", max(one.memory for one in found), 60, at_most=True),
        Check("MiB, draining", draining, 100, at_most=True),
    ]
    return [
        Row(
            row="S12", benchmark="idle", unit="queries/s", runs=[one.queries for one in found],
            checks=checks, versions=bench.versions(),
            settings={
                "seconds": SECONDS, "counted": "transactions" if sql is TRANSACTIONS else "calls",
                **SETTINGS,
            },
            details={"peak_mib": round(most, 1), "statements": found[-1].top},
        )
    ]  # fmt: skip


def _counting(connection: psycopg.Connection[Any]) -> bytes:
    """Statements, where the server counts them; else transactions, autovacuum's included."""
    try:
        connection.execute("create extension if not exists pg_stat_statements")
        connection.execute("select from pg_stat_statements limit 1")
    except psycopg.Error:
        return TRANSACTIONS
    return STATEMENTS


def _beats(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select exists (select from perdure.workers)").fetchone()
    return bool(row and row[0])


def _calls(connection: psycopg.Connection[Any], sql: bytes) -> dict[str, int]:
    counts: dict[str, int] = {}
    for query, calls in connection.execute(sql).fetchall():
        text = " ".join(str(query).split())[:80]
        counts[text] = counts.get(text, 0) + calls
    return counts


def _idle(bench: Bench, connection: psycopg.Connection[Any], pid: int, sql: bytes) -> Idle:
    """One window."""
    before, cpu, began = _calls(connection, sql), cpu_of(pid), time.perf_counter()
    time.sleep(bench.seconds(SECONDS))
    seconds = time.perf_counter() - began
    used, after = cpu_of(pid) - cpu, _calls(connection, sql)
    more = {text: calls - before.get(text, 0) for text, calls in after.items()}
    top = sorted((text for text in more if more[text]), key=lambda text: -more[text])
    return Idle(
        queries=sum(more.values()) / seconds,
        cpu=used * 60 / seconds,
        memory=memory_of(pid).now,
        top={text: more[text] for text in top[:8]},
    )
