"""Transactions of ours: the server ends those that nobody goes on with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus


@asynccontextmanager
async def begun(connection: AsyncConnection[Any], begin: str | None) -> AsyncIterator[None]:
    """A transaction for the block, on a connection in autocommit mode.

    Nothing but the block, where `begin` is None or the connection is in a transaction already.
    Unlike the driver's own it begins with a statement of ours: what bounds it costs no round trip.
    And the error of its end is the server's, whatever a pooler adds: the driver's `commit()` raises
    one without a code for two answers.
    """
    if begin is None or not is_idle(connection):
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
    if begin is None or not is_idle(connection):
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


def is_idle(connection: AsyncConnection[Any] | Connection[Any]) -> bool:
    """Whether the connection is in no transaction."""
    return connection.info.transaction_status == TransactionStatus.IDLE
