"""Transactions of ours: the server ends those that nobody goes on with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection


@asynccontextmanager
async def begun(connection: AsyncConnection[Any], begin: str | None) -> AsyncIterator[None]:
    """A transaction for the block, on a connection in autocommit mode that is in none.

    With None instead of its first statement: no transaction. On a session whose rollback has failed
    the first statement fails, and is followed by another rollback.

    Unlike the driver's own it begins with a statement of ours: what bounds it costs no round trip.
    And the error of its end is the server's, whatever a pooler adds: the driver's `commit()` raises
    one without a code for two answers.
    """
    if begin is None:
        yield
        return
    try:
        await connection.execute(begin)
        yield
    except BaseException:
        with suppress(psycopg.Error):  # The connection may be the reason.
            await connection.rollback()
        raise
    await connection.execute("COMMIT", prepare=False)


@contextmanager
def begun_sync(connection: Connection[Any], begin: str | None) -> Iterator[None]:
    """The same for a thread."""
    if begin is None:
        yield
        return
    try:
        connection.execute(begin)
        yield
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    connection.execute("COMMIT", prepare=False)
