"""The clients behind a pooler in transaction mode: no session state, the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from tests.faults.pgbouncer import pooling
from tests.kit.databases import Database, Server

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import Answer, NewTask


@pytest.fixture
def dsn(server: Server, database: Database) -> Iterator[str]:
    """The test's database by way of two connections that everybody shares."""
    with pooling(server, {"default_pool_size": "2"}) as pooler:
        yield pooler.dsn(database.name)


async def test_everything_works_behind_a_pooler(dsn: str, database: Database) -> None:
    database.execute(
        f"alter database {database.name} set default_transaction_isolation = 'serializable'"
    )
    async with TaskClient(dsn) as client:
        keyed = await asyncio.gather(*(client.enqueue("a", unique_key="k") for _ in range(30)))
        assert [each.answer for each in keyed].count(Answer.CREATED) == 1
        await asyncio.gather(*(client.enqueue("b", {"n": n}) for n in range(50)))
        for _ in range(20):  # beyond the driver's threshold, on each connection of the pool
            assert (await client.get(keyed[0].id)) is not None
        assert len(await client.enqueue_many([NewTask("c"), NewTask("c")])) == 2
        assert await client.copy("d", [{}] * 3) == 3
        assert len([task async for task in client.search()]) == 56
    with SyncTaskClient(dsn) as sync_client:
        assert sync_client.enqueue("a", unique_key="k").id == keyed[0].id
        assert sync_client.copy("d", [{}]) == 1
        assert len(sync_client.enqueue_many([NewTask("c")])) == 1
    assert database.value("select count(*) from perdure.tasks") == 58


async def test_nothing_is_prepared_behind_a_pooler(server: Server, database: Database) -> None:
    with pooling(server, {"default_pool_size": "1"}) as pooler:
        dsn = pooler.dsn(database.name)
        async with TaskClient(dsn) as client:
            handle = await client.enqueue("a")
            for _ in range(20):  # beyond the driver's threshold, on each connection of the pool
                assert (await client.get(handle.id)) is not None
                assert len([task async for task in client.search()]) == 1
        with SyncTaskClient(dsn) as sync_client:
            for _ in range(20):
                assert sync_client.get(handle.id) is not None
                assert len(list(sync_client.search())) == 1
        with psycopg.connect(dsn) as connection:
            names = connection.execute("select name from pg_prepared_statements").fetchall()
    assert names == []
