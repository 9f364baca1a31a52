"""A task whose start is being written is held, but has not begun: no crash can be its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.gate import lose
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.queue import Saving

BEATEN = "select from perdure.workers where id = %s::bigint and heartbeat_at > %s"


async def test_a_run_is_told_to_have_begun_when_its_start_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TaskService.builder()
    begun, go = asyncio.Event(), asyncio.Event()

    @builder.task("suspect")
    async def suspect(_: TaskContext[dict[str, Any], None]) -> None:
        begun.set()
        await go.wait()

    save, asked, free = queue.save, asyncio.Event(), asyncio.Event()

    async def late(session: Session, saves: Sequence[Saving]) -> list[bool]:
        asked.set()
        await free.wait()
        return await save(session, saves)

    monkeypatch.setattr(queue, "save", late)
    task = database.value("select task_id from perdure.enqueue('suspect')")
    lose(database, task)
    async with running(database, builder.build()) as worker:
        listed = "select running from perdure.workers where id = %s::bigint"
        await asked.wait()
        for _ in range(2):
            now = database.value("select clock_timestamp()")
            await worker.until(partial(database.rows, BEATEN, (worker.worker.id, now)))
        assert database.value(listed, (worker.worker.id,)) == []
        free.set()
        await begun.wait()
        await worker.until(lambda: database.value(listed, (worker.worker.id,)) == [task])
        go.set()
        assert (await worker.ended(task))["state"] == "completed"
    database.check_drained()
