"""Statements on a caller's own connection: the six kinds of psycopg and SQLAlchemy.

They are told by the module of their class, so that nobody loads SQLAlchemy who does not use it.
Nothing begins, commits or rolls back here: that is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from perdure.errors import (
    BY_SQLSTATE,
    DatabaseError,
    DatabaseUnavailable,
    InvalidArgument,
    PerdureError,
)
from perdure.store.database import Database, Params, Row
from perdure.store.faults import translate, translated

if TYPE_CHECKING:
    from sqlalchemy import TextClause

Family: TypeAlias = Literal["psycopg", "sqlalchemy"]

_SYNC: Final = "SyncTaskClient"
_ASYNC: Final = "TaskClient"
# Root module and name of a class -> the client that it belongs to. The scoped ones pass all on.
_KINDS: Final[dict[tuple[str, str], str]] = {
    ("psycopg", "Connection"): _SYNC,
    ("psycopg", "AsyncConnection"): _ASYNC,
    ("sqlalchemy", "Connection"): _SYNC,
    ("sqlalchemy", "Session"): _SYNC,
    ("sqlalchemy", "scoped_session"): _SYNC,
    ("sqlalchemy", "AsyncConnection"): _ASYNC,
    ("sqlalchemy", "AsyncSession"): _ASYNC,
    ("sqlalchemy", "async_scoped_session"): _ASYNC,
}
_TOKENS = re.compile(r"%\((\w+)\)s|%%|:")


def family(connection: object, *, sync: bool) -> Family:
    """Which library a caller's connection comes from.

    Raises:
        InvalidArgument: it is none of the six kinds, or belongs to the other client.
    """
    wanted, other = (_SYNC, _ASYNC) if sync else (_ASYNC, _SYNC)
    for base in type(connection).__mro__:
        root = base.__module__.partition(".")[0]
        found = _KINDS.get((root, base.__name__))
        if found is None:
            continue
        if found != wanted:
            way = "asynchronous" if sync else "synchronous"
            raise InvalidArgument(
                f"on= got the {way} {root} {base.__name__}: give it to a {other}, "
                f"or give this client {_kinds_of(wanted)}"
            )
        return "psycopg" if root == "psycopg" else "sqlalchemy"
    raise InvalidArgument(
        f"on= got a {type(connection).__name__}: give it {_kinds_of(wanted)}; an engine, a pool "
        "or a cursor has no transaction of yours to take part in"
    )


async def execute(connection: object, database: Database, name: str, params: Params) -> list[Row]:
    """Run the statement called `name` in the transaction of an asynchronous connection.

    Raises:
        InvalidArgument: the connection is none of the kinds that are taken here.
        PerdureError: what the database answered; the transaction has failed then.
    """
    if family(connection, sync=False) == "psycopg":
        with translated():
            driver = cast("AsyncConnection[Any]", connection)
            # A cursor of our own: the caller's may have other placeholders and other rows.
            async with AsyncCursor(driver, row_factory=tuple_row) as cursor:
                await cursor.execute(database.text(name), params)
                return await cursor.fetchall() if cursor.description else []
    with _unwrapped():
        text = _as_text(database.text(name))
        result = await cast("Any", connection).execute(text, _plain(params))
        return [tuple(row) for row in result] if result.returns_rows else []


def execute_sync(connection: object, database: Database, name: str, params: Params) -> list[Row]:
    """The same on a synchronous connection."""
    if family(connection, sync=True) == "psycopg":
        with translated():
            driver = cast("Connection[Any]", connection)
            with Cursor(driver, row_factory=tuple_row) as cursor:
                cursor.execute(database.text(name), params)
                return cursor.fetchall() if cursor.description else []
    with _unwrapped():
        text = _as_text(database.text(name))
        result = cast("Any", connection).execute(text, _plain(params))
        return [tuple(row) for row in result] if result.returns_rows else []


def _kinds_of(client: str) -> str:
    names = [f"{root} {name}" for (root, name), of in _KINDS.items() if of == client]
    return " or ".join(names[:3])


@cache
def _as_text(statement: str | bytes) -> TextClause:
    """The statement for SQLAlchemy: `:name` for `%(name)s`, every other colon escaped."""
    from sqlalchemy import text  # noqa: PLC0415  (whoever has such a connection has loaded it)

    def token(match: re.Match[str]) -> str:
        if match[1]:
            return f":{match[1]}"
        return "%" if match[0] == "%%" else r"\:"

    whole = statement.decode() if isinstance(statement, bytes) else statement
    return text(_TOKENS.sub(token, whole))


def _plain(params: Params) -> dict[str, Any]:
    """Values that every driver under SQLAlchemy takes."""
    return {name: str(v) if isinstance(v, UUID) else v for name, v in params.items()}


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Within it, SQLAlchemy's errors leave as errors of ours, whichever driver is underneath."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  (as above)

    try:
        yield
    except DBAPIError as error:
        raise _as_ours(error.orig, lost=error.connection_invalidated) from error


def _as_ours(error: BaseException | None, *, lost: bool) -> PerdureError:
    if isinstance(error, psycopg.Error):
        return translate(error)
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if code in BY_SQLSTATE:
        return BY_SQLSTATE[code](str(error))
    if lost:
        return DatabaseUnavailable("the connection given as on= was lost")
    translated_error = DatabaseError(f"{type(error).__name__} (SQLSTATE {code or 'none'})")
    translated_error.sqlstate = code
    return translated_error
