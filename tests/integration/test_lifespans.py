"""Lifespans of a worker: ticks, cleanups, two workers in one process, isolated runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit import spans
from tests.kit.databases import Database
from tests.kit.fleet import QUICK
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.errors import LifespanError
from perdure.run.events import LifespanFailed
from perdure.run.options import Options
from perdure.service import TaskService

APPLICATION = Options(application="tests.kit.spans:service")


@pytest.fixture
def ledger(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    database.execute("create table ticks (attempt int, number bigint)")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    monkeypatch.setenv(VARIABLE, str(ledger.path))
    return ledger


async def test_ticks_come_one_at_a_time_and_outlive_an_exception(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []

    class Pool:
        inside = 0
        ticks = 0

        async def tick(self) -> None:
            self.inside += 1
            said.append(f"pool {self.inside}")
            await asyncio.sleep(0.03)
            self.inside -= 1
            self.ticks += 1
            if self.ticks == 2:
                raise ValueError("a bad moment")

    async def pool() -> AsyncIterator[Pool]:
        yield Pool()
        said.append("pool out")

    def steps() -> Iterator[int]:
        try:
            for number in range(1_000):
                said.append(f"step {number}")
                yield number
        finally:
            said.append("steps out")

    def broken() -> Iterator[None]:
        yield
        raise ConnectionError("it would not close")

    builder = TaskService.builder()
    builder.add_lifespan("pool", pool, tick=0.01)
    builder.add_lifespan("steps", steps, tick=0.02)
    builder.add_lifespan("broken", broken)
    async with running(database, builder.build()) as ours:
        await ours.until(lambda: said.count("pool 1") >= 4 and "step 3" in said)
    assert "pool 2" not in said
    assert said[-2:] == ["steps out", "pool out"]
    steps_said = [text for text in said if text.startswith("step ")]
    assert steps_said == [f"step {number}" for number in range(len(steps_said))]
    messages = [record.getMessage() for record in caplog.records]
    assert "lifespan.failed lifespan=pool phase=tick" in messages
    assert "lifespan.failed lifespan=broken phase=cleanup" in messages


async def test_a_tick_whose_own_await_was_cancelled_is_told_and_the_next_one_comes(
    database: Database,
) -> None:
    class Feed:
        ticks = 0

        async def tick(self) -> None:
            self.ticks += 1
            if self.ticks == 1:
                reading = asyncio.ensure_future(asyncio.sleep(60))
                reading.cancel()
                await reading

    feed = Feed()

    def feeds() -> Iterator[Feed]:
        yield feed

    builder = TaskService.builder()
    builder.add_lifespan("feed", feeds, tick=0.01)
    told: list[LifespanFailed] = []
    builder.on("lifespan.failed", told.append)
    async with running(database, builder.build()) as ours:
        await ours.until(lambda: feed.ticks >= 3)
    (event,) = told
    assert (event.lifespan, event.phase) == ("feed", "tick")
    assert str(event.error) == "what the tick has awaited was cancelled"


async def test_two_workers_in_one_process_have_values_of_their_own(database: Database) -> None:
    made: list[object] = []

    def thing() -> Iterator[object]:
        made.append(object())
        yield made[-1]

    builder = TaskService.builder()
    handle = builder.add_lifespan("thing", thing)
    seen: list[object] = []
    both = asyncio.Event()

    @builder.task("look")
    async def look(_context: TaskContext[None, None]) -> None:
        seen.append(handle.value)
        if len(seen) == 2:
            both.set()
        await both.wait()

    service = builder.build()
    async with running(database, service, execution__concurrency=1) as one, service.worker():
        ids = [await one.enqueue("look"), await one.enqueue("look")]
        for id_ in ids:
            assert (await one.ended(id_))["state"] == "completed"
    assert len(made) == 2
    assert {*map(id, seen)} == {*map(id, made)}


async def test_an_isolated_run_enters_lifespans_of_its_own(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"execution__stop_grace": "20s"}  # a child has so long for its cleanup
    async with running(database, spans.service, options=APPLICATION, **patient) as ours:
        for name in ("apart", "apart.plain"):
            row = await ours.ended(await ours.enqueue(name))
            assert row["state"] == "completed"
            told, pid = row["result"].rsplit(" ", 1)
            assert (told, int(pid) != os.getpid()) == ("second after first of", True)
            mine = [r for r in ledger.records() if r["pid"] == int(pid)]
            assert [(r["what"], r["task"]) for r in mine][-6:] == [
                ("enter", 1), ("enter", 2), ("enter", 3), ("leave", 3), ("leave", 2), ("leave", 1),
            ]  # fmt: skip
        monkeypatch.setenv(spans.SETUP, "raises")
        # Children that are kept have the old environment: one that has crashed gets a fresh one.
        await ours.pause("default")
        for name in ("apart", "apart.plain"):
            task = await ours.enqueue(name)
            await ours.ask("insert into perdure.progress (task_id, crashes) values (%s, 1)", task)
        await ours.ask("select perdure.resume_queue('default')")
        row = await ours.state(task, "retrying")
        assert row["failures"] == 1
        history = await ours.ask("select error from perdure.attempts where task_id = %s", task)
        assert history[0]["error"]["type"] == "LifespanError"
        assert "'third' could not be set up: ConnectionError" in history[0]["error"]["message"]


async def test_a_cleanup_that_hangs_keeps_neither_the_stop_nor_the_workers_row(
    database: Database,
) -> None:
    async def hanging() -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    builder = TaskService.builder()
    builder.add_lifespan("hanging", hanging)
    async with running(database, builder.build(), execution__shutdown_grace="1s") as ours:
        pass
    # Its process ends without waiting for it.
    assert not ours.worker.clean
    await ours.until(lambda: not database.rows("select from perdure.workers"))


async def test_a_failed_setup_leaves_an_embedding_program_as_it_was(database: Database) -> None:
    left: list[str] = []

    async def good() -> AsyncIterator[None]:
        yield
        left.append("good")

    async def torn() -> AsyncIterator[None]:
        raise asyncio.CancelledError
        yield

    builder: Any = TaskService.builder()
    builder.add_lifespan("good", good)
    builder.add_lifespan("torn", torn)
    with pytest.raises(LifespanError, match="'torn' could not be set up: it was cancelled"):
        async with running(database, builder.build()):
            raise AssertionError("it must not start")
    assert left == ["good"]
    assert database.value("select count(*) from perdure.workers") == 0


@pytest.mark.usefixtures("ledger")
def test_a_worker_that_could_not_start_leaves_nothing_behind_that_holds_its_exit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that is connecting obeys no cancel: the loop would wait for it at its end."""

    async def left() -> list[str]:
        mine = asyncio.current_task()
        return [task.get_name() for task in asyncio.all_tasks() if task is not mine]

    monkeypatch.setenv(spans.SETUP, "raises")
    service = spans.builder.build()
    service.override({**QUICK, "dsn": database.dsn})
    with asyncio.Runner() as runner:
        with pytest.raises(LifespanError, match="'third' could not be set up"):
            runner.run(service._serve(Options()))
        assert runner.run(left()) == []
