"""Logins that end with the test: with nothing, or one of each kind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.kit.databases import Database

from perdure.store.migrate import ROLES, grant

KINDS = (*ROLES, "nobody")


@contextmanager
def new_login(dsn: str, prefix: str = "login") -> Iterator[str]:
    """A new login that may nothing, and whose name needs quoting; what it owns in `dsn` goes."""
    login = f"{prefix}-{secrets.token_hex(4)}"
    name = sql.Identifier(login)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 'x'").format(name))
        try:
            yield login
        finally:
            connection.execute(sql.SQL("drop owned by {}").format(name))
            connection.execute(sql.SQL("drop role {}").format(name))


def as_login(dsn: str, login: str) -> str:
    """`dsn` for a login that `new_login` has made."""
    return make_conninfo(dsn, user=login, password="x")


@dataclass
class Logins:
    """A database with a login of each kind; `as_` gives a connection in autocommit."""

    database: Database
    names: dict[str, str]
    connections: dict[str, psycopg.Connection[Any]] = field(default_factory=dict)

    def as_(self, kind: str) -> psycopg.Connection[Any]:
        if kind not in self.connections:
            dsn = as_login(self.database.dsn, self.names[kind])
            self.connections[kind] = psycopg.connect(dsn, autocommit=True)
        return self.connections[kind]

    def value(self, kind: str, text: str, *parameters: Any) -> Any:
        row = self.as_(kind).execute(text.encode(), parameters or None).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()


@contextmanager
def logins_of(database: Database) -> Iterator[Logins]:
    with ExitStack() as stack:
        names = {
            kind: stack.enter_context(new_login(database.dsn, kind))
            for kind in (*KINDS, "other producer")
        }
        for kind in ROLES:
            grant(database.dsn, database.schema, kind, names[kind])
        grant(database.dsn, database.schema, "producer", names["other producer"])
        logins = Logins(database, names)
        stack.callback(logins.close)
        yield logins
