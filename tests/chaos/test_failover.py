"""The primary dies or is demoted under load, and workers go on against its promoted standby."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import cycle
from pathlib import Path

import psycopg
import pytest
from tests.faults.cluster import Cluster, cluster, data
from tests.invariants import AT_THE_END
from tests.kit.databases import Database
from tests.kit.fleet import B5, SLACK, Fleet, Process, until
from tests.kit.relay import all_work, begun, counters, ended, enqueue, opened_gate

PAUSE = 0.004


@pytest.fixture(scope="module")
def origin() -> Iterator[Path]:
    with data() as made:
        yield made


@pytest.fixture
def asynchronous(origin: Path) -> Iterator[Cluster]:
    with cluster(origin, synchronous=False) as made:
        yield made


@pytest.fixture
def synchronous(origin: Path) -> Iterator[Cluster]:
    with cluster(origin, synchronous=True) as made:
        yield made


class Producer(threading.Thread):
    """Enqueues until its server is gone; `acknowledged` is what it was told of."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[int] = set()
        self._dsn = dsn
        self._ended = threading.Event()

    def run(self) -> None:
        text = "insert into perdure.tasks (name, metadata) values (%s, %s) returning id"
        with suppress(psycopg.Error), psycopg.connect(self._dsn, autocommit=True) as connection:
            for name in cycle(("short", "short", "effect", "short", "pages")):
                rows = connection.execute(text, (name, '{"n": 2}')).fetchall()
                self.acknowledged |= {id_ for (id_,) in rows}
                if self._ended.wait(PAUSE):
                    return

    def stop(self) -> None:
        """End, if the server has not ended it."""
        self._ended.set()
        self.join()


@contextmanager
def under_load(servers: Cluster, folder: Path) -> Iterator[tuple[Fleet, list[Process], Producer]]:
    """Two workers by way of the cluster, and a producer at its first primary."""
    with Fleet(servers.new, "tests.kit.service:service", folder) as fleet:
        both = [fleet.start(dsn=servers.way.dsn) for _ in range(2)]
        until(lambda: servers.old.value("select count(*) from perdure.workers") == 2)
        producer = Producer(servers.old.dsn)
        producer.start()
        yield fleet, both, producer


def now(database: Database) -> datetime:
    """The database's clock."""
    moment: datetime = database.value("select clock_timestamp()")
    return moment


def end_all(database: Database) -> None:
    """Wait until every task has ended; what was broken off is tried again without a pause."""

    def over() -> bool:
        database.execute(
            "update perdure.waiting set due_at = clock_timestamp() where reason = 'retry'"
        )
        return ended(database, database.value("select count(*) from perdure.tasks"))

    until(over)
    until(lambda: not database.rows("select from perdure.leases"))


def check_all(database: Database, *, rewound: bool = False) -> None:
    """Every task has ended once and well, with each of its effects once; nobody was blamed.

    `rewound`: some runs have ended in a time that is gone, and no history tells of them.
    """
    assert not database.rows("select id, state from perdure.task_states where state <> 'completed'")
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    for name, table, times in (("effect", "effects", 1), ("pages", "pages", 20)):
        wrong = database.rows(
            "select t.id, count(e.task_id) from perdure.tasks as t"
            f" left join {table} as e on e.task_id = t.id where t.name = %s"
            " group by t.id having count(e.task_id) <> %s",
            (name, times),
        )
        assert not wrong
    assert not database.rows("select from pages group by task_id, page having count(*) > 1")
    left = database.violations(AT_THE_END)
    if rewound:
        left.pop("an ended task was run as often as its history says", None)
    assert not left


@pytest.mark.alone
def test_after_an_asynchronous_failover_only_the_unreplicated_end_is_lost(
    asynchronous: Cluster, tmp_path: Path
) -> None:
    old, new = asynchronous.old, asynchronous.new
    with under_load(asynchronous, tmp_path) as (fleet, both, producer):
        until(lambda: ended(old, 200))
        replicated = set(producer.acknowledged)
        asynchronous.catch_up()
        asynchronous.stream.swallow(new=True)
        until(lambda: ended(old, 500))
        asynchronous.kill_primary()
        producer.stop()
        since = asynchronous.promote()
        there = {id_ for (id_,) in new.rows("select id from perdure.tasks")}
        all_work(fleet, both, since, B5)
        end_all(new)
    assert replicated <= there
    assert there <= producer.acknowledged
    assert there != producer.acknowledged, "nothing was unreplicated: the test proves nothing"
    check_all(new, rewound=True)


@pytest.mark.alone
def test_what_had_ended_in_the_unreplicated_end_runs_again_beside_what_still_runs(
    asynchronous: Cluster, tmp_path: Path
) -> None:
    old, new = asynchronous.old, asynchronous.new
    with Fleet(new, "tests.kit.rough:service", tmp_path) as fleet:
        with psycopg.connect(old.dsn) as connection:
            insert = (
                "insert into perdure.tasks (name, metadata) select 'neighbour',"
                " jsonb_build_object('n', n) from unnest(%s::int[]) as n returning id"
            )
            rows = connection.execute(insert, ([2_000] * 4 + [8_000] + [2_000] * 4,)).fetchall()
        tasks = [id_ for (id_,) in rows]
        long = tasks[4]
        fleet.start(dsn=asynchronous.way.dsn)
        until(lambda: begun(fleet, long, 1))
        text = "select task_ids from perdure.leases where %s::bigint = any (task_ids)"
        short = sorted({*old.value(text, (long,))} - {long})
        assert short
        asynchronous.catch_up()
        asynchronous.stream.swallow(new=True)
        until(lambda: ended(old, len(tasks) - 1))
        asynchronous.kill_primary()
        asynchronous.promote()
        assert not new.rows("select from perdure.outcomes where task_id = any (%s)", (short,))
        until(lambda: all(begun(fleet, task, 2) for task in short), timeout=B5 + SLACK)
        end_all(new)
    assert begun(fleet, long, 1)
    check_all(new, rewound=True)


@pytest.mark.parametrize(("name", "how"), [("writer", "end"), ("writer_apart", "transaction")])
def test_a_run_does_not_go_on_from_what_was_lost_with_the_old_primary(
    asynchronous: Cluster, tmp_path: Path, name: str, how: str
) -> None:
    old, new = asynchronous.old, asynchronous.new
    with Fleet(new, "tests.kit.rough:service", tmp_path) as fleet:
        (task,) = enqueue(old, name, how=how)
        fleet.start(dsn=asynchronous.way.dsn)
        until(lambda: begun(fleet, task, 1))
        asynchronous.catch_up()
        asynchronous.stream.swallow(new=True)
        with opened_gate(fleet):
            until(lambda: fleet.ledger.records("written", task))
        asynchronous.kill_primary()
        asynchronous.promote()
        assert not new.rows("select from pages")
        since = now(new)
        until(lambda: new.rows("select from perdure.workers where heartbeat_at > %s", (since,)))
        with opened_gate(fleet):
            end_all(new)
    assert new.rows("select page from pages order by page") == [(0,), (1,), (2,)]
    assert begun(fleet, task, 2)
    assert counters(new, task) == ("completed", 2, 0, 1, 0)


@pytest.mark.alone
def test_after_a_synchronous_failover_nothing_that_was_acknowledged_is_lost(
    synchronous: Cluster, tmp_path: Path
) -> None:
    old, new = synchronous.old, synchronous.new
    with under_load(synchronous, tmp_path) as (fleet, both, producer):
        until(lambda: ended(old, 300))
        finished = {id_ for (id_,) in old.rows("select task_id from perdure.outcomes")}
        synchronous.kill_primary()
        producer.stop()
        since = synchronous.promote()
        assert producer.acknowledged <= {id_ for (id_,) in new.rows("select id from perdure.tasks")}
        assert finished <= {id_ for (id_,) in new.rows("select task_id from perdure.outcomes")}
        all_work(fleet, both, since, B5)
        end_all(new)
    starts = Counter(record["task"] for record in fleet.ledger.records("start"))
    assert {starts[task] for task in finished} == {1}
    check_all(new)


@pytest.mark.alone
def test_workers_leave_a_demoted_primary_whose_connections_are_alive(
    synchronous: Cluster, tmp_path: Path
) -> None:
    old, new = synchronous.old, synchronous.new
    with under_load(synchronous, tmp_path) as (fleet, both, producer):
        until(lambda: ended(old, 200))
        synchronous.demote_primary()
        producer.stop()
        synchronous.catch_up()
        since = synchronous.promote()
        all_work(fleet, both, since, B5)
        end_all(new)
        assert all(worker.alive for worker in both)
        # What lies unused in a pool is found out when it is used.
        ours = (
            "select from pg_stat_activity where application_name like 'perdure _%'"
            " and datname = current_database()"
        )
        until(lambda: not old.rows(ours), timeout=B5)
    assert producer.acknowledged <= {id_ for (id_,) in new.rows("select id from perdure.tasks")}
    check_all(new)
