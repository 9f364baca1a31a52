"""A transaction of ours that its client does not go on with is ended by the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE, until
from tests.kit.proxy import proxied

from perdure.store import database as store
from perdure.store.operations import Operation
from perdure.store.perform import perform, perform_sync

ENDED = "select sessions_fatal from pg_stat_database where datname = current_database()"
STATEMENT = "prune_statistics"
OPERATION: Operation[list[store.Row]] = Operation("transaction_id", {}, list, "read")


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


@pytest.mark.parametrize(
    ("pooled", "way"),
    [
        (False, at_once),
        *(
            (True, way)
            for way in (by_session, at_once, by_thread, by_client, by_client_in_a_thread)
        ),
    ],
)
async def test_the_server_ends_what_is_not_committed(
    database: Database, pooled: bool, way: Callable[[store.Database], Awaitable[None]]
) -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        over.wait()

    with proxied(database.dsn) as proxy:
        parameters = {k: v for k, v in conninfo_to_dict(proxy.dsn).items() if v is not None}
        ours = store.Database(parameters, database.schema, idle_seconds=1.0)
        ours.pooled = pooled
        proxy.cut(b"COMMIT", where="request", then=hold)
        sleeper = asyncio.ensure_future(way(ours))
        assert await asyncio.to_thread(held.wait, PATIENCE)
        await asyncio.to_thread(until, lambda: database.value(ENDED) == 1)
        over.set()
        with suppress(psycopg.Error):  # Of a client it is repeated.
            await sleeper
        await ours.close()
