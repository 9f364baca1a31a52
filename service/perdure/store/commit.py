"""What may be said of a transaction when the reply to its COMMIT is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import psycopg
from psycopg import AsyncConnection, Connection

from perdure.errors import PerdureError, UnknownOutcome
from perdure.store.database import Database, Row
from perdure.store.faults import translate

_IDLE: Final = "25P03"
AnyConnection: TypeAlias = Connection[Row] | AsyncConnection[Row]
# The server has rolled back, and the same statement may well succeed now: serialisation, deadlock,
# plans that a migration made stale, prepared statements that a pooler has forgotten, a transaction
# that was left idle.
AGAIN: Final = frozenset({"40001", "40P01", "0A000", "26000", "42P05", _IDLE})


class Commit:
    """Whether a transaction of several statements had come to its COMMIT, and under which id."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection
        self._begun = False
        self._id: str | None = None

    def begins(self, rows: Sequence[Row] = ()) -> None:
        """All before the COMMIT has been answered; `rows`: the transaction's id, if asked for."""
        self._begun = True
        self._id = rows[0][0] if rows else None

    def may_repeat(self, error: psycopg.Error) -> bool:
        """Whether nothing can have taken effect and another try may succeed."""
        return not self._unknown(error) and (
            error.sqlstate in AGAIN or is_lost(error, self._connection)
        )

    def verdict(self, error: psycopg.Error) -> PerdureError:
        """The error to raise."""
        if not self._unknown(error):
            return translate(error)
        if self._id is None:
            return UnknownOutcome(
                "the connection was lost during the commit: it may or may not have taken effect; "
                "an enqueue with a unique_key can be repeated without harm"
            )
        return UnknownOutcome(
            "the connection was lost during the commit of transaction "
            f"{self._id}: `select pg_xact_status('{self._id}')` on the same server says what "
            "became of it"
        )

    def _unknown(self, error: psycopg.Error) -> bool:
        return self._begun and is_lost(error, self._connection)


@asynccontextmanager
async def committed(database: Database) -> AsyncIterator[AsyncConnection[Row]]:
    """A connection of the pool for one transaction, that of the block.

    Raises:
        UnknownOutcome: it may have been committed; other errors as `Database.connection`.
    """
    async with database.connection() as connection:
        commit = Commit(connection)
        try:
            async with connection.transaction():
                yield connection
                commit.begins()
        except psycopg.Error as error:
            raise commit.verdict(error) from error


@contextmanager
def committed_sync(database: Database) -> Iterator[Connection[Row]]:
    """The same for a thread."""
    with database.sync_connection() as connection:
        commit = Commit(connection)
        try:
            with connection.transaction():
                yield connection
                commit.begins()
        except psycopg.Error as error:
            raise commit.verdict(error) from error


def is_lost(error: BaseException, connection: AnyConnection) -> bool:
    """Whether the connection is gone, so that nobody knows what became of what was sent."""
    if isinstance(error, psycopg.Error) and error.sqlstate == _IDLE:
        return False  # It is gone, but the server had got nothing that it could have done.
    if connection.closed or not isinstance(error, psycopg.Error):
        return True
    # A server that goes down says so before it hangs up.
    return error.sqlstate is not None and error.sqlstate.startswith(("08", "57P0"))
