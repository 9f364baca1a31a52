"""The clock of the server is set, forth and back, drifts, or it stands still, beside workers."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.kit.clocks import ServerClock
from tests.kit.databases import SERVER_SETTINGS, Database, migrated_database
from tests.kit.debian import PackageMissingError
from tests.kit.fleet import BEAT, LEASE, Fleet, until
from tests.kit.lacking import lacking
from tests.kit.relay import begun, counters, ended, enqueue, registered

from perdure.embedded import EmbeddedServer
from perdure.embedded.binaries import find_binaries

pytestmark = pytest.mark.alone

HOUR, STEP = 3600, 10
NOW = "select clock_timestamp()"
LONG = 30
"""The other's lease, in seconds: longer than a step which makes the first one look dead."""
STILL_SECONDS = LEASE - BEAT / 2
"""Shorter than a lease, and with the beat before it as long as one."""


@pytest.fixture
def clock() -> Iterator[ServerClock]:
    with TemporaryDirectory(prefix="perdure-clock-") as folder:
        Path(folder).chmod(0o755)
        try:
            given = os.environ.get("PERDURE_TEST_BINARIES")
            yield ServerClock(find_binaries(Path(given) if given else None), Path(folder))
        except PackageMissingError as error:
            lacking(error)


@pytest.fixture
def server(clock: ServerClock) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(settings=SERVER_SETTINGS, binaries=clock.programs) as embedded:
        yield embedded


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    with migrated_database(server) as created:
        yield created


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


@contextmanager
def two_at_work(fleet: Fleet, seconds: float) -> Iterator[None]:
    """Two workers that may judge each other, with tasks that last; nobody is blamed at the end."""
    database = fleet.database
    leases = (f"{LEASE}s", f"{LONG}s")
    processes = [
        fleet.start(execution__concurrency="3", execution__lease_duration=lease) for lease in leases
    ]
    until(lambda: all(registered(database, process) for process in processes))
    born = database.rows("select id from perdure.workers order by id")
    beats = "select min(heartbeat_at - started_at) > %s * interval '1 s' from perdure.workers"
    until(lambda: database.value(beats, (3 * BEAT,)))
    tasks = enqueue(database, "sleeper", 6, n=int(seconds * 1000))
    until(lambda: all(begun(fleet, task, 1) for task in tasks))
    listed = "select count(*) from perdure.workers where cardinality(running) > 0"
    until(lambda: database.value(listed) == len(processes))
    yield
    until(lambda: ended(database, len(tasks)))
    assert database.rows("select id from perdure.workers order by id") == born
    for task in tasks:
        state, _, failures, _, crashes = counters(database, task)
        assert (state, failures, crashes) == ("completed", 0, 0)
    assert not database.rows("select from perdure.attempts where kind = 'crash'")


def beaten_since(database: Database, moment: datetime) -> bool:
    """Whether every worker has beaten since then, by the clock as it is."""
    between = "select bool_and(heartbeat_at between %s and clock_timestamp()) from perdure.workers"
    return bool(database.value(between, (moment,)))


def step_to(clock: ServerClock, database: Database, seconds: int) -> None:
    """Set the server's clock, and wait until every worker has beaten twice by the new one."""
    clock.set(seconds)
    for _ in range(2):
        now = database.value(NOW)
        until(partial(beaten_since, database, now))


def test_a_clock_that_is_set_makes_nobody_dead(
    fleet: Fleet, database: Database, clock: ServerClock
) -> None:
    with two_at_work(fleet, 4 * LEASE):
        for step in (HOUR, 0, STEP, 0, -HOUR, 0):
            step_to(clock, database, step)


def test_a_clock_that_drifts_makes_nobody_dead(
    fleet: Fleet, database: Database, clock: ServerClock
) -> None:
    with two_at_work(fleet, 5 * LEASE):
        for rate in (2, 0.5):
            clock.set(0, rate)
            before, at, after = time.monotonic(), database.value(NOW), time.monotonic()
            until(partial(beaten_since, database, at + timedelta(seconds=1.5 * LEASE)))
            least = time.monotonic() - after
            passed = (database.value(NOW) - at).total_seconds()
            most = time.monotonic() - before
            assert 0.9 * rate * least < passed < 1.1 * rate * most
            # Who took a moment of the one clock for one of the other would be a lease off by now.
            assert abs(passed - least) > LEASE - 2 * BEAT


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_who_dies_before_a_step_is_found_after_it(
    fleet: Fleet, database: Database, clock: ServerClock, step: int
) -> None:
    (task,) = enqueue(database, "stays", n=1)
    first = fleet.start()
    until(lambda: database.rows("select from perdure.workers where cardinality(running) > 0"))
    second = fleet.start()
    until(lambda: registered(database, second))
    first.kill()
    clock.set(step)
    until(lambda: ended(database, 1))
    assert [record["pid"] for record in fleet.ledger.records("start", task)] == [
        first.pid, second.pid,
    ]  # fmt: skip
    assert counters(database, task) == ("completed", 2, 0, 0, 1)


def test_what_waits_is_due_by_the_servers_clock_and_never_before(
    fleet: Fleet, database: Database, clock: ServerClock
) -> None:
    worker = fleet.start()
    until(lambda: registered(database, worker))
    delayed = database.value("select task_id from perdure.enqueue('sleeper', delay => '30 min')")
    step_to(clock, database, -HOUR)
    step_to(clock, database, 0)
    assert not fleet.ledger.records("start", delayed)
    step_to(clock, database, HOUR)
    until(lambda: ended(database, 1))
    assert counters(database, delayed) == ("completed", 1, 0, 0, 0)


def test_a_server_that_stands_still_makes_nobody_dead(
    fleet: Fleet, database: Database, server: EmbeddedServer
) -> None:
    with two_at_work(fleet, 3 * LEASE):
        processes = [pid for (pid,) in database.rows("select pid from pg_stat_activity")]
        try:
            tell(processes, signal.SIGSTOP)
            select.select([], [], [], STILL_SECONDS)
        finally:
            tell(processes, signal.SIGCONT)


def tell(processes: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
