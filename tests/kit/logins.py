"""Logins that end with the test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo


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
