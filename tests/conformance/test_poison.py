"""Tasks that kill their process, and tasks that merely run in processes that are killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, Process, until
from tests.kit.relay import (
    QUICK_BEATS,
    claimed,
    counters,
    ended,
    enqueue,
    note_claims,
    opened_gate,
    report,
)


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


def died(fleet: Fleet, process: Process) -> None:
    """Wait until the process has ended by itself, and report it."""
    process.wait()
    report(fleet.database, process)


def started(fleet: Fleet, task: int, times: int) -> Callable[[], bool]:
    """Asks whether the task's handler has begun so often."""
    return lambda: len(fleet.ledger.records("start", task)) >= times


def check_quarantine(fleet: Fleet, poison: int, workers: list[Process], last: Process) -> None:
    """Two workers and one child of the last one have died of it, which lives."""
    assert last.alive
    assert fleet.database.rows(
        "select state, error ->> 'kind' from perdure.task(%s::bigint)", (poison,)
    ) == [("failed", "crash")]
    starts = fleet.ledger.records("start", poison)
    assert [start["pid"] for start in starts[:2]] == [worker.pid for worker in workers]
    assert [start["parent"] for start in starts[2:]] == [last.pid]
    until(lambda: not fleet.database.rows("select from perdure.leases"))
    fleet.database.check_drained()


@pytest.mark.conformance("C34")
@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_a_task_that_kills_at_once_takes_two_workers_and_one_child(fleet: Fleet, how: str) -> None:
    database = fleet.database
    (poison,) = enqueue(database, "poison", how=how)
    neighbours = enqueue(database, "neighbour", 20, n=20)
    options = {**QUICK_BEATS, "execution__concurrency": "8", "execution__prefetch": "30"}
    workers = []
    for _ in range(2):
        workers.append(fleet.start(**options))
        died(fleet, workers[-1])
    last = fleet.start(**options)
    until(lambda: ended(database, 21))
    check_quarantine(fleet, poison, workers, last)
    for task in neighbours:
        state, attempt, failures, interruptions, crashes = counters(database, task)
        assert (state, failures, interruptions) == ("completed", 0, 0)
        assert attempt == int(str(crashes)) + 1


@pytest.mark.conformance("C34")
def test_neighbours_that_are_only_prefetched_when_their_worker_dies_are_not_touched(
    fleet: Fleet,
) -> None:
    database = fleet.database
    (poison,) = enqueue(database, "poison", how="gated")
    neighbours = enqueue(database, "neighbour", 20)
    options = {**QUICK_BEATS, "execution__concurrency": "1", "execution__prefetch": "30"}
    note_claims(database)
    workers = []
    for _ in range(2):
        database.execute("truncate claims")
        workers.append(fleet.start(**options))
        until(lambda: claimed(database) >= 21)
        with opened_gate(fleet):
            died(fleet, workers[-1])
    last = fleet.start(**options)
    with opened_gate(fleet):
        until(lambda: ended(database, 21))
    check_quarantine(fleet, poison, workers, last)
    for task in neighbours:
        assert counters(database, task) == ("completed", 1, 0, 0, 0)
        (start,) = fleet.ledger.records("start", task)
        assert start["pid"] == last.pid
    assert database.rows("select distinct task_id from perdure.attempts") == [(poison,)]


@pytest.mark.conformance("C34")
def test_a_task_without_checkpoints_whose_worker_is_killed_nine_times_completes(
    fleet: Fleet,
) -> None:
    database = fleet.database
    (task,) = enqueue(database, "stays", n=9)
    workers = [fleet.start(**QUICK_BEATS)]
    for kills in range(1, 10):
        until(started(fleet, task, kills))
        # The first start is known by a beat only, the later ones are written.
        until(lambda: database.rows("select from perdure.workers where running <> '{}'"))
        workers.append(fleet.start(**QUICK_BEATS))
        start = fleet.ledger.records("start", task)[-1]
        (holder,) = [one for one in workers if one.pid in (start["pid"], start["parent"])]
        workers.remove(holder)
        holder.kill()
        report(database, holder)
    until(lambda: ended(database, 1))
    assert counters(database, task) == ("completed", 10, 0, 0, 9)
    starts = fleet.ledger.records("start", task)
    assert [start["attempt"] for start in starts] == list(range(1, 11))
    assert database.value("select count(*) from perdure.attempts where kind = 'crash'") == 9
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()


@pytest.mark.conformance("C35")
def test_a_task_that_saves_in_each_run_is_not_quarantined_after_ten_kills(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "climber", n=10)
    workers = [fleet.start(**QUICK_BEATS) for _ in range(3)]
    alive = set(workers)

    def over() -> bool:
        for worker in [worker for worker in alive if not worker.alive]:
            alive.discard(worker)
            report(database, worker)
            if len(workers) <= 10:
                workers.append(fleet.start(**QUICK_BEATS))
                alive.add(workers[-1])
        return ended(database, 1)

    until(over)
    assert counters(database, task) == ("completed", 11, 0, 0, 0)
    assert len(alive) == 1
    starts = fleet.ledger.records("start", task)
    assert [start["page"] for start in starts] == list(range(11))
    # Never apart: each run was in a worker of its own choice, not in a child.
    assert {start["pid"] for start in starts} == {worker.pid for worker in workers}
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()
