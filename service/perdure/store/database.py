"""Connections, and statements with the schema's name in them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, TypeAlias, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, IsolationLevel, sql
from psycopg.conninfo import make_conninfo
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from perdure.store.faults import left_if_read_only, translated
from perdure.store.schema import in_statement, statement
from perdure.store.timeline import Timeline
from perdure.store.transactions import begun, begun_sync
from perdure.store.version import require_version

Row: TypeAlias = tuple[Any, ...]
Params: TypeAlias = Mapping[str, object]

_FOLDER = Path(__file__).with_name("sql")
# Without these every statement still has its plan; with them a stale statistic cannot spoil one.
_PLANNER = (
    " -c jit=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_seqscan=off"
    " -c plan_cache_mode=force_generic_plan"
)
_ISOLATION = "-c default_transaction_isolation=read\\ committed"
REPLY_MARGIN_SECONDS = 5.0
"""Beyond the server's bound on a statement, before its reply is given up."""


def _has_rows(cursor: AsyncCursor[Row]) -> bool:
    """Whether the statement returns any; `description` would make an object for each column."""
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


@cache
def statements(schema_name: str) -> Mapping[str, bytes]:
    """Every file of `store/sql` by its name, with the schema's name put in."""
    return {
        file.stem: in_statement(file.read_text("utf-8"), schema_name).encode()
        for file in sorted(_FOLDER.glob("*.sql"))
    }


class Session:
    """One connection of the runtime's own: each statement is a transaction of its own."""

    def __init__(self, database: Database, connection: AsyncConnection[Row]) -> None:
        self._database = database
        self._connection = connection
        self._cursor = connection.cursor()
        self.backend_pid: int = connection.info.backend_pid
        """The server's process of this session, also once the connection is lost."""

    @property
    def broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._connection.closed

    @property
    def pooled(self) -> bool:
        """Whether a pooler in transaction mode stands in between."""
        return self._database.pooled

    async def run(self, name: str, params: Params) -> list[Row]:
        """Execute the statement called `name`; its rows, or [] if it returns none."""
        async with (
            asyncio.timeout(self._database.reply_seconds),
            begun(self._connection, self._database.begin_if_pooled),
        ):
            return await self._run(name, params)

    async def run_at_once(self, name: str, params: Params) -> list[Row]:
        """The same; but a lock that is not free within a moment is psycopg's LockNotAvailable."""
        async with (
            asyncio.timeout(self._database.reply_seconds),
            begun(self._connection, self._database.begin),
        ):
            await self._run("do_not_wait", {})
            return await self._run(name, params)

    async def count(self, name: str, params: Params) -> int:
        """Execute the statement called `name`; the number of rows that it changed."""
        await self.run(name, params)
        return self._cursor.rowcount

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _run(self, name: str, params: Params) -> list[Row]:
        cursor, text = self._cursor, self._database.text(name)
        with left_if_read_only(self._connection):
            await cursor.execute(text, params, prepare=self._database.prepare)
            return await cursor.fetchall() if _has_rows(cursor) else []


class SyncSession:
    """The same for the one loop that runs in a thread."""

    def __init__(self, database: Database, connection: Connection[Row]) -> None:
        self._database = database
        self.connection = connection

    def run(self, name: str, params: Params, *, alone: bool = False) -> list[Row]:
        """Execute the statement called `name`; its rows, or [] if it returns none.

        `alone`: it cannot be in a transaction.
        """
        text = self._database.text(name)
        begin = None if alone else self._database.begin_if_pooled
        with left_if_read_only(self.connection), begun_sync(self.connection, begin):
            cursor = self.connection.execute(text, params, prepare=self._database.prepare)
            return cursor.fetchall() if cursor.description else []

    @property
    def broken(self) -> bool:
        """Whether the connection is of no use any more."""
        return self.connection.closed

    @property
    def pooled(self) -> bool:
        """Whether a pooler in transaction mode stands in between."""
        return self._database.pooled

    def listen(self, channels: Sequence[str], *, on: bool) -> None:
        """LISTEN on these channels, or stop it; their names are letters and digits of ours."""
        for channel in channels:
            verb = sql.SQL("listen {}" if on else "unlisten {}")
            self.connection.execute(verb.format(sql.Identifier(channel)))

    def fileno(self) -> int:
        """What to select on for notifications."""
        return self.connection.fileno()

    def notifications(self) -> set[str]:
        """The channels on which something has come; does not wait."""
        return {notify.channel for notify in self.connection.notifies(timeout=0)}

    def hang_up(self) -> None:
        """Shut the socket down, from another thread: a statement that waits there fails."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Database:
    """One schema of one server: how to connect to it, and its statements.

    Args:
        parameters: connection parameters of libpq (`settings.connection_parameters`).
        schema_name: the schema; any name that `quote_schema` accepts.
        statement_seconds: bound on one statement, in seconds.
        idle_seconds: how long a transaction of ours may lie idle, a second at least; may change.
        prepare: None lets the driver decide; False never prepares.
        pool_min_size, pool_max_size: connections of the pool for handlers and clients.
    """

    def __init__(
        self,
        parameters: Mapping[str, str | int],
        schema_name: str = "perdure",
        *,
        statement_seconds: float = 30.0,
        idle_seconds: float = 10.0,
        prepare: bool | None = None,
        pool_min_size: int = 1,
        pool_max_size: int = 8,
    ) -> None:
        self.schema_name = schema_name
        self.statement_seconds = statement_seconds
        self.prepare = prepare
        self.pooled = False
        """Whether a pooler in transaction mode stands in between; known after the first connect."""
        self.timeline = Timeline()
        self._parameters = dict(parameters)
        self._texts = statements(schema_name)
        self._begin = statement("begin", schema_name)
        self.idle_seconds = idle_seconds
        self._pool_min_size, self._pool_max_size = pool_min_size, pool_max_size
        self._pool: AsyncConnectionPool[AsyncConnection[Row]] | None = None
        self._sync_pool: ConnectionPool[Connection[Row]] | None = None
        self._opening = asyncio.Lock()  # two first uses at one moment must not open two pools
        self._opening_sync = threading.Lock()

    @property
    def reply_seconds(self) -> float:
        """How long the reply to a statement is waited for."""
        return self.statement_seconds + REPLY_MARGIN_SECONDS

    def text(self, name: str) -> LiteralString:
        """The SQL of the statement called `name`."""
        # Files of the package are as trustworthy as literals; the driver asks for such a type.
        return cast("LiteralString", self._texts[name])

    @property
    def begin(self) -> str:
        """What a transaction of ours begins with."""
        return self._begin % {"milliseconds": round(max(self.idle_seconds, 1.0) * 1000)}

    @property
    def begin_if_pooled(self) -> str | None:
        """What a transaction around one statement begins with; None: it needs none."""
        return self.begin if self.pooled else None

    def conninfo(self, *, application: str = "perdure", own: bool = False) -> str:
        """The connection string; it holds the password: never show it.

        `own` is for sessions that only run statements of ours: they get the planner's switches.
        """
        parameters: dict[str, Any] = {**self._parameters, "application_name": application}
        if not self.pooled:
            milliseconds = int(self.statement_seconds * 1000)
            options = f"{_ISOLATION} -c statement_timeout={milliseconds}{_PLANNER if own else ''}"
            parameters["options"] = f"{parameters.get('options', '')} {options}".strip()
        return make_conninfo("", **parameters)

    async def connect(
        self, *, application: str = "perdure", own: bool = False
    ) -> AsyncConnection[Row]:
        """Open a connection of one's own, in autocommit mode.

        Raises:
            DatabaseUnavailable, NotPermitted, DatabaseError: it could not be opened.
        """
        with translated(self._parameters):
            try:
                conninfo = self.conninfo(application=application, own=own)
                connection = await AsyncConnection.connect(conninfo, autocommit=True)
            except psycopg.OperationalError as error:
                if not self._is_pooler(error):
                    raise
                conninfo = self.conninfo(application=application, own=own)
                connection = await AsyncConnection.connect(conninfo, autocommit=True)
            await self._prepare_async(connection)
            return connection

    def connect_sync(self, *, application: str = "perdure", own: bool = False) -> Connection[Row]:
        """Open a connection for a thread, in autocommit mode; errors as `connect`."""
        with translated(self._parameters):
            try:
                connection = Connection.connect(
                    self.conninfo(application=application, own=own), autocommit=True
                )
            except psycopg.OperationalError as error:
                if not self._is_pooler(error):
                    raise
                connection = Connection.connect(
                    self.conninfo(application=application, own=own), autocommit=True
                )
            self._prepare_sync(connection)
            return connection

    async def session(self, *, application: str = "perdure") -> Session:
        """Open a session of the runtime's own; errors as `connect`."""
        return Session(self, await self.connect(application=application, own=True))

    def sync_session(self, *, application: str = "perdure") -> SyncSession:
        """Open a session for a thread; errors as `connect`."""
        return SyncSession(self, self.connect_sync(application=application, own=True))

    @property
    def channel(self) -> str:
        """The NOTIFY channel of the schema, as the function `channel` names it."""
        digest = hashlib.md5(self.schema_name.encode(), usedforsecurity=False).hexdigest()
        return f"perdure_{digest[:16]}"

    async def check_version(self) -> None:
        """Make sure that this code may run on the schema.

        Raises:
            SchemaMismatch: it is missing, older, or no longer readable for this code.
        """
        with translated():
            connection = await self.connect()
            try:
                await require_version(connection, self.schema_name)
            finally:
                await connection.close()

    async def pool(self) -> AsyncConnectionPool[AsyncConnection[Row]]:
        """The pool of handlers and clients, opened at first use."""
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._pool is None:
                if not self.pooled:
                    # Finds out whether a pooler is in between, and fails at once, clearly.
                    await (await self.connect()).close()
                pool = AsyncConnectionPool(
                    self.conninfo(), min_size=self._pool_min_size, max_size=self._pool_max_size,
                    open=False, kwargs={"autocommit": True}, configure=self._prepare_async,
                    max_lifetime=600, timeout=30,
                )  # fmt: skip
                await pool.open()
                self._pool = pool
            return self._pool

    def sync_pool(self) -> ConnectionPool[Connection[Row]]:
        """The pool of sync handlers and clients, opened at first use."""
        if self._sync_pool is not None:
            return self._sync_pool
        with self._opening_sync:
            if self._sync_pool is None:
                if not self.pooled:
                    self.connect_sync().close()
                self._sync_pool = ConnectionPool(
                    self.conninfo(), min_size=0, max_size=self._pool_max_size, open=True,
                    kwargs={"autocommit": True}, configure=self._configure_sync,
                    max_lifetime=600, timeout=30,
                )  # fmt: skip
            return self._sync_pool

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AsyncConnection[Row]]:
        """Borrow a connection of the pool; what statements raise leaves as the driver raised it.

        It is lent to a handler, and what is raised may come from any other database of its.
        """
        with translated():
            pool = await self.pool()
        async with pool.connection() as connection:
            yield connection

    @contextmanager
    def sync_lent(self) -> Iterator[Connection[Row]]:
        """The same for a thread."""
        with translated():
            pool = self.sync_pool()
        with pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """Borrow a connection of the pool for ourselves; errors of the driver leave translated."""
        with translated():
            async with self.lent() as connection:
                with left_if_read_only(connection):
                    yield connection

    @contextmanager
    def sync_connection(self) -> Iterator[Connection[Row]]:
        """The same for a thread."""
        with translated(), self.sync_lent() as connection, left_if_read_only(connection):
            yield connection

    async def close(self) -> None:
        """Close the pools."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        self.close_sync()

    def close_sync(self) -> None:
        """Close the pool of threads."""
        pool, self._sync_pool = self._sync_pool, None
        if pool is not None:
            pool.close()

    def _is_pooler(self, error: psycopg.OperationalError) -> bool:
        """PgBouncer refuses the start-up parameter `options`; told by its text, because a refused
        start-up carries no SQLSTATE to the client."""
        if self.pooled or "unsupported startup parameter" not in str(error):
            return False
        self.pooled = True
        self.prepare = False
        return True

    async def _prepare_async(self, connection: AsyncConnection[Row]) -> None:
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.prepare_threshold = None if self.pooled or self.prepare is False else 5
        if self.pooled:  # Its connections outlive a failover behind it: they tell nothing.
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        else:
            await self.timeline.look(connection, self.text("timeline"), self.reply_seconds)

    def _prepare_sync(self, connection: Connection[Row]) -> None:
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.prepare_threshold = None if self.pooled or self.prepare is False else 5
        if self.pooled:
            connection.isolation_level = IsolationLevel.READ_COMMITTED

    def _configure_sync(self, connection: Connection[Row]) -> None:
        self._prepare_sync(connection)
        if not self.pooled:
            self.timeline.look_sync(connection, self.text("timeline"))
