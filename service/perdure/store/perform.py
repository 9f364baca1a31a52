"""Carry operations out on the pool: when to repeat, and what may be said when a reply is lost.

A server's refusal means that nothing happened. A connection that dies after the statement was sent
says nothing: reads, and operations that are the same when done twice, are repeated on another
connection; for the rest the answer is `UnknownOutcome`, and never a guess.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from perdure.errors import PerdureError, UnknownOutcome
from perdure.store.commit import AGAIN, AnyConnection, Commit, is_lost
from perdure.store.database import Database, Params, Row
from perdure.store.faults import translate
from perdure.store.operations import Operation, Repeat
from perdure.store.transactions import begun, begun_sync

A = TypeVar("A")

TRIES_MAX: Final = 3
_IDLE_READS_MAX: Final = 8


async def perform(database: Database, operation: Operation[A]) -> A:
    """Carry the operation out in a transaction of its own.

    Raises:
        DatabaseUnavailable: it did not take effect.
        UnknownOutcome: it may have taken effect.
        PerdureError: what the database answered.
    """
    doubt = _Doubt(operation.repeat)
    with doubt.told():
        for last in _tries():
            async with _borrowed(database) as connection:
                try:
                    rows = await _run(connection, database, operation)
                except (psycopg.Error, TimeoutError) as error:
                    if isinstance(error, TimeoutError):
                        await connection.close()
                    if not doubt.may_repeat(error, connection) or last:
                        raise translate(error) from error
                    continue
            return operation.read(rows)
    raise AssertionError("unreachable: the last try returns or raises")


def perform_sync(database: Database, operation: Operation[A]) -> A:
    """The same for a thread."""
    doubt = _Doubt(operation.repeat)
    with doubt.told():
        for last in _tries():
            with _borrowed_sync(database) as connection:
                try:
                    rows = _run_sync(connection, database, operation)
                except psycopg.Error as error:
                    if not doubt.may_repeat(error, connection) or last:
                        raise translate(error) from error
                    continue
            return operation.read(rows)
    raise AssertionError("unreachable: the last try returns or raises")


async def perform_all(database: Database, operations: AsyncIterator[Operation[A]]) -> list[A]:
    """Carry them out one after the other in one transaction; errors as `perform`.

    While the server works at one, the next is made. What the iterator raises leaves nothing behind.
    """
    raised: list[Exception] = []
    try:
        return await _perform_all(database, _heard(operations, raised), raised)
    except PerdureError:
        if raised:  # Of another's making, though it may look like a fault of the connection.
            raise raised[0] from None
        raise


async def _perform_all(
    database: Database, operations: AsyncIterator[Operation[A]], raised: Sequence[Exception]
) -> list[A]:
    made: list[Operation[A]] = []
    coming = _kept(made, operations)
    if await anext(coming, None) is None:
        return []
    for last in _tries():
        async with _borrowed(database) as connection:
            commit = Commit(connection)
            try:
                async with connection.transaction():
                    answers = await _answers(connection, database, _again(made, coming))
                    commit.begins(await _run(connection, database, _TRANSACTION_ID))
            except psycopg.Error as error:
                if raised or last or not commit.may_repeat(error):
                    raise commit.verdict(error) from error
                continue
        return answers
    raise AssertionError("unreachable: the last try returns or raises")


async def _answers(
    connection: AsyncConnection[Row], database: Database, operations: AsyncIterator[Operation[A]]
) -> list[A]:
    answers: list[A] = []
    operation = await anext(operations, None)
    while operation is not None:
        making = asyncio.ensure_future(_next(operations))
        try:
            rows = await _run(connection, database, operation)
        except BaseException as error:
            if not isinstance(error, psycopg.Error):
                making.cancel()
            # What is being made is kept for the next try; what its maker raises is heard of.
            await asyncio.gather(making, return_exceptions=True)
            raise
        answers.append(operation.read(rows))
        operation = await making
    return answers


async def _next(operations: AsyncIterator[Operation[A]]) -> Operation[A] | None:
    return await anext(operations, None)


async def _kept(made: list[A], coming: AsyncIterator[A]) -> AsyncIterator[A]:
    """All that comes, remembered in `made`."""
    async for one in coming:
        made.append(one)
        yield one


async def _again(made: Sequence[A], coming: AsyncIterator[A]) -> AsyncIterator[A]:
    """What was made before, then what comes."""
    for one in tuple(made):
        yield one
    async for one in coming:
        yield one


def perform_all_sync(database: Database, operations: Sequence[Operation[A]]) -> list[A]:
    """The same for a thread."""
    for last in _tries():
        with _borrowed_sync(database) as connection:
            commit = Commit(connection)
            try:
                with connection.transaction():
                    answers = [o.read(_run_sync(connection, database, o)) for o in operations]
                    commit.begins(_run_sync(connection, database, _TRANSACTION_ID))
            except psycopg.Error as error:
                if last or not commit.may_repeat(error):
                    raise commit.verdict(error) from error
                continue
        return answers
    raise AssertionError("unreachable: the last try returns or raises")


async def copy_in(database: Database, blocks: AsyncIterator[bytes]) -> int:
    """Send the blocks of text to the COPY of `copy.sql`, without a bound on its time; a count.

    Raises:
        as `perform`; whatever the blocks raise: nothing is copied then.
    """
    raised: list[Exception] = []
    try:
        return await _copy_in(database, _heard(blocks, raised))
    except PerdureError:
        if raised:
            raise raised[0] from None
        raise


async def _copy_in(database: Database, blocks: AsyncIterator[bytes]) -> int:
    async with _borrowed(database) as connection:
        commit = Commit(connection)
        try:
            async with connection.transaction(), connection.cursor() as cursor:
                await _run(connection, database, _UNLIMITED)
                async with cursor.copy(database.text("copy")) as copy:
                    async for block in blocks:
                        await copy.write(block)
                copied = cursor.rowcount
                commit.begins(await _run(connection, database, _TRANSACTION_ID))
        except psycopg.Error as error:
            raise commit.verdict(error) from error
    return copied


def copy_in_sync(database: Database, blocks: Iterable[bytes]) -> int:
    """The same for a thread."""
    raised: list[Exception] = []
    try:
        return _copy_in_sync(database, _heard_sync(blocks, raised))
    except PerdureError:
        if raised:
            raise raised[0] from None
        raise


def _copy_in_sync(database: Database, blocks: Iterable[bytes]) -> int:
    with _borrowed_sync(database) as connection:
        commit = Commit(connection)
        try:
            with connection.transaction(), connection.cursor() as cursor:
                _run_sync(connection, database, _UNLIMITED)
                with cursor.copy(database.text("copy")) as copy:
                    for block in blocks:
                        copy.write(block)
                copied = cursor.rowcount
                commit.begins(_run_sync(connection, database, _TRANSACTION_ID))
        except psycopg.Error as error:
            raise commit.verdict(error) from error
    return copied


async def _heard(coming: AsyncIterator[A], raised: list[Exception]) -> AsyncIterator[A]:
    """All that comes; what is raised instead is kept in `raised`."""
    try:
        async for one in coming:
            yield one
    except Exception as error:
        raised.append(error)
        raise


def _heard_sync(blocks: Iterable[bytes], raised: list[Exception]) -> Iterator[bytes]:
    try:
        yield from blocks
    except Exception as error:
        raised.append(error)
        raise


async def read_rows(database: Database, text: str, params: Params) -> list[Row]:
    """The rows of a query that `search` has built; errors as `perform`."""
    async with _borrowed(database) as connection:
        return await (await connection.execute(text.encode(), params)).fetchall()


def read_rows_sync(database: Database, text: str, params: Params) -> list[Row]:
    """The same for a thread."""
    with _borrowed_sync(database) as connection:
        return connection.execute(text.encode(), params).fetchall()


_TRANSACTION_ID: Final[Operation[Any]] = Operation("transaction_id", {}, list, "read")
_UNLIMITED: Final[Operation[Any]] = Operation("unlimited", {}, list, "read")


def _tries() -> Iterator[bool]:
    """False for each try but the last."""
    yield from (turn == TRIES_MAX - 1 for turn in range(TRIES_MAX))


async def _run(
    connection: AsyncConnection[Row], database: Database, operation: Operation[Any]
) -> list[Row]:
    text = database.text(operation.statement)
    async with (
        asyncio.timeout(database.reply_seconds),
        begun(connection, _begin(connection, database)),
    ):
        cursor = await connection.execute(text, operation.params, prepare=database.prepare)
        return await cursor.fetchall()


def _run_sync(
    connection: Connection[Row], database: Database, operation: Operation[Any]
) -> list[Row]:
    text = database.text(operation.statement)
    with begun_sync(connection, _begin(connection, database)):
        return connection.execute(text, operation.params, prepare=database.prepare).fetchall()


def _begin(connection: AnyConnection, database: Database) -> str | None:
    """What the statement begins with: nothing in a transaction of the caller."""
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    return database.begin_if_pooled if idle else None


class _Doubt:
    """Whether a try may have taken effect whose reply was lost: no later failure denies that."""

    def __init__(self, repeat: Repeat) -> None:
        self._repeat = repeat
        self._is_there = False

    def may_repeat(self, error: BaseException, connection: AnyConnection) -> bool:
        """Whether another try may succeed, and does no harm."""
        if is_lost(error, connection):
            self._is_there = self._repeat != "read"
            return self._repeat != "never"
        return isinstance(error, psycopg.Error) and error.sqlstate in AGAIN

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within it, what fails in doubt is of unknown outcome."""
        try:
            yield
        except PerdureError as error:
            if not self._is_there:
                raise
            raise UnknownOutcome(
                "the connection was lost after the statement was sent: it may or may not have taken"
                " effect; an enqueue with a unique_key can be repeated without harm, unless it"
                " appends"
            ) from error


@asynccontextmanager
async def _borrowed(database: Database) -> AsyncIterator[AsyncConnection[Row]]:
    """A connection of the pool that the server has not hung up on while it lay there."""
    while True:
        async with database.connection() as connection:
            if not _hung_up(connection):
                yield connection
                return
            await connection.close()


@contextmanager
def _borrowed_sync(database: Database) -> Iterator[Connection[Row]]:
    while True:
        with database.sync_connection() as connection:
            if not _hung_up(connection):
                yield connection
                return
            connection.close()


def _hung_up(connection: AnyConnection) -> bool:
    """Whether there is an end of file behind what lies unread.

    Costs a microsecond; without it each connection of the pool would fail once after a restart.
    """
    if connection.closed:
        return True
    pgconn = connection.pgconn
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    try:
        for _ in range(_IDLE_READS_MAX):
            if not poll.poll(0):
                return False
            pgconn.consume_input()
            pgconn.is_busy()
    except psycopg.Error:
        return True
    return False
