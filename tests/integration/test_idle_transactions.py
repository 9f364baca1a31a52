"""A transaction of ours that nobody goes on with is ended: by the server, or by who comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.faults.pgbouncer import PgBouncer
from tests.kit.databases import Database, Server
from tests.kit.fleet import PATIENCE, until
from tests.kit.proxy import Hold, proxied

from perdure.store import database as store
from perdure.store.faults import is_transient
from perdure.store.operations import Operation
from perdure.store.perform import perform, perform_sync

Way: TypeAlias = Callable[[store.Database], Awaitable[None]]
ENDED = "select sessions_fatal from pg_stat_database where datname = current_database()"
FAILED = "begin; select 1 / 0"
STATEMENT = "prune_statistics"
OPERATION: Operation[list[store.Row]] = Operation("transaction_id", {}, list, "never")


async def by_session(database: store.Database) -> None:
    await (await database.session()).run(STATEMENT, {})


async def at_once(database: store.Database) -> None:
    await (await database.session()).run_at_once(STATEMENT, {})


async def by_thread(database: store.Database) -> None:
    await asyncio.to_thread(lambda: database.sync_session().run(STATEMENT, {}))


async def by_client(database: store.Database) -> None:
    await perform(database, OPERATION)


async def by_client_in_a_thread(database: store.Database) -> None:
    await asyncio.to_thread(perform_sync, database, OPERATION)


@pytest.mark.parametrize("way", [by_session, at_once, by_thread])
async def test_behind_a_pooler_the_server_ends_what_is_not_committed(
    database: Database, pooler: PgBouncer, way: Way
) -> None:
    await ended_by_the_server(database, pooler, way)


async def test_a_checkpoint_that_is_not_committed_is_ended_without_a_pooler_too(
    database: Database, server: Server
) -> None:
    await ended_by_the_server(database, server, at_once)


@pytest.mark.parametrize("way", [by_client, by_client_in_a_thread])
async def test_a_client_repeats_what_the_server_has_ended(
    database: Database, pooler: PgBouncer, way: Way
) -> None:
    await left_idle(database, pooler, way)


async def test_a_session_whose_rollback_has_failed_is_of_use_again(
    database: Database, pooler: PgBouncer
) -> None:
    session = await behind(pooler.dsn(database.name), database).session()
    with pytest.raises(psycopg.errors.DivisionByZero):
        await session._connection.execute(FAILED)
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await session.run(STATEMENT, {})
    await session.run(STATEMENT, {})
    await session.close()


def test_so_is_the_session_of_a_thread(database: Database, pooler: PgBouncer) -> None:
    session = behind(pooler.dsn(database.name), database).sync_session()
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.connection.execute(FAILED)
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        session.run(STATEMENT, {})
    session.run(STATEMENT, {})
    session.close()


def behind(dsn: str, database: Database) -> store.Database:
    """The same schema by this way; a transaction of ours may lie idle for a second."""
    parameters = {k: v for k, v in conninfo_to_dict(dsn).items() if v is not None}
    return store.Database(parameters, database.schema, idle_seconds=1.0)


async def ended_by_the_server(database: Database, by: Server, way: Way) -> None:
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout) as ended:
        await left_idle(database, by, way)
    assert is_transient(ended.value)


async def left_idle(database: Database, by: Server, way: Way) -> None:
    """Go this way, but hold the first commit up until the server has had enough."""
    hold = Hold()
    with proxied(by.dsn(database.name)) as proxy:
        ours = behind(proxy.dsn, database)
        proxy.cut(b"COMMIT", where="held", then=hold)
        sleeper = asyncio.ensure_future(way(ours))
        assert await asyncio.to_thread(hold.reached.wait, PATIENCE)
        await asyncio.to_thread(until, lambda: database.value(ENDED) == 1)
        hold.over.set()
        try:
            await sleeper
        finally:
            await ours.close()
