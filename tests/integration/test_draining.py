"""A worker that is drained: it takes nothing more, interrupts what it runs, and lives on."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService

Context = TaskContext[dict[str, Any], None]


def made(runs: dict[int, list[str | None]], began: asyncio.Event) -> TaskService:
    """A task whose first run waits until it is stopped, and notes why."""
    builder = TaskService.builder()

    @builder.task("long")
    async def run_long(context: Context) -> str:
        reasons = runs.setdefault(context.task_id, [])
        if context.attempt == 1:
            began.set()
            await context.stop.wait()
            reasons.append(context.stop.reason)
            context.stop.check()
        return context.run_reason

    return builder.build()


async def test_a_drained_worker_takes_nothing_more_and_another_goes_on(database: Database) -> None:
    runs: dict[int, list[str | None]] = {}
    began = asyncio.Event()
    async with (
        running(database, made(runs, began)) as drained,
        TaskClient(database.dsn, schema_name=database.schema) as client,
    ):
        task_id = await drained.enqueue("long")
        await asyncio.wait_for(began.wait(), PATIENCE)
        own = drained.worker.id
        assert [(w.alive, w.draining) for w in await client.workers()] == [(True, False)]
        assert await client.drain_worker(own) == "draining"
        assert await client.drain_worker(own) == "already_draining"
        assert await client.drain_worker(own + 1) == "not_found"
        drained.worker.beat_now()
        await drained.until(lambda: runs.get(task_id) == ["drain"])
        waiting = await drained.state(task_id, "pending")
        assert (waiting["reason"], waiting["interruptions"]) == ("interruption", 1)
        later = await drained.enqueue("long")
        # A pause that comes and goes changes nothing for it, nor does a new id.
        await drained.pause("default")
        await client.resume_queue("default")
        drained.worker.beat_now()
        await drained.until(lambda: not drained.worker._news._paused)
        await drained.ask("delete from perdure.workers where id = %s::bigint", own)
        drained.worker.beat_now()
        await drained.until(lambda: drained.worker.id != own)
        drained.worker.beat_now()
        assert [w.draining for w in await client.workers()] == [True]
        enqueuer = drained.worker._enqueuer
        swept = enqueuer.sweeps
        enqueuer.loop.wake()
        await drained.until(lambda: enqueuer.sweeps > swept)
        assert {(await drained.task(one))["state"] for one in (task_id, later)} == {"pending"}

        async with running(database, made(runs, asyncio.Event()), options=Options()) as other:
            assert (await other.ended(task_id))["result"] == "interruption"
            assert (await other.task(task_id))["attempt"] == 2
            await other.ask("select perdure.cancel(%s::bigint)", later)
            await other.ended(later)
    database.check()
