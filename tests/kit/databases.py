"""Servers and databases for tests: one server a run, one migrated template, one clone a test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.invariants import ALWAYS, AT_THE_END, Question

from perdure.embedded import EmbeddedServer
from perdure.store.migrate import migrate
from perdure.store.schema import in_schema, in_statement

Plainly: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any] | None

# Nothing of a test has to outlive a crash of the machine; tests of crashes make their own server.
SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "deadlock_timeout": "50ms",
    "max_connections": "200",
}


class Server(Protocol):
    """What tests need of a server: EmbeddedServer, PgBouncer and GivenServer are such."""

    def dsn(self, database: str = "postgres") -> str:
        """Where to connect to reach `database`."""
        ...


@dataclass(frozen=True)
class GivenServer:
    """The server that PERDURE_TEST_DSN names; its login must be allowed to create databases."""

    given: str

    def dsn(self, database: str = "postgres") -> str:
        """The given DSN with another database in it."""
        return make_conninfo(self.given, dbname=database)


def own_server(
    settings: Mapping[str, str] = SERVER_SETTINGS, data_dir: Path | None = None
) -> EmbeddedServer:
    """A server of our own, not started yet.

    PERDURE_TEST_BINARIES names the folder of the programs to use, instead of those found first.
    """
    given = os.environ.get("PERDURE_TEST_BINARIES")
    binaries = Path(given) if given else None
    return EmbeddedServer(data_dir=data_dir, settings=settings, binaries=binaries)


@dataclass
class Database:
    """A database of one test, and a connection in autocommit that is opened at the first use.

    SQL says `perdure.`, whatever the schema is called. `expected_violations` names questions of
    invariants.py that the test has broken on purpose: they must have an answer at its end. With a
    `pooler` everybody but the connection of this object goes by way of it.
    """

    server: Server
    name: str
    schema: str = "perdure"
    pooler: Server | None = None
    expected_violations: set[str] = field(default_factory=set)

    @property
    def dsn(self) -> str:
        """Where to connect, as the server's superuser."""
        return (self.pooler or self.server).dsn(self.name)

    @property
    def own_dsn(self) -> str:
        """The same past any pooler, for tests that look at sessions of their own."""
        return self.server.dsn(self.name)

    @cached_property
    def connection(self) -> Plainly:
        """The one connection of the methods below, closed after the test."""
        return psycopg.connect(self.own_dsn, autocommit=True)

    def execute(self, text: str, parameters: Parameters = None) -> int:
        """Run one statement, or several when there are no parameters; returns the rows affected."""
        return self._run(text, parameters).rowcount

    def rows(self, text: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """All rows that the statement answers."""
        return self._run(text, parameters).fetchall()

    def value(self, text: str, parameters: Parameters = None) -> Any:
        """The first column of the first row, None without a row."""
        row = self._run(text, parameters).fetchone()
        return row[0] if row else None

    def violations(self, questions: Sequence[Question]) -> dict[str, list[tuple[Any, ...]]]:
        """The names of the questions that have an answer, each with its first rows."""
        answers = {name: self.rows(f"{text} limit 5") for name, text in questions}
        return {name: found for name, found in answers.items() if found}

    def check(self) -> None:
        """Raise AssertionError unless the invariants that hold at every moment hold now."""
        if self.value("select to_regclass($name$perdure.misplaced_tasks$name$)") is None:
            return
        broken = self.violations(ALWAYS)
        missing = self.expected_violations - broken.keys()
        surprising = {name: broken[name] for name in broken if name not in self.expected_violations}
        assert not surprising, f"invariants are broken: {surprising}"
        assert not missing, f"the test should have broken these invariants: {missing}"

    def check_drained(self) -> None:
        """Raise AssertionError unless everything that could be done is done and nothing is left."""
        self.check()
        left = self.violations(AT_THE_END)
        assert not left, f"something is left over: {left}"

    def close(self) -> None:
        """Close the connection if there is one."""
        if "connection" in self.__dict__:
            self.connection.close()

    def reconnect(self) -> None:
        """Let the next use open a connection anew: the server of this one is gone."""
        self.close()
        self.__dict__.pop("connection", None)

    def _run(self, text: str, parameters: Parameters) -> psycopg.Cursor[tuple[Any, ...]]:
        name_schema = in_schema if parameters is None else in_statement
        return self.connection.execute(name_schema(text, self.schema).encode(), parameters)


def lighten(server: Server) -> None:
    """Let its password be checked with one round instead of 4,096: five of six milliseconds that a
    client spends for each connection. RFC 5802, section 3; the verifier as PostgreSQL keeps it."""
    password = str(conninfo_to_dict(server.dsn())["password"]).encode()
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, 1)
    client, server_key = (
        hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key")
    )
    stored = hashlib.sha256(client).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server_key)]
    verifier = sql.Literal("SCRAM-SHA-256$1:{}${}:{}".format(*encoded))
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("alter role current_user password {}").format(verifier))


_KEPT: dict[str, Plainly] = {}


@contextlib.contextmanager
def kept(server: Server) -> Iterator[None]:
    """Keep the connection that makes databases: to make one takes less time than to connect."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        _KEPT[server.dsn()] = connection
        try:
            yield
        finally:
            del _KEPT[server.dsn()]


def _administer(server: Server, statement: str, **names: str) -> None:
    quoted = {key: sql.Identifier(name) for key, name in names.items()}
    connection = _KEPT.get(server.dsn()) or psycopg.connect(server.dsn(), autocommit=True)
    try:
        connection.execute(sql.SQL(statement).format(**quoted))
    finally:
        if server.dsn() not in _KEPT:
            connection.close()


@contextlib.contextmanager
def new_database(server: Server, template: str = "template1") -> Iterator[Database]:
    """A copy of `template` that is dropped at the end, whoever is still connected to it."""
    database = Database(server, f"perdure_test_{secrets.token_hex(6)}")
    # Files are copied in a third of the time that their writing to the log takes.
    made = "create database {name} template {template} strategy file_copy"
    _administer(server, made, name=database.name, template=template)
    try:
        yield database
    finally:
        database.close()
        _administer(server, "drop database {name} with (force)", name=database.name)


@contextlib.contextmanager
def migrated_database(server: Server) -> Iterator[Database]:
    """A new one with the schema on a server of the test's own; at its end the invariants must hold.

    On the server of all tests a clone of the template, the fixture `database`, takes less time.
    """
    with new_database(server) as database:
        migrate(database.dsn, schema_name=database.schema)
        yield database
        database.check()
