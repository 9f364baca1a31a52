"""Which of its timelines a server is on: each standby that takes over begins another one.

It may lack the last commits of the one before. Whoever knows of such a commit must not go on from
it: a run that ended after it would be recorded without what it had written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors

from perdure.errors import LeaseLost

_UNTOLD: Final = (
    errors.FeatureNotSupported, errors.InsufficientPrivilege, errors.UndefinedFunction,
)  # fmt: skip


class Timeline:
    """The newest that a connection of this process has met.

    Attributes:
        number: 0 where it is not followed, or not known yet.
        followed: whether connections look; clients, which hold nothing, need not.
    """

    def __init__(self) -> None:
        self.number = 0
        self.followed = False

    def check(self, since: int) -> None:
        """LeaseLost for a run that knows of writes on another timeline: they may be gone."""
        if self.moved(since):
            raise LeaseLost(
                "another server has taken over, and may lack what the run has written: the task "
                "goes on from what is there"
            )

    def moved(self, since: int) -> bool:
        """Whether a standby has taken over since this number was the newest."""
        return self.number not in {0, since}

    async def look(
        self, connection: psycopg.AsyncConnection[Any], text: LiteralString, seconds: float
    ) -> None:
        """Ask for it on a new connection, before anything else is done there.

        Raises:
            TimeoutError, psycopg errors: the connection is closed.
        """
        if not self.followed:
            return
        try:
            async with asyncio.timeout(seconds):
                with self._as_far_as_it_tells():
                    self._met(await (await connection.execute(text)).fetchall())
        except BaseException:
            connection.pgconn.finish()
            raise

    def look_sync(self, connection: psycopg.Connection[Any], text: LiteralString) -> None:
        """The same for a thread, of a pool: who waits for a connection has a limit of its own."""
        if self.followed:
            with self._as_far_as_it_tells():
                self._met(connection.execute(text).fetchall())

    @contextmanager
    def _as_far_as_it_tells(self) -> Iterator[None]:
        try:
            yield
        except _UNTOLD:  # As with storage of its own that keeps no such files.
            self.followed = False

    def _met(self, rows: list[Any]) -> None:
        self.number = max(self.number, rows[0][0])
