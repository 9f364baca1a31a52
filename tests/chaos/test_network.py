"""Ways to the server that swallow everything, one direction, or only take their time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.faults.writes import PAGES
from tests.kit.databases import Database
from tests.kit.fleet import B2, B4, LEASE, SLACK, Fleet, Process, until
from tests.kit.proxy import Proxy, Way, proxied
from tests.kit.relay import all_work, begun, ended, enqueue, make_tables, registered

pytestmark = pytest.mark.alone


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with proxied(database.dsn) as made:
        yield made


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    make_tables(database)
    with Fleet(database, "tests.faults.writes:service", tmp_path) as fleet:
        yield fleet


def start(fleet: Fleet, proxy: Proxy | None = None, /, **options: str) -> Process:
    """A worker that beats, by way of the proxy if there is one."""
    dsn = fleet.database.dsn if proxy is None else proxy.dsn
    process = fleet.start(dsn=dsn, **options)
    until(lambda: registered(fleet.database, process))
    return process


def check_all(database: Database) -> None:
    """Everything has ended once, with its effects once, and nothing is left."""
    total = database.value("select count(*) from perdure.tasks")
    until(lambda: ended(database, total))
    until(lambda: not database.rows("select from perdure.leases"))
    states = database.rows("select distinct state from perdure.task_states")
    assert states == [("completed",)]
    written = Counter(database.rows("select task_id, page from pages"))
    assert set(written.values()) <= {1}
    asked = database.value("select count(*) from perdure.tasks where name = 'pages'")
    assert len(written) == PAGES * asked
    effects = "select count(*), count(distinct task_id) from effects"
    asked = database.value("select count(*) from perdure.tasks where name = 'effect'")
    assert database.rows(effects) == [(asked, asked)]
    database.check_drained()


def check_moved(
    fleet: Fleet, tasks: Sequence[int], cut_off: Process, other: Process, since: float
) -> None:
    """Half of the tasks were with the one that is cut off, and went on with the other in time."""
    starts = [fleet.ledger.records("start", task) for task in tasks]
    moved = [later for first, *later in starts if first["pid"] == cut_off.pid]
    assert len(moved) == len(tasks) // 2
    for later in moved:
        assert {record["pid"] for record in later} == {other.pid}
        assert later[0]["at"] - since <= B2 + SLACK


@pytest.mark.parametrize("only", [None, "asked", "answered"])
def test_the_tasks_of_a_worker_in_a_black_hole_go_on_elsewhere(
    fleet: Fleet, proxy: Proxy, only: Way | None
) -> None:
    database = fleet.database
    half = {"execution__concurrency": "8", "execution__prefetch": "0"}
    cut_off, other = start(fleet, proxy, **half), start(fleet, None, **half)
    # They end before those that the other one takes over have to start in the same slots.
    tasks = enqueue(database, "pages", 16, n=700)
    until(lambda: all(begun(fleet, task, 1) for task in tasks))
    proxy.swallow(new=True, only=only)
    swallowed = time.monotonic()
    until(lambda: ended(database, len(tasks)))
    check_moved(fleet, tasks, cut_off, other, swallowed)
    proxy.pass_on()
    all_work(fleet, [cut_off, other], time.monotonic(), B4)
    check_all(database)


def test_after_a_black_hole_around_all_of_them_workers_go_on(fleet: Fleet, proxy: Proxy) -> None:
    database = fleet.database
    both = [start(fleet, proxy), start(fleet, proxy)]
    tasks = enqueue(database, "pages", 4, n=1_200) + enqueue(database, "short", 4, n=2_500)
    tasks += enqueue(database, "effect", 4) + enqueue(database, "saves", 4)
    until(lambda: all(begun(fleet, task, 1) for task in tasks))
    proxy.swallow(new=True)
    looks_dead = (
        "select count(*) = 2 from perdure.workers"
        " where heartbeat_at < clock_timestamp() - interval '2.5 s'"
    )
    until(lambda: database.value(looks_dead))
    proxy.pass_on()
    all_work(fleet, both, time.monotonic(), B4)
    check_all(database)


@pytest.mark.parametrize(("delay", "trickle"), [(0.15, False), (0.0, True)])
def test_a_slow_way_to_the_server_is_no_death(
    fleet: Fleet, proxy: Proxy, delay: float, *, trickle: bool
) -> None:
    database = fleet.database
    slow = start(fleet, proxy)
    # One that does little but look for workers that are dead.
    start(fleet, execution__concurrency="1", execution__prefetch="0")
    born = database.rows("select id from perdure.workers order by id")
    proxy.delay, proxy.trickle = delay, trickle
    since = database.value("select clock_timestamp()")
    for name, count in (("short", 40), ("effect", 4), ("saves", 4), ("again", 4)):
        enqueue(database, name, count, n=50)
    later = "select from perdure.workers where pid = %s and heartbeat_at > %s + interval '4.5 s'"
    until(lambda: database.rows(later, (slow.pid, since)))
    assert database.rows("select id from perdure.workers order by id") == born
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    assert slow.pid in {record["pid"] for record in fleet.ledger.records("start")}
    check_all(database)


def test_a_way_that_is_slower_than_a_lease_is_a_death_and_what_comes_late_is_refused(
    fleet: Fleet, proxy: Proxy
) -> None:
    database = fleet.database
    slow = start(fleet, proxy)
    pages = enqueue(database, "pages", 4, n=1_000)
    tasks = pages + enqueue(database, "short", 4, n=1_500)
    until(lambda: all(begun(fleet, task, 1) for task in tasks))
    proxy.delay = LEASE
    other = start(fleet)
    until(lambda: all(begun(fleet, task, 2) for task in pages))
    until(lambda: ended(database, len(tasks)))
    proxy.delay = 0.0
    all_work(fleet, [slow, other], time.monotonic(), B4)
    check_all(database)
