"""What a worker needs is used up or refused: connections, time, descriptors, its password."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.kit.databases import Database, migrated_database, own_server
from tests.kit.fleet import B4, LEASE, SLACK, Fleet, until
from tests.kit.logins import as_login, new_login
from tests.kit.relay import ended, enqueue, make_tables

from perdure.embedded import EmbeddedServer
from perdure.store.migrate import grant

CONNECTIONS = 12
COMERS = 30
PAUSE = 0.01
TIMEOUTS = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
TIMEOUTS += ["idle_session_timeout", "transaction_timeout"]


@pytest.fixture(scope="module")
def small() -> Iterator[EmbeddedServer]:
    settings = {"fsync": "off", "max_connections": str(CONNECTIONS), "max_wal_senders": "0"}
    with own_server(settings) as server:
        yield server


@pytest.fixture
def database(small: EmbeddedServer) -> Iterator[Database]:
    with migrated_database(small) as made:
        make_tables(made)
        made.execute("grant insert on effects, pages to public")
        yield made


@pytest.fixture
def login(database: Database) -> Iterator[str]:
    """A worker's: what the superuser keeps for itself is the test's."""
    with new_login(database.dsn) as made:
        grant(database.dsn, database.schema, "worker", made)
        yield made


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(database, "tests.faults.writes:service", tmp_path) as fleet:
        yield fleet


class Comers:
    """Threads that take whatever connection is free, and keep it."""

    def __init__(self, dsn: str) -> None:
        self.refused = 0
        self._dsn = dsn
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._come) for _ in range(COMERS)]

    def _come(self) -> None:
        while not self._over.wait(PAUSE):
            try:
                with psycopg.connect(self._dsn):
                    self._over.wait()
            except psycopg.OperationalError:
                self.refused += 1

    @contextmanager
    def coming(self) -> Iterator[None]:
        """They come, for the life of the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def beats(database: Database, workers: list[tuple[int]]) -> bool:
    """Whether the very same workers live."""
    alive = "select id from perdure.workers where heartbeat_at > clock_timestamp() - interval '2 s'"
    return database.rows(f"{alive} order by id") == workers


def end_sessions(database: Database, login: str) -> None:
    """End every session of workers of this login."""
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s"
        " and application_name like 'perdure%%'",
        (login,),
    )


@pytest.mark.alone
def test_a_worker_lives_through_a_server_without_a_free_connection(
    fleet: Fleet, database: Database, login: str
) -> None:
    dsn = as_login(database.dsn, login)
    worker = fleet.start(dsn=dsn, persistence__pool_max_size="2")
    until(lambda: database.value("select count(*) from perdure.workers") == 1)
    born = database.rows("select id from perdure.workers")
    # A connection is made when it is used first: now it has them all.
    first = enqueue(database, "short")
    until(lambda: ended(database, 1))
    comers = Comers(dsn)
    with comers.coming():
        until(lambda: comers.refused > COMERS)
        first += enqueue(database, "short", 200) + enqueue(database, "saves", 20)
        until(lambda: ended(database, len(first)))
        beaten = "select from perdure.workers where heartbeat_at > %s + interval '2 s'"
        since = database.value("select clock_timestamp()")
        until(lambda: database.rows(beaten, (since,)))
        until(lambda: beats(database, born))
        refused = comers.refused
        end_sessions(database, login)
        until(lambda: comers.refused > refused + COMERS)
        second = enqueue(database, "short", 20) + enqueue(database, "effect", 20)
        assert worker.alive
    until(lambda: any(fleet.ledger.records("start", task) for task in second), B4 + SLACK)
    until(lambda: ended(database, len(first + second)))
    until(lambda: not database.rows("select from perdure.leases"))
    assert worker.alive
    assert database.rows("select count(*), count(distinct task_id) from effects") == [(20, 20)]
    database.check_drained()


@pytest.mark.alone
def test_a_worker_without_a_free_descriptor_beats_and_goes_on_when_there_are_some(
    fleet: Fleet, database: Database
) -> None:
    worker = fleet.start()
    until(lambda: database.value("select count(*) from perdure.workers") == 1)
    born = database.rows("select id from perdure.workers")
    warm = enqueue(database, "short", 20) + enqueue(database, "effect", 5)
    until(lambda: ended(database, len(warm)))
    (hoarder,) = enqueue(database, "hoards", n=int(2 * LEASE * 1000))
    until(lambda: fleet.ledger.records("full", hoarder))
    beside = enqueue(database, "short", 50) + enqueue(database, "effect", 20)
    beside += enqueue(database, "alone", 2)
    until(lambda: database.value("select count(*) > 0 from perdure.attempts"))
    until(lambda: beats(database, born))
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'perdure flush'"
    )
    until(lambda: ended(database, len(warm + beside) + 1))
    assert worker.alive
    until(lambda: beats(database, born))
    assert database.rows("select distinct state from perdure.task_states") == [("completed",)]
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    assert database.rows("select count(*), count(distinct task_id) from effects") == [(25, 25)]
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()


@pytest.mark.alone
def test_a_worker_whose_password_is_changed_waits_for_the_new_one(
    fleet: Fleet, database: Database, login: str, tmp_path: Path
) -> None:
    file = tmp_path / "passfile"
    file.touch(mode=0o600)
    file.write_text("*:*:*:*:x")
    given = conninfo_to_dict(database.dsn) | {"user": login, "passfile": str(file)}
    given.pop("password", None)
    worker = fleet.start(dsn=make_conninfo("", **given), persistence__pool_max_size="2")
    first = enqueue(database, "short", 50) + enqueue(database, "effect", 10)
    until(lambda: ended(database, len(first)))
    change = sql.SQL("alter role {} password 'y'")
    database.connection.execute(change.format(sql.Identifier(login)))
    end_sessions(database, login)
    second = enqueue(database, "short", 50) + enqueue(database, "effect", 10)
    beaten = "select max(clock_timestamp() - heartbeat_at) from perdure.workers"
    until(lambda: database.value(beaten) > timedelta(seconds=LEASE))
    assert worker.alive
    assert ended(database, len(first))
    file.write_text("*:*:*:*:y")
    until(lambda: any(fleet.ledger.records("start", task) for task in second), B4 + SLACK)
    until(lambda: ended(database, len(first + second)))
    assert worker.alive
    assert database.rows("select count(*), count(distinct task_id) from effects") == [(20, 20)]
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()


def test_a_worker_whose_login_has_no_time_for_anything_does_its_work(
    fleet: Fleet, database: Database, login: str
) -> None:
    worker = fleet.start(dsn=as_login(database.dsn, login), persistence__pool_max_size="2")
    # With the limits from the start it would end if the machine stood still for 50 ms in it.
    until(lambda: database.rows("select from perdure.workers where heartbeat_at > started_at"))
    born = database.rows("select id from perdure.workers")
    for name in TIMEOUTS:
        with suppress(psycopg.errors.UndefinedObject):  # The last one is new in PostgreSQL 17.
            text = sql.SQL("alter role {} set {} = '50ms'")
            database.connection.execute(text.format(sql.Identifier(login), sql.Identifier(name)))
    end_sessions(database, login)
    ids: list[int] = []
    for name, count in (("short", 200), ("effect", 10), ("saves", 10), ("pages", 5)):
        ids += enqueue(database, name, count, n=5)
    ids += enqueue(database, "again", 10) + enqueue(database, "suspends", 10)
    until(lambda: ended(database, len(ids)))
    until(lambda: not database.rows("select from perdure.leases"))
    beaten = "select from perdure.workers where heartbeat_at > %s + interval '3 s'"
    since = database.value("select clock_timestamp()")
    until(lambda: database.rows(beaten, (since,)))
    until(lambda: beats(database, born))
    assert worker.alive
    assert database.rows("select distinct state from perdure.task_states") == [("completed",)]
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    assert database.rows("select count(*), count(distinct task_id) from effects") == [(10, 10)]
    pages = "select task_id, count(*), count(distinct page) from pages group by 1"
    assert {row[1:] for row in database.rows(pages)} == {(4, 4)}
    database.check_drained()
