"""Workers that are asked to stop, again and again, and what their tasks keep."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import CALM, Fleet, until
from tests.kit.relay import begun, counters, ended, enqueue, registered

TIMES = 50


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


@pytest.mark.alone
@pytest.mark.conformance("C29")
def test_after_sigterm_no_body_of_a_step_runs_twice(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "stepped")
    first = fleet.start(**CALM)
    until(lambda: fleet.ledger.records("between", task))
    second = fleet.start(**CALM)
    until(lambda: registered(database, second))
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    until(lambda: len(fleet.ledger.records("start", task)) == 2, timeout=1)
    until(lambda: ended(database, 1))
    assert counters(database, task) == ("completed", 2, 0, 1, 0)
    bodies = fleet.ledger.records("body", task)
    assert [(body["value"], body["pid"]) for body in bodies] == [(1, first.pid), (2, second.pid)]
    assert database.value("select result from perdure.task(%s::bigint)", (task,)) == 3
    database.check_drained()


@pytest.mark.conformance("C30")
def test_fifty_stops_of_one_task_do_not_make_it_fail(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "stays", n=TIMES)
    worker = fleet.start(lives=str(TIMES + 1), execution__stop_grace="0.02s", **CALM)
    for stops in range(1, TIMES + 1):
        until(partial(begun, fleet, task, stops))
        worker.signal(signal.SIGTERM)
    until(lambda: ended(database, 1))
    assert counters(database, task) == ("completed", TIMES + 1, 0, TIMES, 0)
    rows = database.rows("select distinct kind, reason from perdure.attempts")
    assert rows == [("interruption", "shutdown")]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    database.check_drained()
