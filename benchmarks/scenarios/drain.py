"""Drain: preloaded async tasks that do nothing, with typed metadata and results, one worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg

from benchmarks.harness import Measured, fresh_database, repeat, server

PAYLOAD = "x" * 160
TARGET = 30_000.0
ROOT = Path(__file__).parents[2]


def measure(tasks: int, runs: int) -> tuple[Measured, str]:
    """Tasks per second, from the worker's first claim to its last outcome; the server's version."""
    details: dict[str, object] = {}
    with server() as own:
        dsn = fresh_database(own)
        # The first worker registers the name, so that the load finds its lane.
        _work(dsn)

        def once(_: int) -> float:
            with psycopg.connect(dsn, autocommit=True) as connection:
                _load(connection, tasks)
                before = _lsn(connection)
                report = _work(dsn)
                outcomes = connection.execute(
                    "select count(*), extract(epoch from max(finished_at) - min(started_at))"
                    " from perdure.outcomes"
                ).fetchone()
                if outcomes is None or outcomes[0] != tasks:
                    raise RuntimeError(f"{outcomes} of {tasks} tasks have ended")
                wal = connection.execute(
                    "select pg_current_wal_insert_lsn() - %s::pg_lsn", (before,)
                ).fetchone()
                details["wal_bytes_per_task"] = round(float(wal[0]) / tasks) if wal else None
                details["worker_cpu_us_per_task"] = round(report["cpu"] / tasks * 1e6, 1)
                details["worker_rss_mb"] = report["rss_mb"]
                connection.execute("truncate perdure.tasks, perdure.outcomes")
                return tasks / float(outcomes[1])

        values = repeat(runs, once, "drain, tasks per second")
        settings = {"tasks": tasks, "payload_bytes": len(PAYLOAD) + 20, "concurrency": 64}
        measured = Measured("S1", "drain", "tasks/s", values, TARGET, settings, details)
        return measured, own.version


def _load(connection: psycopg.Connection[tuple[object, ...]], tasks: int) -> None:
    with connection.cursor().copy("copy perdure.tasks (name, metadata) from stdin") as copy:
        for number in range(tasks):
            copy.write_row(("noop", json.dumps({"n": number, "data": PAYLOAD})))
    for table in ("tasks", "ready", "outcomes", "leases"):
        connection.execute(f"vacuum analyze perdure.{table}".encode())
    connection.execute("checkpoint")


def _lsn(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    row = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    return str(row[0]) if row else "0/0"


def _work(dsn: str) -> dict[str, float]:
    """One worker process in burst mode; what it used."""
    environment = {**os.environ, "PERDURE_DSN": dsn, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.work"],
        env=environment, cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report
