"""Checkpoints and ends in transactions: committed, rolled back, and what a later run is given."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService


class Pages(BaseModel):
    """A checkpoint."""

    page: int = 0


class Undo(Exception):
    """Takes a transaction back."""


@pytest.fixture
def database(database: Database) -> Database:
    database.execute("create table business (page int)")
    return database


async def write_and_undo(context: TaskContext[dict[str, int], Pages], how: str, dsn: str) -> None:
    """Write a row and a checkpoint of 5 in one transaction, and take it back."""
    if how == "transaction":
        async with context.transaction() as connection:
            await connection.execute("insert into business values (5)")
            context.execution_metadata.page = 5
            raise Undo
    async with (
        await psycopg.AsyncConnection.connect(dsn) as connection,
        connection.transaction(),
    ):
        await connection.execute("insert into business values (5)")
        context.execution_metadata.page = 5
        await context.checkpoint(on=connection)
        raise Undo


@pytest.mark.conformance("C42")
@pytest.mark.parametrize("how", ["transaction", "checkpoint"])
async def test_after_a_rollback_and_an_interruption_the_next_run_has_the_checkpoint_before_it(
    database: Database, how: str
) -> None:
    builder = TaskService.builder()
    began = asyncio.Event()
    seen: list[int] = []

    @builder.task("pages")
    async def pages(context: TaskContext[dict[str, int], Pages]) -> int:
        seen.append(context.execution_metadata.page)
        if context.attempt > 1:
            return context.execution_metadata.page
        context.execution_metadata.page = 1
        await context.checkpoint()
        context.execution_metadata.page = 2
        with pytest.raises(Undo):
            await write_and_undo(context, how, database.dsn)
        seen.append(context.execution_metadata.page)
        context.execution_metadata.page = 9
        began.set()
        await context.stop.wait()
        context.stop.check()
        raise AssertionError

    async with running(database, builder.build()) as run:
        task = await run.enqueue("pages")
        await began.wait()
    assert (await run.task(task))["execution_metadata"] == {"page": 1}
    async with running(database, builder.build()) as run:
        row = await run.ended(task)
        assert (row["result"], row["attempt"], row["interruptions"]) == (1, 2, 1)
    # The model of the handler that went on is the one at the entry of context.transaction().
    assert seen == [0, 2 if how == "transaction" else 5, 1]
    assert not database.rows("select from business")
    database.check_drained()


@pytest.mark.conformance("C42")
async def test_a_run_without_transactions_is_saved_as_it_stands_when_it_is_stopped(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began = asyncio.Event()

    @builder.task("pages")
    async def pages(context: TaskContext[dict[str, int], Pages]) -> int:
        if context.attempt > 1:
            return context.execution_metadata.page
        context.execution_metadata.page = 1
        await context.checkpoint()
        context.execution_metadata.page = 9
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with running(database, builder.build(), execution__stop_grace="0.05s") as run:
        task = await run.enqueue("pages")
        await began.wait()
    async with running(database, builder.build()) as run:
        row = await run.ended(task)
        assert (row["result"], row["attempt"], row["interruptions"]) == (9, 2, 1)
    database.check_drained()


@pytest.mark.conformance("C42")
async def test_a_run_is_explicit_if_an_earlier_one_has_used_a_transaction(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began = asyncio.Event()

    @builder.task("pages")
    async def pages(context: TaskContext[dict[str, int], Pages]) -> int:
        if context.attempt == 1:
            async with context.transaction():
                context.execution_metadata.page = 1
        if context.attempt < 3:
            context.execution_metadata.page += 1
            began.set()
            await asyncio.Event().wait()
        return context.execution_metadata.page

    service = builder.build()
    for _ in range(2):
        async with running(database, service, execution__stop_grace="0.05s") as run:
            if not began.is_set():
                task = await run.enqueue("pages")
            began.clear()
            await began.wait()
    async with running(database, service) as run:
        row = await run.ended(task)
        assert (row["result"], row["attempt"], row["interruptions"]) == (1, 3, 2)
    database.check_drained()


@pytest.mark.conformance("C44")
@pytest.mark.parametrize("how", ["transaction", "complete", "complete in transaction"])
async def test_a_completion_that_is_rolled_back_lets_the_run_go_on(
    database: Database, how: str
) -> None:
    builder = TaskService.builder()

    async def complete_and_undo(context: TaskContext[dict[str, int], Pages]) -> None:
        if how == "transaction":
            async with context.transaction(result="undone") as connection:
                await connection.execute("insert into business values (1)")
                raise Undo
        elif how == "complete in transaction":
            async with context.transaction() as connection:
                await connection.execute("insert into business values (1)")
                await context.complete("undone", on=connection)
                raise Undo
        else:
            async with (
                await psycopg.AsyncConnection.connect(database.dsn) as connection,
                connection.transaction(),
            ):
                await connection.execute("insert into business values (1)")
                await context.complete("undone", on=connection)
                raise Undo

    @builder.task("report")
    async def report(context: TaskContext[dict[str, int], Pages]) -> str:
        with pytest.raises(Undo):
            await complete_and_undo(context)
        context.execution_metadata.page = 3
        await context.checkpoint()
        async with context.transaction() as connection:
            await connection.execute("insert into business values (2)")
        return "went on"

    async with running(database, builder.build()) as run:
        row = await run.ended(await run.enqueue("report"))
        assert (row["state"], row["result"], row["attempt"]) == ("completed", "went on", 1)
        assert row["execution_metadata"] == {"page": 3}
        assert database.rows("select page from business") == [(2,)]
    database.check_drained()


@pytest.mark.conformance("C44")
@pytest.mark.parametrize("how", ["transaction", "complete"])
async def test_what_is_returned_after_a_committed_completion_is_ignored(
    database: Database, how: str
) -> None:
    builder = TaskService.builder()

    @builder.task("report")
    async def report(context: TaskContext[dict[str, int], Pages]) -> str:
        if how == "transaction":
            async with context.transaction(result="committed"):
                pass
        else:
            async with (
                await psycopg.AsyncConnection.connect(database.dsn) as connection,
                connection.transaction(),
            ):
                await context.complete("committed", on=connection)
        if context.metadata.get("raises"):
            raise Undo
        return "committed"

    @builder.task("thread")
    def thread(context: SyncTaskContext[dict[str, int], Pages]) -> str:
        if how == "transaction":
            with context.transaction(result="committed"):
                pass
        else:
            with psycopg.connect(database.dsn) as connection:
                context.complete("committed", on=connection)
        return "committed"

    async with running(database, builder.build()) as run:
        tasks = [
            await run.enqueue("report"),
            await run.enqueue("report", '{"raises": 1}'),
            await run.enqueue("thread"),
        ]
        for task in tasks:
            row = await run.ended(task)
            assert (row["state"], row["result"], row["attempt"]) == ("completed", "committed", 1)
            assert (row["failures"], row["crashes"]) == (0, 0)

        async def idle() -> Any:
            return not await run.ask("select from perdure.leases")

        await run.until(idle)
    assert database.value("select count(*) from perdure.attempts") == 0
    database.check_drained()
