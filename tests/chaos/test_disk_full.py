"""The volume of the data, or of the WAL, is full under load, and has space again."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb
from tests.faults.volume import NoVolumeError, filled, move, volume
from tests.kit.databases import Database, new_database, own_server
from tests.kit.fleet import B4, Fleet, until
from tests.kit.lacking import lacking
from tests.kit.relay import all_work, ended, enqueue, make_tables

from perdure.embedded import EmbeddedServer
from perdure.store.migrate import migrate

pytestmark = pytest.mark.alone

# What has been committed must be there after a crash of the server; the machine itself lives on.
SETTINGS = {
    "fsync": "off", "synchronous_commit": "on", "max_connections": "60",
    "min_wal_size": "32MB",
}  # fmt: skip
LARGE = 500_000


@dataclass
class Full:
    """A server of which one folder lies on a volume that can be filled."""

    server: EmbeddedServer
    database: Database
    point: Path


@pytest.fixture
def full(request: pytest.FixtureRequest) -> Iterator[Full]:
    with ExitStack() as stack:
        try:
            point = stack.enter_context(volume(160))
        except NoVolumeError as error:
            lacking(error)
        other = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perdure-other-")))
        other.chmod(0o711)
        data, wal = (point, other) if request.param == "data" else (other, point)
        server = stack.enter_context(own_server(SETTINGS, data / "data"))
        server._end("fast")
        move(server, data / "data" / "pg_wal", wal / "pg_wal")
        server.start()
        database = stack.enter_context(new_database(server))
        migrate(database.dsn, schema_name=database.schema)
        make_tables(database)
        yield Full(server, database, point)


def keep_enqueueing(database: Database, ids: list[int]) -> None:
    """Enqueue until it is refused; the ids of what was acknowledged."""
    while True:
        ids += enqueue(database, "effect", 20)


def keep_writing(database: Database, ids: list[int]) -> None:
    """The same, with a megabyte of WAL each."""
    insert = "insert into perdure.tasks (name, metadata) values ('short', %s) returning id"
    while True:
        large = Jsonb({"large": secrets.token_hex(LARGE)})
        ids.append(database.value(insert, (large,)))


def check_all(database: Database, acknowledged: list[int]) -> None:
    """Nothing that was acknowledged is lost; everything has ended, once and well."""
    until(lambda: ended(database, database.value("select count(*) from perdure.tasks")))
    until(lambda: not database.rows("select from perdure.leases"))
    assert set(acknowledged) <= {id_ for (id_,) in database.rows("select id from perdure.tasks")}
    assert database.rows("select distinct state from perdure.task_states") == [("completed",)]
    assert not database.rows("select from perdure.attempts where kind = 'crash'")
    effects = "select count(*) = count(distinct task_id) from effects"
    assert database.value(effects)
    database.check_drained()


@pytest.mark.parametrize("full", ["data"], indirect=True)
def test_a_volume_of_data_that_is_full_refuses_producers_and_loses_nothing(
    full: Full, tmp_path: Path
) -> None:
    database = full.database
    with Fleet(database, "tests.faults.writes:service", tmp_path) as fleet:
        both = [fleet.start(execution__concurrency="200") for _ in range(2)]
        until(lambda: database.value("select count(*) from perdure.workers") == 2)
        ids = enqueue(database, "short", 300, n=1_500)
        ids += enqueue(database, "pages", 5, n=400) + enqueue(database, "effect", 5)
        until(lambda: len(fleet.ledger.records("start")) >= len(ids))
        with filled(full.point):
            with pytest.raises(psycopg.errors.DiskFull):
                keep_enqueueing(database, ids)
            refused = 'insert into "perdure".outcomes'
            until(lambda: refused in full.server.log)
            assert all(worker.alive for worker in both)
        all_work(fleet, both, time.monotonic(), B4)
        check_all(database, ids)
        assert all(worker.alive for worker in both)


@pytest.mark.parametrize("full", ["wal"], indirect=True)
def test_a_volume_of_wal_that_is_full_stops_the_server_and_loses_nothing(
    full: Full, tmp_path: Path
) -> None:
    database, server = full.database, full.server
    with Fleet(database, "tests.faults.writes:service", tmp_path) as fleet:
        both = [fleet.start() for _ in range(2)]
        until(lambda: database.value("select count(*) from perdure.workers") == 2)
        ids = enqueue(database, "short", 300) + enqueue(database, "effect", 50)
        with filled(full.point):
            with pytest.raises(psycopg.OperationalError):
                keep_writing(database, ids)
            until(lambda: "No space left on device" in server.log)
            assert all(worker.alive for worker in both)
        until(lambda: server.pid is None or answers(server))
        server.start()
        since = time.monotonic()
        database.reconnect()
        all_work(fleet, both, since, B4)
        check_all(database, ids)
        assert all(worker.alive for worker in both)


def answers(server: EmbeddedServer) -> bool:
    """Whether the server lives through it by itself."""
    try:
        psycopg.connect(server.dsn(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
