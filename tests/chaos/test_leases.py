"""Runs that are longer than a lease, or that block the event loop, in workers that live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.relay import counters, ended, enqueue

# A lease that is too short for a machine that others keep busy.
pytestmark = pytest.mark.alone

LEASE = 1.5
OPTIONS = {"execution__lease_duration": f"{LEASE}s", "execution__beat_interval": "0.4s"}


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


@pytest.mark.conformance("C38")
def test_runs_of_ten_leases_and_a_blocked_loop_keep_their_leases(fleet: Fleet) -> None:
    database = fleet.database
    holder = fleet.start(**OPTIONS)
    long = enqueue(database, "sleeper", 2, n=int(10.1 * LEASE * 1000))
    until(lambda: len(fleet.ledger.records("start")) == 2)
    # One that does nothing but look for workers that are dead.
    fleet.start(**OPTIONS, execution__concurrency="1")
    until(lambda: database.value("select count(*) from perdure.workers") == 2)
    blocking = enqueue(database, "blocker", 3, n=int(2.5 * LEASE * 1000))
    until(lambda: ended(database, 5))
    for task in long + blocking:
        assert counters(database, task) == ("completed", 1, 0, 0, 0)
        assert len(fleet.ledger.records("start", task)) == 1
    for task in long:
        (start,), (end,) = (fleet.ledger.records(what, task) for what in ("start", "end"))
        assert start["pid"] == holder.pid
        assert end["at"] - start["at"] >= 10 * LEASE
    # The loop that ran the long ones was blocked beyond two leases.
    blocked = [one for one in fleet.ledger.records("end") if one["task"] in blocking]
    assert holder.pid in {one["pid"] for one in blocked}
    assert not database.rows("select from perdure.attempts")
    database.check_drained()
