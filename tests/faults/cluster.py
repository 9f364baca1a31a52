"""A primary and its standby over one stream, which can be stalled; killed, demoted, promoted."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from tests.kit.databases import Database, own_server
from tests.kit.fleet import until
from tests.kit.proxy import Proxy, proxied
from tests.kit.relay import make_tables

from perdure.embedded import EmbeddedServer
from perdure.store.migrate import migrate

NAME = "cluster"
"""The database, and what the standby calls itself."""
# The machine lives on, so nothing has to reach a disk; what was committed must be in the WAL.
SETTINGS = {"fsync": "off", "synchronous_commit": "on", "max_connections": "100"}


@dataclass
class Cluster:
    """Two servers with the same data.

    Attributes:
        stream: what the primary sends to its standby comes by here.
        way: what workers connect to; it leads to the primary until it is told otherwise.
        old, new: the database on the first primary, and on the standby, later the second one.
    """

    primary: EmbeddedServer
    standby: EmbeddedServer
    stream: Proxy
    way: Proxy
    old: Database
    new: Database

    def catch_up(self) -> None:
        """Wait until the standby has replayed all that the primary has written by now."""
        end = self.old.value("select pg_current_wal_lsn()")
        with psycopg.connect(self.standby.dsn(), autocommit=True) as connection:
            question = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            until(lambda: (connection.execute(question, (end,)).fetchone() or [False])[0])

    def kill_primary(self) -> None:
        """SIGKILL the postmaster: all of its processes follow it."""
        pid = self.primary.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def demote_primary(self) -> None:
        """Let the primary refuse writes; its connections live on, what they have begun may end."""
        self.old.execute("alter system set default_transaction_read_only = on")
        self.old.execute("select pg_reload_conf()")
        until(lambda: self.old.value("show default_transaction_read_only") == "on")
        since = self.old.value("select clock_timestamp()")
        begun = (
            "select from pg_stat_activity where backend_type = 'client backend' and xact_start < %s"
        )
        until(lambda: not self.old.rows(begun, (since,)))

    def promote(self) -> float:
        """Make the standby the primary, for workers, too; when it took writes, monotonic."""
        self.stream.close()
        self.way.lead_to(self.standby.dsn(NAME))
        with psycopg.connect(self.standby.dsn(), autocommit=True) as connection:
            connection.execute("select pg_promote(true, 30)")
        return time.monotonic()


@contextmanager
def data() -> Iterator[Path]:
    """The data of a server with a migrated database, for clusters to copy."""
    with tempfile.TemporaryDirectory(prefix="perdure-cluster-") as folder:
        Path(folder).chmod(0o711)  # The server is another user where we are root.
        made = Path(folder) / "data"
        with _server(made) as server:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(f"create database {NAME}".encode())
            database = Database(server, NAME)
            migrate(database.dsn, schema_name=database.schema)
            make_tables(database)
            database.close()
        yield made


@contextmanager
def cluster(origin: Path, *, synchronous: bool) -> Iterator[Cluster]:
    """A cluster on copies of the data; `synchronous`: commits wait for the standby."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=origin.parent)))
        folder.chmod(0o711)
        for name in ("primary", "standby"):
            shutil.copytree(origin, folder / name)
        (folder / "standby" / "standby.signal").touch()
        names = {"synchronous_standby_names": NAME} if synchronous else {}
        primary = stack.enter_context(_server(folder / "primary", names))
        stream = stack.enter_context(proxied(primary.dsn()))
        conninfo = make_conninfo(stream.dsn, application_name=NAME)
        standby = stack.enter_context(_server(folder / "standby", {"primary_conninfo": conninfo}))
        way = stack.enter_context(proxied(primary.dsn(NAME)))
        with psycopg.connect(primary.dsn(), autocommit=True) as connection:
            question = "select from pg_stat_replication where state = 'streaming'"
            until(lambda: connection.execute(question).fetchall())
        old, new = Database(primary, NAME), Database(standby, NAME)
        stack.callback(old.close)
        stack.callback(new.close)
        yield Cluster(primary, standby, stream, way, old, new)


def _server(folder: Path, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
    return own_server({**SETTINGS, **(settings or {})}, folder)
