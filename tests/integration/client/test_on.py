"""Enqueue in the caller's own transaction: six kinds of connections, commit and rollback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool
from tests.kit.databases import Database

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import Answer, NewTask
from perdure.errors import InvalidArgument, SchemaMismatch

Opened: TypeAlias = Any
OpenSync: TypeAlias = Callable[[str], AbstractContextManager[Opened]]


def url_of(dsn: str) -> sa.URL:
    given = conninfo_to_dict(dsn)
    return sa.URL.create(
        "postgresql+psycopg",
        username=str(given["user"]),
        password=str(given.get("password") or ""),
        host=str(given["host"]),
        port=int(str(given["port"])),
        database=str(given["dbname"]),
    )


@contextmanager
def psycopg_connection(dsn: str) -> Iterator[Opened]:
    with psycopg.connect(dsn, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        yield connection


@contextmanager
def sqlalchemy_connection(dsn: str) -> Iterator[Opened]:
    with sa.create_engine(url_of(dsn), poolclass=NullPool).connect() as connection:
        yield connection


@contextmanager
def sqlalchemy_session(dsn: str) -> Iterator[Opened]:
    with Session(sa.create_engine(url_of(dsn), poolclass=NullPool)) as session:
        yield session


@contextmanager
def sqlalchemy_scoped_session(dsn: str) -> Iterator[Opened]:
    engine = sa.create_engine(url_of(dsn), poolclass=NullPool)
    # One session for all threads: a test may wait for one of them.
    maker = scoped_session(sessionmaker(engine), scopefunc=lambda: 1)
    try:
        yield maker
    finally:
        maker.remove()


@asynccontextmanager
async def psycopg_async_connection(dsn: str) -> AsyncIterator[Opened]:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        yield connection


@asynccontextmanager
async def sqlalchemy_async_connection(dsn: str) -> AsyncIterator[Opened]:
    async with create_async_engine(url_of(dsn), poolclass=NullPool).connect() as connection:
        yield connection


@asynccontextmanager
async def sqlalchemy_async_session(dsn: str) -> AsyncIterator[Opened]:
    async with AsyncSession(create_async_engine(url_of(dsn), poolclass=NullPool)) as session:
        yield session


@asynccontextmanager
async def sqlalchemy_async_scoped_session(dsn: str) -> AsyncIterator[Opened]:
    engine = create_async_engine(url_of(dsn), poolclass=NullPool)
    maker = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    try:
        yield maker
    finally:
        await maker.remove()


SYNC = (psycopg_connection, sqlalchemy_connection, sqlalchemy_session, sqlalchemy_scoped_session)
ASYNC = (
    psycopg_async_connection,
    sqlalchemy_async_connection,
    sqlalchemy_async_session,
    sqlalchemy_async_scoped_session,
)
OPTIONS: dict[str, Any] = {
    "queue": "a:b %s", "delay": 60, "unique_key": "k:1", "tags": ["x:y", "z"],
    "headers": {"a": ":1"}, "retry_delays": [1.5], "execution_metadata": {"token": ":t"},
}  # fmt: skip
NOTHING_LEFT = """
    select (select count(*) from perdure.tasks) + (select count(*) from perdure.waiting)
        + (select count(*) from perdure.unique_keys) + (select count(*) from perdure.ready)
        + (select count(*) from perdure.progress) + (select count(*) from perdure.edges)
"""


@pytest.mark.conformance("C2")
@pytest.mark.parametrize("opened", ASYNC)
async def test_an_enqueue_shares_the_fate_of_an_asynchronous_transaction(
    client: TaskClient, database: Database, opened: Any
) -> None:
    async with opened(database.dsn) as connection:
        await client.enqueue("a", {"at": ":1::jsonb %s"}, on=connection, **OPTIONS)
        await connection.rollback()
        assert database.value(NOTHING_LEFT) == 0

        first = await client.enqueue("a", {"at": ":1::jsonb %s"}, on=connection, **OPTIONS)
        again = await client.enqueue("a", {}, on=connection, **OPTIONS)
        many = await client.enqueue_many([NewTask("b"), NewTask("c")], on=connection)
        assert database.value("select count(*) from perdure.tasks") == 0
        await connection.commit()

    assert (first.answer, again.answer, again.id) == (Answer.CREATED, Answer.KEPT, first.id)
    tasks = database.rows("select id, name, metadata, queue, tags from perdure.tasks order by id")
    assert tasks == [
        (first.id, "a", {"at": ":1::jsonb %s"}, "a:b %s", ["x:y", "z"]),
        (many[0].id, "b", {}, None, None),
        (many[1].id, "c", {}, None, None),
    ]


@pytest.mark.conformance("C2")
@pytest.mark.parametrize("opened", SYNC)
def test_an_enqueue_shares_the_fate_of_a_synchronous_transaction(
    sync_client: SyncTaskClient, database: Database, opened: OpenSync
) -> None:
    with opened(database.dsn) as connection:
        sync_client.enqueue("a", {"at": ":1::jsonb %s"}, on=connection, **OPTIONS)
        connection.rollback()
        assert database.value(NOTHING_LEFT) == 0

        first = sync_client.enqueue("a", {"at": ":1::jsonb %s"}, on=connection, **OPTIONS)
        assert database.value("select count(*) from perdure.tasks") == 0
        connection.commit()

    row = "select id, metadata, queue, tags from perdure.tasks"
    expected = (first.id, {"at": ":1::jsonb %s"}, "a:b %s", ["x:y", "z"])
    assert database.rows(row) == [expected]


@pytest.mark.parametrize("opened", ASYNC)
async def test_a_refusal_in_an_asynchronous_transaction_is_an_error_of_ours(
    client: TaskClient, database: Database, opened: Any
) -> None:
    async with opened(database.dsn) as connection:
        with pytest.raises(InvalidArgument, match=r"priority must be 0 to 9 .*hint"):
            await client.enqueue("a", on=connection, priority=11)
        await connection.rollback()
        assert await client.cancel(7, on=connection) == "not_found"


@pytest.mark.parametrize("opened", SYNC)
def test_a_refusal_in_a_synchronous_transaction_is_an_error_of_ours(
    sync_client: SyncTaskClient, database: Database, opened: OpenSync
) -> None:
    with opened(database.dsn) as connection:
        with pytest.raises(InvalidArgument, match="priority must be 0 to 9"):
            sync_client.enqueue("a", on=connection, priority=11)
        connection.rollback()
        assert sync_client.cancel(7, on=connection) == "not_found"


@pytest.mark.parametrize("opened", SYNC)
async def test_a_synchronous_connection_names_the_synchronous_client(
    client: TaskClient, database: Database, opened: OpenSync
) -> None:
    with (
        opened(database.dsn) as connection,
        pytest.raises(InvalidArgument, match=r"synchronous .* give it to a SyncTaskClient"),
    ):
        await client.enqueue("a", on=connection)
    assert database.value("select count(*) from perdure.tasks") == 0


@pytest.mark.parametrize("opened", ASYNC)
async def test_an_asynchronous_connection_names_the_asynchronous_client(
    sync_client: SyncTaskClient, database: Database, opened: Any
) -> None:
    async with opened(database.dsn) as connection:
        with pytest.raises(InvalidArgument, match=r"asynchronous .* give it to a TaskClient"):
            sync_client.enqueue("a", on=connection)


async def test_what_is_no_connection_is_refused_with_what_would_be_one(client: TaskClient) -> None:
    wrong: Any = sa.create_engine("postgresql+psycopg://")
    with pytest.raises(InvalidArgument, match="Engine: give it psycopg AsyncConnection"):
        await client.enqueue("a", on=wrong)


async def test_a_missing_schema_says_what_to_do(empty_database: Database) -> None:
    async with TaskClient(empty_database.dsn) as client:
        with pytest.raises(SchemaMismatch, match="perdure migrate"):
            await client.enqueue("a")
        async with sqlalchemy_async_session(empty_database.dsn) as session:
            with pytest.raises(SchemaMismatch, match="perdure migrate"):
                await client.enqueue("a", on=session)
