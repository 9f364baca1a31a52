"""A producer that commits long after it has drawn its ids."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.fleet import CALM, Fleet, until
from tests.kit.relay import counters, ended, enqueue

pytestmark = pytest.mark.alone

SWEEP = 0.5
PICKUP = 1.5 * 0.1 + SWEEP
"""B6 for a queue that is never empty, in seconds."""
YOUNGER = 10_000


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        yield fleet


@pytest.mark.parametrize("busy", [True, False], ids=["under load", "idle"])
def test_tasks_committed_ten_minutes_late_start_within_a_sweep(fleet: Fleet, busy: bool) -> None:
    database = fleet.database
    fleet.start(scheduling__sweep_interval=f"{SWEEP}s", **CALM)
    enqueue(database, "short", 100)
    until(lambda: ended(database, 100))
    with psycopg.connect(database.dsn) as late:
        cursor = late.execute(
            "insert into perdure.tasks (name, metadata, created_at)"
            " select 'short', '{}', clock_timestamp() - interval '10 minutes'"
            " from generate_series(1, 5) returning id"
        )
        old = [id_ for (id_,) in cursor.fetchall()]
        younger = enqueue(database, "short", YOUNGER)
        assert max(old) < min(younger)
        until(lambda: ended(database, 100 + YOUNGER), timeout=60)
        assert not set(old) & {record["task"] for record in fleet.ledger.records("start")}
        count = 100 + YOUNGER
        if busy:
            enqueue(database, "short", YOUNGER)
            until(lambda: ended(database, count + 500))
            count += YOUNGER
        late.commit()
        committed = time.monotonic()
    until(lambda: ended(database, count + len(old)), timeout=60)
    for task in old:
        (start,) = fleet.ledger.records("start", task)
        assert start["at"] - committed <= PICKUP + 0.5
        assert counters(database, task) == ("completed", 1, 0, 0, 0)
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()
