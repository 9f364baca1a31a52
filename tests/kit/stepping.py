"""Transactions taken step by step on connections of their own; the server says who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import psycopg
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE

Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any] | None

PAUSE_SECONDS = 0.001


class Stepped:
    """A connection whose transactions the test begins and commits; a step may be left waiting."""

    def __init__(self, database: Database, connection: psycopg.AsyncConnection[Row]) -> None:
        self._database = database
        self._connection = connection
        self._step: asyncio.Task[list[Row]] | None = None

    @property
    def backend_pid(self) -> int:
        """The server's process of this session."""
        return self._connection.info.backend_pid

    @property
    def waits(self) -> bool:
        """Whether the step that was begun last waits for a lock."""
        if self._step is None or self._step.done():
            return False
        text = "select pg_blocking_pids(%s) <> '{}'"
        return bool(self._database.value(text, [self.backend_pid]))

    async def run(self, text: str, parameters: Parameters = None) -> list[Row]:
        """Take a step to its end."""
        await self.start(text, parameters)
        return await self.end()

    async def start(self, text: str, parameters: Parameters = None) -> bool:
        """Begin a step; False if it has to wait for a lock, True if it is over."""
        self._step = asyncio.create_task(self._execute(text, parameters))
        return await self.rests()

    async def rests(self) -> bool:
        """Until the step that was begun last waits for a lock (False) or is over (True)."""
        assert self._step is not None, "no step was begun"
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self._step], timeout=PAUSE_SECONDS)
            while not self._step.done() and not self.waits:
                await asyncio.wait([self._step], timeout=PAUSE_SECONDS)
        return self._step.done()

    async def end(self) -> list[Row]:
        """The answer of the step that was begun last."""
        assert self._step is not None, "no step was begun"
        async with asyncio.timeout(PATIENCE):
            return await self._step

    async def close(self) -> None:
        """Give up what is open."""
        if self._step is not None and not self._step.done():
            self._step.cancel()
            with suppress(asyncio.CancelledError, psycopg.Error):
                await self._step
        await self._connection.close()

    async def _execute(self, text: str, parameters: Parameters) -> list[Row]:
        cursor = await self._connection.execute(text.encode(), parameters)
        while cursor.nextset():
            pass
        return await cursor.fetchall() if cursor.description else []


async def pause() -> None:
    """Let others go on before the server is asked again."""
    await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def stepped(database: Database, *, autocommit: bool = True) -> AsyncIterator[Stepped]:
    """A connection for steps; in autocommit the test says `begin` itself."""
    connection = await psycopg.AsyncConnection.connect(database.own_dsn, autocommit=autocommit)
    session = Stepped(database, connection)
    try:
        yield session
    finally:
        await session.close()


async def waits_for_a_lock(database: Database, kind: str | None = None, sessions: int = 1) -> None:
    """Wait until so many sessions of the database wait for a lock (of one kind, as `advisory`)."""
    text = (
        "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
        " and wait_event = coalesce(%s, wait_event)"
    )
    async with asyncio.timeout(PATIENCE):
        while database.value(text, [database.name, kind]) < sessions:
            await pause()
