"""A standby that takes over may lack the last commits: no run goes on from what it may lack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.errors import LeaseLost
from perdure.service import TaskService
from perdure.store.timeline import Timeline


class Pages(BaseModel):
    page: int = 0


Context = TaskContext[dict[str, Any], Pages]


async def end(_context: Context) -> None:
    pass


async def soon(context: Context) -> None:
    context.execution_metadata.page = 2
    context.checkpoint_soon()


async def refused(writing: Awaitable[object]) -> None:
    with pytest.raises(LeaseLost):
        await writing


async def checkpoint(context: Context) -> None:
    context.execution_metadata.page = 2
    await refused(context.checkpoint())


async def enqueue(context: Context) -> None:
    await refused(context.enqueue("b"))


async def transaction(context: Context) -> None:
    async def write() -> None:
        async with context.transaction():
            context.execution_metadata.page = 2

    await refused(write())


class Scene:
    """A service whose first run saves a page, waits to be let go, and does the rest."""

    def __init__(self, rest: Callable[[Context], Awaitable[None]], *, saves: bool = True) -> None:
        self.starts: list[tuple[int, int]] = []
        self.saved, self.go = asyncio.Event(), asyncio.Event()
        self._rest, self._saves = rest, saves
        builder = TaskService.builder()
        builder.task("a")(self._run)
        builder.task("b")(self._other)
        self.service: TaskService = builder.build()

    async def _run(self, context: Context) -> int:
        self.starts.append((context.attempt, context.execution_metadata.page))
        if context.attempt == 1:
            if self._saves:
                context.execution_metadata.page = 1
                await context.checkpoint()
            self.saved.set()
            await self.go.wait()
            await self._rest(context)
        return context.execution_metadata.page

    async def _other(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.starts.append((context.attempt, -1))


def take_over(worker: Running) -> None:
    """Let it be as if a connection had met a standby that has taken over."""
    worker.worker._database.timeline.number += 1


async def test_a_connection_tells_the_timeline_of_its_server(database: Database) -> None:
    timeline = Timeline()
    text = "select timeline_id from pg_control_checkpoint()"
    async with running(database, Scene(end).service) as worker:
        assert worker.worker._database.timeline.number == database.value(text)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        timeline.look_sync(connection, "select no_such_function()")
        assert timeline.number == 0
        timeline.followed = True
        timeline.look_sync(connection, "select no_such_function()")
    assert not timeline.followed


@pytest.mark.parametrize("rest", [end, soon, checkpoint, enqueue, transaction])
async def test_a_run_does_not_go_on_from_what_another_server_may_lack(
    database: Database, rest: Callable[[Context], Awaitable[None]]
) -> None:
    scene = Scene(rest)
    async with running(database, scene.service) as worker:
        task = await worker.enqueue("a")
        await scene.saved.wait()
        # What was saved is gone; this server has the page of another run.
        await worker.ask("update perdure.progress set execution_metadata = '{\"page\": 7}'")
        take_over(worker)
        scene.go.set()
        row = await worker.ended(task)
    assert (row["state"], row["result"]) == ("completed", 7)
    assert (row["failures"], row["interruptions"], row["crashes"]) == (0, 1, 0)
    assert scene.starts == [(1, 0), (2, 7)]
    assert database.value("select count(*) from perdure.tasks") == 1
    database.check_drained()


async def test_a_run_does_not_go_on_over_a_child_that_another_server_may_lack(
    database: Database,
) -> None:
    async def child(context: Context) -> None:
        await context.enqueue("b")
        scene.saved.set()
        await over.wait()

    scene, over = Scene(child, saves=False), asyncio.Event()
    scene.go.set()
    async with running(database, scene.service) as worker:
        task = await worker.enqueue("a")
        await worker.until(lambda: database.rows("select from perdure.outcomes"))
        take_over(worker)
        over.set()
        row = await worker.ended(task)
    assert (row["state"], row["attempt"], row["interruptions"]) == ("completed", 2, 1)
    database.check_drained()


async def test_a_run_that_has_written_nothing_goes_on(database: Database) -> None:
    scene = Scene(end, saves=False)
    async with running(database, scene.service) as worker:
        task = await worker.enqueue("a")
        await scene.saved.wait()
        take_over(worker)
        scene.go.set()
        row = await worker.ended(task)
    assert (row["state"], row["attempt"], row["interruptions"]) == ("completed", 1, 0)


@pytest.mark.usefixtures("stays_prefetched")
async def test_what_waits_for_a_slot_is_read_again(database: Database) -> None:
    scene = Scene(end)
    one: dict[str, Any] = {"execution__concurrency": 1, "execution__prefetch": 4}
    async with running(database, scene.service, **one) as worker:
        first = await worker.enqueue("a")
        await scene.saved.wait()
        second = await worker.enqueue("b")
        holdings = worker.worker._holdings
        await worker.until(lambda: holdings.tasks == 2)
        take_over(worker)
        assert worker.worker._enqueuer.take() is None
        scene.go.set()
        assert (await worker.ended(first))["interruptions"] == 1
        row = await worker.ended(second)
    assert (row["state"], row["attempt"], row["interruptions"]) == ("completed", 1, 0)


async def test_a_connection_that_does_not_answer_is_closed(database: Database) -> None:
    timeline = Timeline()
    timeline.followed = True
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as connection:
        with pytest.raises(TimeoutError):
            await timeline.look(connection, "select pg_sleep(60)", 0.05)
        assert connection.closed
