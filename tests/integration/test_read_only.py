"""A server that takes no writes any more, such as a primary that has become a standby."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.errors import DatabaseUnavailable
from perdure.service import TaskService


async def demote(worker: Running, loop: str) -> None:
    """Let one session of the worker be as if its server had become a standby."""
    text = "set default_transaction_read_only = on"
    if loop == "beat":
        session = worker.worker._beat._session
        assert session is not None
        await asyncio.to_thread(session.connection.execute, text)
    else:
        runtime = worker.worker
        own = runtime._enqueuer._session if loop == "claim" else runtime._completer._session
        assert own is not None
        await own._connection.execute(text)


@pytest.mark.parametrize("loop", ["claim", "flush", "beat"])
async def test_a_session_whose_server_takes_no_writes_any_more_is_given_up(
    database: Database, loop: str
) -> None:
    builder = TaskService.builder()

    @builder.task("a")
    async def handle(_context: TaskContext[dict[str, Any], None]) -> None:
        pass

    named = "select pid from pg_stat_activity where datname = %s and application_name = %s"
    session = [database.name, f"perdure {loop}"]
    async with running(database, builder.build()) as worker:
        await worker.ended(await worker.enqueue("a"))
        before = database.rows(named, session)
        await demote(worker, loop)
        second = await worker.enqueue("a")
        await worker.until(lambda: database.rows(named, session) not in ([], before))
        assert (await worker.ended(second))["state"] == "completed"
    database.check_drained()


async def test_a_connection_of_the_pool_is_given_up_if_its_own_server_takes_no_writes(
    database: Database,
) -> None:
    builder = TaskService.builder()
    pids: list[int] = []

    @builder.task("a")
    async def handle(context: TaskContext[dict[str, Any], None]) -> None:
        async with context.transaction() as ours:
            pids.append(ours.info.backend_pid)
        async with await psycopg.AsyncConnection.connect(database.dsn) as other:
            await other.set_read_only(True)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                async with context.transaction():
                    await other.execute("create table never ()")
        async with context.transaction() as ours:
            pids.append(ours.info.backend_pid)
            await ours.execute("set session characteristics as transaction read only")
        with pytest.raises(DatabaseUnavailable):
            async with context.transaction():
                pass
        async with context.transaction() as ours:
            pids.append(ours.info.backend_pid)

    async with running(database, builder.build(), persistence__pool_max_size="1") as worker:
        assert (await worker.ended(await worker.enqueue("a")))["state"] == "completed"
    first, second, third = pids
    assert first == second != third
    database.check_drained()
