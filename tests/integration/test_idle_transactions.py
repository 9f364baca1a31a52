"""A transaction of ours that its client does not go on with is ended by the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.faults.pgbouncer import PgBouncer
from tests.kit.databases import Database, Server
from tests.kit.debian import PackageMissingError
from tests.kit.fleet import PATIENCE, until
from tests.kit.lacking import lacking
from tests.kit.proxy import Proxy, proxied

from perdure.store import database as store
from perdure.store.faults import is_transient
from perdure.store.operations import Operation
from perdure.store.perform import perform, perform_sync

ENDED = "select sessions_fatal from pg_stat_database where datname = current_database()"
STATEMENT = "prune_statistics"
OPERATION: Operation[list[store.Row]] = Operation("transaction_id", {}, list, "never")


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[PgBouncer]:
    """A pooler that passes a session on with each transaction."""
    try:
        with PgBouncer(server) as started:
            yield started
    except PackageMissingError as error:
        lacking(error)


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
    database: Database, pooler: PgBouncer, way: Callable[[store.Database], Awaitable[None]]
) -> None:
    with proxied(pooler.dsn(database.name)) as proxy:
        await ended_by_the_server(database, proxy, way)


async def test_a_checkpoint_that_is_not_committed_is_ended_without_a_pooler_too(
    database: Database,
) -> None:
    with proxied(database.dsn) as proxy:
        await ended_by_the_server(database, proxy, at_once)


@pytest.mark.parametrize("way", [by_client, by_client_in_a_thread])
async def test_a_client_repeats_what_the_server_has_ended(
    database: Database, pooler: PgBouncer, way: Callable[[store.Database], Awaitable[None]]
) -> None:
    with proxied(pooler.dsn(database.name)) as proxy:
        await left_idle(database, proxy, way)


async def ended_by_the_server(
    database: Database, proxy: Proxy, way: Callable[[store.Database], Awaitable[None]]
) -> None:
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout) as ended:
        await left_idle(database, proxy, way)
    assert is_transient(ended.value)


async def left_idle(
    database: Database, proxy: Proxy, way: Callable[[store.Database], Awaitable[None]]
) -> None:
    """Go this way by the proxy, but hold the first commit up until the server has had enough."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        over.wait()

    parameters = {k: v for k, v in conninfo_to_dict(proxy.dsn).items() if v is not None}
    ours = store.Database(parameters, database.schema, idle_seconds=1.0)
    proxy.cut(b"COMMIT", where="held", then=hold)
    sleeper = asyncio.ensure_future(way(ours))
    assert await asyncio.to_thread(held.wait, PATIENCE)
    await asyncio.to_thread(until, lambda: database.value(ENDED) == 1)
    over.set()
    try:
        await sleeper
    finally:
        await ours.close()
