"""The pooler of the fault tests: it is one, and it is in transaction mode."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.faults.pgbouncer import PgBouncer, find_pgbouncer, pooling
from tests.kit import debian
from tests.kit.databases import Database, Server
from tests.kit.debian import PackageMissingError


@pytest.fixture
def pooler(server: Server) -> Iterator[PgBouncer]:
    """One connection to the server for each database and login."""
    with pooling(server, {"default_pool_size": "1"}) as started:
        yield started


def backend(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("select pg_backend_pid()").fetchone()
    return row[0] if row else None


def test_clients_share_a_session_from_transaction_to_transaction(
    pooler: PgBouncer, database: Database
) -> None:
    dsn = pooler.dsn(database.name)
    with (
        psycopg.connect(dsn, autocommit=True) as first,
        psycopg.connect(dsn, autocommit=True) as second,
    ):
        first.execute("set application_name = 'leaked'")

        assert backend(first) == backend(second)
        assert second.execute("show application_name").fetchone() == ("leaked",)
        assert second.execute("select count(*) from perdure.tasks").fetchone() == (0,)


def test_the_start_up_parameter_options_is_refused(pooler: PgBouncer) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter: options"):
        psycopg.connect(pooler.dsn(), options="-c search_path=public")


def test_every_login_comes_with_its_own_password(
    pooler: PgBouncer, empty_database: Database
) -> None:
    login = f"login_{empty_database.name}"
    empty_database.execute(f"create role {login} login password 'its own'")
    try:
        dsn = make_conninfo(pooler.dsn(empty_database.name), user=login, password="its own")
        with psycopg.connect(dsn, autocommit=True) as connection:
            assert connection.execute("select current_user").fetchone() == (login,)
        with pytest.raises(psycopg.OperationalError, match=r"password|SASL"):
            psycopg.connect(make_conninfo(dsn, password="wrong"))
    finally:
        empty_database.execute(f"drop role {login}")


def test_a_stopped_pooler_is_gone_with_its_files(
    server: Server,
) -> None:
    with PgBouncer(server) as pooler:
        folder = pooler._folder
        assert folder is not None
        assert Path(folder.name).exists()
    pooler.stop()

    assert not Path(folder.name).exists()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(pooler.dsn())


def test_a_wrong_setting_is_shown(server: Server) -> None:
    with pytest.raises(RuntimeError, match="pool_mode"):
        PgBouncer(server, {"pool_mode": "odd"}).start()


def test_a_machine_that_has_none_and_cannot_fetch_it_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(command: list[str], folder: Path) -> str:
        raise subprocess.CalledProcessError(100, command, stderr="E: first\nE: Unable to fetch\n")

    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(debian, "_do", refuse)

    with pytest.raises(PackageMissingError, match=r"^.*: E: Unable to fetch$"):
        find_pgbouncer()
    assert list(tmp_path.iterdir()) == []
