"""A worker whose wall clock is an hour off, beside one whose clock is right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.relay import begun, counters, ended, enqueue, registered

HOUR = 3600
SECONDS = 3.0
LEASE = f"{SECONDS}s"


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


@pytest.mark.conformance("C95")
@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_clock_that_is_an_hour_off_changes_no_due_time(fleet: Fleet, off: int) -> None:
    database = fleet.database
    fleet.start(off)
    (task,) = enqueue(database, "again", n=30)
    delayed = [
        database.value("select task_id from perdure.enqueue('neighbour', delay => '10 minutes')"),
        database.value(
            "select task_id from perdure.enqueue('neighbour', run_at => now() + interval '30 min')"
        ),
    ]
    until(lambda: database.rows("select from perdure.waiting where reason = 'retry'"))
    (start,) = fleet.ledger.records("start", task)
    assert start["clock"] - time.time() == pytest.approx(off, abs=10)
    # Exactly 30 s after the database has recorded the end of the run, by its own clock.
    assert database.value(
        "select extract(epoch from w.due_at - a.ended_at)::float from perdure.waiting as w"
        " join perdure.attempts as a on a.task_id = w.task_id where w.reason = 'retry'"
    ) == pytest.approx(30, abs=0.5)
    assert database.value(
        "select abs(extract(epoch from clock_timestamp() - a.started_at))::float < 10"
        " from perdure.attempts as a"
    )
    # Nothing becomes due an hour early, nor late.
    states = "select distinct state from perdure.task_states where id = any (%s)"
    assert database.rows(states, ([task, *delayed],)) in (
        [("scheduled",), ("retrying",)],
        [("retrying",), ("scheduled",)],
    )
    database.execute("update perdure.waiting set due_at = clock_timestamp() + interval '0.3 s'")
    until(lambda: ended(database, 3), timeout=5)
    for id_ in [task, *delayed]:
        times = database.rows(
            "select state, extract(epoch from clock_timestamp() - started_at)::float,"
            " extract(epoch from finished_at - started_at)::float"
            " from perdure.task(%s::bigint)", (id_,)
        )  # fmt: skip
        state, ago, lasted = times[0]
        assert state == "completed"
        assert -5 <= ago <= 10
        assert -5 <= lasted <= 5
    # Each instant by itself, however late a slow machine makes its look.
    database.execute(
        "select perdure.put_schedule('s', 'neighbour', every => '1 second', catch_up => 'all',"
        " overlap => 'allow')"
    )
    until(lambda: database.value("select count(*) from perdure.fires") > 1, timeout=10)
    database.execute("select perdure.delete_schedule('s')")
    late = "select extract(epoch from decided_at - fire_at)::float, count from perdure.fires"
    assert all(0 <= seconds < 10 and count == 1 for seconds, count in database.rows(late))
    until(
        lambda: (
            database.value(
                "select count(*) from perdure.fires as f join perdure.outcomes as o using (task_id)"
            )
            == database.value("select count(*) from perdure.fires")
        )
    )
    database.check_drained()


@pytest.mark.conformance("C95")
@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_clock_that_is_an_hour_off_changes_no_lease(fleet: Fleet, off: int) -> None:
    database = fleet.database
    wrong = fleet.start(off, execution__lease_duration=LEASE)
    until(lambda: registered(database, wrong))
    mine = enqueue(database, "sleeper", n=int(3 * SECONDS * 1000))
    until(lambda: begun(fleet, mine[0], 1))
    right = fleet.start(execution__lease_duration=LEASE)
    until(lambda: registered(database, right))
    ids = database.rows("select id from perdure.workers order by id")
    both = mine + enqueue(database, "sleeper", 6, n=int(2 * SECONDS * 1000))
    until(lambda: ended(database, 7))
    for task in both:
        assert counters(database, task) == ("completed", 1, 0, 0, 0)
        assert len(fleet.ledger.records("start", task)) == 1
    # Neither has taken the other for dead.
    assert database.rows("select id from perdure.workers order by id") == ids
    assert not database.rows("select from perdure.attempts")


@pytest.mark.conformance("C95")
@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_worker_whose_clock_is_an_hour_off_finds_the_dead_when_their_lease_is_over(
    fleet: Fleet, off: int
) -> None:
    database = fleet.database
    (task,) = enqueue(database, "stays", n=1)
    right = fleet.start(execution__lease_duration=LEASE)
    listed = "select from perdure.workers where %s::bigint = any (running)"
    until(lambda: database.rows(listed, (task,)))
    wrong = fleet.start(off, execution__lease_duration=LEASE)
    until(lambda: registered(database, wrong))
    beats = "select min(heartbeat_at - started_at) > interval '0.9 s' from perdure.workers"
    until(lambda: database.value(beats))
    asked = time.monotonic()
    age = "select extract(epoch from clock_timestamp() - heartbeat_at)::float from perdure.workers"
    beaten = database.value(f"{age} where pid = %s", (right.pid,))
    right.kill()
    until(lambda: ended(database, 1))
    first, second = fleet.ledger.records("start", task)
    assert (first["pid"], second["pid"]) == (right.pid, wrong.pid)
    assert second["at"] - asked >= SECONDS - beaten
    assert counters(database, task) == ("completed", 2, 0, 0, 1)
