"""Worker processes that are killed, asked to stop, or frozen, in the middle of their tasks."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import CALM, GRACE, SLACK, Fleet, stopped, until
from tests.kit.relay import ended, enqueue, make_tables


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    make_tables(database)
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        yield fleet


def test_ten_thousand_tasks_survive_the_sigkill_of_two_workers(fleet: Fleet) -> None:
    database = fleet.database
    ids = enqueue(database, "short", 9_000)
    ids += enqueue(database, "effect", 1_000)
    first, second = fleet.start(), fleet.start()
    until(lambda: ended(database, 500))
    first.kill()
    fleet.start()
    until(lambda: ended(database, 3_000))
    second.kill()
    fleet.start()
    until(lambda: ended(database, 10_000), timeout=90)
    until(lambda: not database.rows("select from perdure.leases"))
    states = database.rows("select state, count(*) from perdure.outcomes group by state")
    assert states == [("completed", 10_000)]
    assert not database.rows("select task_id from perdure.misplaced_tasks")
    once = database.rows("select task_id from effects group by task_id having count(*) <> 1")
    assert not once
    assert database.value("select count(*) from effects") == 1_000
    started = {record["task"] for record in fleet.ledger.records("start")}
    assert started == set(ids)


@pytest.mark.conformance("C7")
def test_two_workers_start_each_of_ten_thousand_tasks_exactly_once(fleet: Fleet) -> None:
    database = fleet.database
    fleet.start(**CALM), fleet.start(**CALM)
    until(lambda: database.value("select count(*) from perdure.workers") == 2)
    ids = enqueue(database, "short", 10_000)
    until(lambda: ended(database, 10_000), timeout=60)
    starts = fleet.ledger.records("start")
    assert sorted(start["task"] for start in starts) == sorted(ids)
    assert len({start["pid"] for start in starts}) == 2
    assert database.value("select count(*) from perdure.outcomes") == 10_000
    assert database.rows("select distinct attempt, state from perdure.outcomes") == [
        (1, "completed")
    ]
    assert database.value("select count(*) from perdure.progress") == 0


@pytest.mark.alone
@pytest.mark.conformance("C29")
@pytest.mark.parametrize("name", ["gate", "thread"])
def test_after_sigterm_another_worker_goes_on_from_the_checkpoint(fleet: Fleet, name: str) -> None:
    database = fleet.database
    (task,) = enqueue(database, name, 1)
    first = fleet.start(**CALM)
    until(lambda: fleet.ledger.records("start", task))
    second = fleet.start(**CALM)
    until(lambda: database.value("select count(*) from perdure.workers") == 2)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    until(lambda: len(fleet.ledger.records("start", task)) == 2, timeout=1)
    until(lambda: ended(database, 1))
    starts = fleet.ledger.records("start", task)
    assert [start["page"] for start in starts] == [0, 7]
    assert starts[1]["pid"] == second.pid
    row = database.rows(
        "select state, attempt, interruptions, failures, crashes, result"
        " from perdure.task(%s::bigint)", (task,)
    )  # fmt: skip
    assert row == [("completed", 2, 1, 0, 0, {"n": 7})]


@pytest.mark.conformance("C33")
def test_after_sigkill_the_task_goes_on_from_its_last_checkpoint(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "pages", 1, n=200)
    first = fleet.start()
    until(lambda: len(fleet.ledger.records("page", task)) >= 5)
    first.kill()
    fleet.start()
    until(lambda: ended(database, 1))
    assert database.rows("select page from pages order by page") == [(n,) for n in range(20)]
    assert database.rows(
        "select state, attempt, crashes, failures from perdure.task(%s::bigint)", (task,)
    ) == [("completed", 2, 0, 0)]
    assert database.rows("select kind from perdure.attempts") == [("crash",)]


@pytest.mark.conformance("C36")
def test_a_frozen_worker_whose_lease_was_taken_writes_nothing(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "pages", 1, n=50)
    first = fleet.start()
    until(lambda: len(fleet.ledger.records("page", task)) >= 3)
    with stopped(first):
        second = fleet.start()
        until(lambda: ended(database, 1))
    until(lambda: database.value("select count(*) from perdure.workers") == 2)
    assert database.rows("select page from pages order by page") == [(n,) for n in range(20)]
    assert database.value("select count(*) from perdure.outcomes") == 1
    second.signal(signal.SIGTERM)
    first.signal(signal.SIGTERM)
    assert (first.wait(), second.wait()) == (0, 0)


@pytest.mark.alone
@pytest.mark.conformance("C32")
def test_a_handler_that_ignores_cancellation_does_not_hold_the_exit(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "stubborn", 1)
    first = fleet.start(**CALM)
    until(lambda: fleet.ledger.records("start", task))
    asked = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.wait(timeout=5) == 0
    assert time.monotonic() - asked <= GRACE + SLACK
    assert fleet.ledger.records("ignored", task)
    row = database.rows(
        "select t.state, t.reason, t.worker_id, extract(epoch from w.due_at - a.ended_at)::float"
        " from perdure.task(%s::bigint) as t join perdure.waiting as w on w.task_id = t.id"
        " join perdure.attempts as a on a.task_id = t.id", (task,)
    )  # fmt: skip
    assert row[0][:3] == ("scheduled", "interruption", None)
    assert 0.9 <= row[0][3] < 2
    written = len(fleet.ledger.records(task_id=task))
    second = fleet.start()
    until(lambda: ended(database, 1))
    later = fleet.ledger.records(task_id=task)[written:]
    assert {record["pid"] for record in later} == {second.pid}
    state = "select state, attempt, interruptions from perdure.task(%s::bigint)"
    assert database.rows(state, (task,)) == [
        ("completed", 2, 1)
    ]  # fmt: skip
