"""PostgreSQL crashes, is away, or ends what workers and a producer are busy with."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.kit.databases import Database, migrated_database, own_server
from tests.kit.fleet import B4, Fleet, until
from tests.kit.proxy import proxied
from tests.kit.relay import all_work, begun, ended, enqueue, make_tables

from perdure.embedded import EmbeddedServer

pytestmark = pytest.mark.alone

# What has been committed must be there after a crash of the server; the machine itself lives on.
SETTINGS = {"fsync": "off", "synchronous_commit": "on"}
LEASE, BEAT = 3.0, 1.0
CANCELS = 50
ROUNDS = 2
NOWHERE = "host=127.0.0.1 port=1"
BEATEN = "from perdure.workers where heartbeat_at > pg_postmaster_start_time()"
OURS = "from pg_stat_activity where application_name like 'perdure%'"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with own_server(SETTINGS) as embedded:
        yield embedded


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    with migrated_database(server) as created:
        make_tables(created)
        yield created


def crash(server: EmbeddedServer, database: Database, *, away: float = 0.0) -> float:
    """Crash the server, start it again after so many seconds; when it answered, monotonic."""
    server._end("immediate")
    select.select([], [], [], away)
    server.start()
    database.reconnect()
    return time.monotonic()


def kill_one_process(server: EmbeddedServer, database: Database) -> float:
    """SIGKILL to one process of the server, which ends all others, too, and starts anew."""
    os.kill(database.value(f"select pid {OURS} limit 1"), signal.SIGKILL)
    until(lambda: not server_answers(database))
    until(lambda: server_answers(database))
    return time.monotonic()


def server_answers(database: Database) -> bool:
    """Whether there is a connection, or one can be made."""
    try:
        database.value("select 1")
    except psycopg.OperationalError:
        database.reconnect()
        return False
    return True


def end_sessions(_server: EmbeddedServer, database: Database) -> float:
    """End every session of the workers."""
    database.execute(f"select pg_terminate_backend(pid) {OURS}")
    return time.monotonic()


def cancel_statements(_server: EmbeddedServer, database: Database) -> float:
    """Cancel whatever statement of the workers is under way, again and again."""
    for _ in range(CANCELS):
        database.execute(f"select pg_cancel_backend(pid) {OURS}")
    return time.monotonic()


def check_nobody_was_blamed(database: Database) -> None:
    """No task has a crash, and none is lost."""
    assert not database.rows("select task_id from perdure.misplaced_tasks")
    assert database.value("select coalesce(max(crashes), 0) from perdure.progress") == 0
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    assert not database.rows("select from perdure.outcomes where state <> 'completed'")


class Producer:
    """Enqueues by plain INSERT, and remembers what the server has acknowledged."""

    def __init__(self, fleet: Fleet) -> None:
        self.ids: list[int] = []
        self._fleet = fleet

    def add(self, name: str, count: int, n: int = 0) -> None:
        """Enqueue so many tasks."""
        self.ids += enqueue(self._fleet.database, name, count, n=n)

    def until_most_have_ended(self) -> None:
        """Wait until all but the last have ended: the crash comes in the middle of them."""
        count = len(self.ids) - 800
        until(lambda: ended(self._fleet.database, count))

    def until_all_have_ended(self) -> None:
        """Wait for all; those whose transaction was broken off are tried again without a pause."""

        def over() -> bool:
            self._fleet.database.execute(
                "update perdure.waiting set due_at = clock_timestamp() where reason = 'retry'"
            )
            return ended(self._fleet.database, len(self.ids))

        until(over)


@pytest.mark.parametrize("blow", [crash, kill_one_process, end_sessions, cancel_statements])
def test_workers_go_on_by_themselves_after_blows_to_the_server(
    server: EmbeddedServer,
    database: Database,
    tmp_path: Path,
    blow: Callable[[EmbeddedServer, Database], float],
) -> None:
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        producer = Producer(fleet)
        workers = [fleet.start(), fleet.start()]
        until(lambda: database.value("select count(*) from perdure.workers") == 2)
        ids = database.rows("select id from perdure.workers order by id")
        for _ in range(ROUNDS):
            producer.add("short", 1_000)
            producer.add("effect", 200)
            producer.add("pages", 10, n=2)
            producer.until_most_have_ended()
            producer.ids += all_work(fleet, workers, blow(server, database), B4)
        producer.until_all_have_ended()
        until(lambda: not database.rows("select from perdure.leases"))
        assert all(worker.alive for worker in workers)
        assert database.rows("select id from perdure.workers order by id") == ids
    asked = database.rows("select id from perdure.tasks order by id")
    assert [id_ for (id_,) in asked] == sorted(producer.ids)
    check_nobody_was_blamed(database)
    effects = database.rows("select count(*), count(distinct task_id) from effects")
    assert effects == [(200 * ROUNDS,) * 2]
    pages = database.rows("select task_id, count(*), count(distinct page) from pages group by 1")
    assert {row[1:] for row in pages} == {(20, 20)}
    assert len(pages) == 10 * ROUNDS
    database.check_drained()


@pytest.mark.conformance("C37")
def test_after_an_outage_of_three_leases_no_living_worker_is_taken_for_dead(
    server: EmbeddedServer, database: Database, tmp_path: Path
) -> None:
    with (
        proxied(database.dsn) as proxy,
        Fleet(database, "tests.kit.rough:service", tmp_path) as fleet,
    ):
        # Who is back first judges after two beats: until then the other has to be back, too.
        times = {"execution__lease_duration": f"{LEASE}s", "execution__beat_interval": f"{BEAT}s"}
        workers = [fleet.start(dsn=dsn, **times) for dsn in (database.dsn, proxy.dsn)]
        until(lambda: database.value("select count(*) from perdure.workers") == 2)
        ids = database.rows("select id from perdure.workers order by id")
        stays = enqueue(database, "stays", 6, n=1)
        neighbours = enqueue(database, "neighbour", 30, n=800)
        until(lambda: all(begun(fleet, task, 1) for task in stays))
        proxy.lead_to(NOWHERE)
        answered = crash(server, database, away=3 * LEASE)
        # The first to be back finds that the other has not beaten for long, which is just coming.
        until(lambda: database.rows(f"select {BEATEN}"))
        proxy.lead_to(database.dsn)
        later = enqueue(database, "neighbour", 10)
        until(lambda: both_beat(database))
        until(lambda: ended(database, len(stays + neighbours + later)))
        until(lambda: not database.rows("select from perdure.leases"))
        # Both have judged by now: who was to be taken for dead would have been.
        until(lambda: time.monotonic() > answered + 2 * LEASE)
        assert all(worker.alive for worker in workers)
        assert database.rows("select id from perdure.workers order by id") == ids
        for task in stays:
            assert begun(fleet, task, 2)
    check_nobody_was_blamed(database)
    database.check_drained()


def both_beat(database: Database) -> bool:
    """Whether both workers have beaten more than once since the server has started."""
    question = f"select count(*) = 2 {BEATEN} + interval '{3 * BEAT} s'"
    try:
        return bool(database.value(question))
    except psycopg.OperationalError:
        database.reconnect()
        return False
