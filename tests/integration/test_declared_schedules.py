"""Schedules that code declares, beside users who hold the same rows in open transactions."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import running

from perdure import Every, PerdureError, TaskContext, TaskService
from perdure.errors import DatabaseUnavailable
from perdure.run import putter
from perdure.store.database import Database as Store
from perdure.store.operations import Operation
from perdure.store.perform import perform


def service(*keys: str, metadata: dict[str, Any] | None = None) -> TaskService:
    builder = TaskService.builder()

    @builder.task("tick")
    async def tick(context: TaskContext[dict[str, Any], None]) -> None: ...

    for key in keys:
        builder.add_schedule(key, "tick", Every(3600), metadata)
    return builder.build()


async def test_a_start_waits_for_nobody_who_holds_a_schedule_that_is_the_same(
    database: Database,
) -> None:
    async with running(database, service("a", "b")):
        pass
    with psycopg.connect(database.dsn) as user:
        user.execute("select perdure.pause_schedule('a')")
        async with running(database, service("a", "b")) as worker:
            assert not worker.worker._putter._later, "it had to wait"
    assert database.rows("select generation, state from perdure.schedules where key = 'a'") == [
        (1, "paused")
    ]


async def test_what_an_open_transaction_holds_is_put_when_that_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(putter, "AGAIN_SECONDS", 0.05)
    async with running(database, service("a")):
        pass
    question = "select key, metadata from perdure.schedules order by key"
    with psycopg.connect(database.dsn) as user:
        user.execute("select perdure.pause_schedule('a')")
        user.execute("select perdure.put_schedule('c', 'tick', every => '1 day')")
        async with running(database, service("a", "b", "c", metadata={"new": 1})) as worker:
            mended = [("a", {}), ("b", {"new": 1})]
            await worker.until(lambda: database.rows(question) == mended)
            user.commit()
            await worker.until(
                lambda: database.rows(question) == [(key, {"new": 1}) for key in "abc"]
            )
    states = database.rows("select key, state, generation from perdure.schedules order by key")
    assert states == [("a", "paused", 2), ("b", "active", 1), ("c", "active", 2)]


async def test_a_start_waits_for_one_of_many_that_a_transaction_holds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[object] = []

    async def perform_told(ours: Store, put: Operation[Any]) -> Any:
        try:
            return await perform(ours, put)
        except DatabaseUnavailable:
            waited.append(put)
            raise

    keys = "abcdef"
    async with running(database, service(*keys)):
        pass
    monkeypatch.setattr(putter, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(putter, "perform", perform_told)
    with psycopg.connect(database.dsn) as user:
        user.execute("select perdure.pause_schedule(key) from perdure.schedules")
        async with running(database, service(*keys, metadata={"new": 1})) as worker:
            assert 1 <= len(waited) < 4
            user.commit()
            new = "select count(*) from perdure.schedules where metadata <> '{}'"
            await worker.until(lambda: database.value(new) == len(keys))


async def test_a_worker_whose_schedule_is_refused_does_not_start(database: Database) -> None:
    built = service("a", metadata={"large": "x" * 2_000_000})
    with pytest.raises(PerdureError, match="metadata is larger than"):
        async with running(database, built):
            raise AssertionError("it has started")
    assert database.rows("select count(*) from perdure.workers") == [(0,)]
