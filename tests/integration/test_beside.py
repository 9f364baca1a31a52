"""A run that has lost its lease and does not stop: the next one waits here until it has."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService

RECOVER = """
    with gone as (delete from perdure.leases returning task_ids)
    insert into perdure.ready (lane, priority, task_id)
    select 0, 0, unnest(task_ids) from gone
    """
RAN = "select count(*) from perdure.waiting where reason = 'delay'"


class Deaf:
    """A thread that hears nothing until it is let go, and who has begun."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.at_work = 0
        self.go = threading.Event()
        builder = TaskService.builder()
        builder.task("deaf")(self.run)
        self.service: TaskService = builder.build()

    def run(self, context: SyncTaskContext[dict[str, Any], None]) -> None:
        self.starts.append(context.attempt)
        self.at_work += 1
        assert self.at_work == 1
        self.go.wait()
        self.at_work -= 1


@asynccontextmanager
async def lost(database: Database, deaf: Deaf) -> AsyncIterator[tuple[Running, int]]:
    """A worker and a task whose run has lost its lease and goes on; the task has come back here."""
    async with running(database, deaf.service) as worker:
        try:
            task = await worker.enqueue("deaf")
            await worker.until(lambda: deaf.starts)
            database.execute(RECOVER)
            await worker.until(lambda: database.value(RAN))
            yield worker, task
        finally:
            deaf.go.set()


async def test_a_task_waits_until_its_run_before_has_stopped_here(database: Database) -> None:
    deaf = Deaf()
    async with lost(database, deaf) as (worker, task):
        assert deaf.starts == [1]
        deaf.go.set()
        row = await worker.ended(task)
    assert len(deaf.starts) == 2
    assert (row["state"], row["failures"], row["crashes"]) == ("completed", 0, 0)
    database.check_drained()


async def test_a_cancel_reaches_a_task_that_waits_for_its_run_before(database: Database) -> None:
    deaf = Deaf()
    async with lost(database, deaf) as (worker, task):
        await worker.ask("select perdure.cancel(%s::bigint)", task)
        assert (await worker.ended(task))["state"] == "cancelled"
    assert deaf.starts == [1]
    database.check_drained()


async def test_a_drain_tells_of_a_run_that_has_lost_its_lease_and_does_not_stop(
    database: Database,
) -> None:
    deaf = Deaf()
    async with lost(database, deaf) as (worker, _):
        assert await worker.worker.stop() == 1
    assert deaf.starts == [1]
