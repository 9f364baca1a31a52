"""Singletons: where they run, what becomes of their faults, how they end and come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.kit import spans
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.run import putter
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.store import queue
from perdure.store.database import Database as Store
from perdure.store.database import Session
from perdure.store.operations import Operation
from perdure.store.perform import perform

TASK = "select min(id) as id from perdure.tasks where name = 'singleton:rates'"


class Rates:
    """What the tests' singleton holds; its factory and its ticks do as they are told."""

    def __init__(self) -> None:
        self.setup: Exception | None = None
        self.fault: Exception | None = None
        self.ticks = 0
        self.held = 0
        self.builder = TaskService.builder()
        self.builder.add_singleton("rates", self.hold, tick=0.02)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Rates]:
        if self.setup is not None:
            raise self.setup
        self.held += 1
        try:
            yield self
        finally:
            self.held -= 1

    def tick(self) -> None:
        self.ticks += 1
        if self.fault is not None:
            raise self.fault

    async def comes(self, ours: Running, more: int = 3) -> None:
        until = self.ticks + more
        await ours.until(lambda: self.ticks >= until)


@pytest.fixture
def rates() -> Rates:
    return Rates()


async def id_of(ours: Running) -> int:
    return int((await ours.ask(TASK))[0]["id"])


async def test_it_runs_beside_slots_that_are_taken_and_whatever_queues_are_served(
    database: Database, rates: Rates
) -> None:
    @rates.builder.task("long")
    async def long(context: TaskContext[None, None]) -> None:
        await context.stop.wait()

    options = Options(queues={"other": 1})
    async with running(
        database, rates.builder.build(), options=options, execution__concurrency=1
    ) as ours:
        await rates.comes(ours)
        await ours.ask("select perdure.cancel(%s)", await id_of(ours))
        await ours.state(await id_of(ours), "cancelled")
        task = await ours.enqueue("long", queue="other")
        await ours.state(task, "running")
        # Nothing is free, and it comes back all the same.
        await ours.ask("select perdure.retry(%s)", await id_of(ours))
        await rates.comes(ours)
        assert (await ours.task(task))["state"] == "running"


async def test_a_tick_that_raises_is_counted_and_shown_and_the_next_one_comes(
    database: Database, rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    rates.fault = ValueError("no rates today")
    service = rates.builder.build()
    async with running(database, service) as ours, service.client as client:
        await rates.comes(ours)

        async def shown() -> str | None:
            (worker,) = await client.workers()
            return worker.problem

        problem = await ours.until(shown)
        assert problem.startswith(
            "singleton:rates: its last tick has failed (ValueError: no rates today), "
        )
        rates.fault = None
        await ours.until(lambda: database.value(
            "select execution_metadata -> 'problem' = 'null' from perdure.progress"
        ))  # fmt: skip
        assert await shown() is None
        row = await ours.task(await id_of(ours))
        assert row["execution_metadata"]["failures"] >= 3
        # A tick leaves nothing behind but the one checkpoint.
        assert database.value("select count(*) from perdure.attempts") == 0
        assert database.value("select count(*) from perdure.progress") == 1
    assert "lifespan.failed lifespan=singleton:rates phase=tick" in caplog.text
    assert database.value("select count(*) from perdure.statistics") == 0


async def test_a_setup_that_fails_is_a_failure_that_is_retried_with_a_pause(
    database: Database, rates: Rates
) -> None:
    rates.setup = ConnectionError("no answer")
    async with running(database, rates.builder.build()) as ours:
        await ours.until(lambda: database.rows(TASK) != [(None,)])
        task = await id_of(ours)
        row = await ours.state(task, "retrying")
        assert row["failures"] == 1
        delay = (
            "select extract(epoch from w.due_at - a.ended_at)"
            " from perdure.waiting as w, perdure.attempts as a"
        )
        assert 8 <= database.value(delay) <= 10
        rates.setup = None
        await ours.past(task)
        await rates.comes(ours)
    assert rates.held == 0


async def test_a_generator_that_raises_is_set_up_anew(database: Database) -> None:
    builder = TaskService.builder()
    said: list[str] = []

    def steps() -> Iterator[None]:
        said.append("in")
        yield
        raise ValueError("over")

    builder.add_singleton("steps", steps, tick=0.01)
    async with running(database, builder.build()) as ours:
        row = await ours.state(await one_task(ours), "retrying")
        assert row["execution_metadata"]["failures"] == 1
        await ours.past(row["id"])
        await ours.until(lambda: len(said) == 2)


async def one_task(ours: Running) -> int:
    async def there() -> int | None:
        rows = await ours.ask("select min(id) as id from perdure.tasks")
        found: int | None = rows[0]["id"]
        return found

    return int(await ours.until(there))


async def test_what_was_cancelled_is_put_anew_by_the_next_worker_that_starts(
    database: Database, rates: Rates
) -> None:
    service = rates.builder.build()
    async with running(database, service) as ours:
        await rates.comes(ours)
        await ours.ask("select perdure.cancel(%s)", await id_of(ours))
        await ours.state(await id_of(ours), "cancelled")
        assert rates.held == 0
    async with running(database, service) as ours:
        await rates.comes(ours)
        states = await ours.ask("select state from perdure.task_states order by id")
        assert [row["state"] for row in states] == ["cancelled", "running"]


async def test_a_worker_starts_although_a_transaction_holds_the_key(
    database: Database, rates: Rates
) -> None:
    put = "select perdure.enqueue('singleton:rates', unique_key => 'singleton:rates')"
    with psycopg.connect(database.dsn) as somebody:
        somebody.execute(put)
        async with running(database, rates.builder.build()) as ours:
            somebody.rollback()
            await rates.comes(ours)
            assert len(await ours.ask("select from perdure.tasks")) == 1


async def test_its_queue_can_be_paused(database: Database, rates: Rates) -> None:
    async with running(database, rates.builder.build()) as ours:
        await rates.comes(ours)
        await ours.ask("select perdure.pause_queue('singletons', stop_running => true)")
        ours.worker.beat_now()
        await ours.until(lambda: rates.held == 0)
        await ours.state(await id_of(ours), "pending")
        await ours.ask("select perdure.resume_queue('singletons')")
        ours.worker.beat_now()
        await rates.comes(ours)


async def test_a_pause_that_comes_while_it_is_claimed_is_obeyed(
    database: Database, rates: Rates, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = asyncio.Event()
    claim = queue.claim

    async def claim_slowly(session: Session, *arguments: Any) -> Any:
        claimed = await claim(session, *arguments)
        if claimed and not paused.is_set():
            await ours.ask("select perdure.pause_queue('singletons')")
            ours.worker.beat_now()
            await ours.until(lambda: heard)
            paused.set()
        return claimed

    heard: list[object] = []
    rates.builder.on("queue.paused", heard.append)
    monkeypatch.setattr(queue, "claim", claim_slowly)
    async with running(database, rates.builder.build()) as ours:
        await paused.wait()
        await ours.state(await id_of(ours), "pending")
        assert rates.ticks == 0
        await ours.ask("select perdure.resume_queue('singletons')")
        ours.worker.beat_now()
        await rates.comes(ours)


async def test_one_that_is_refused_is_put_when_it_can_be_and_keeps_no_other_from_it(
    database: Database,
    rates: Rates,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[Operation[Any]] = []

    async def perform_told(ours: Store, put: Operation[Any]) -> Any:
        tried.append(put)
        return await perform(ours, put)

    monkeypatch.setattr(putter, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(putter, "perform", perform_told)
    # They are put in the order of their names: one before, and one after it.
    rates.builder.add_singleton("forbidden", rates.hold).add_singleton("unwanted", rates.hold)
    database.execute(
        "alter table perdure.tasks add constraint ours"
        " check (name not in ('singleton:forbidden', 'singleton:unwanted'));"
        "select perdure.set_queue('singletons', max_depth => 0)"
    )
    async with running(database, rates.builder.build()) as ours:
        await ours.until(lambda: len(tried) > 3)
        assert (await ours.ask(TASK))[0]["id"] is None
        database.execute("select perdure.set_queue('singletons', max_depth => null)")
        await rates.comes(ours)
        await ours.until(lambda: caplog.text.count("loop.failed loop=singletons") == 2)


async def test_a_burst_neither_puts_nor_holds_one(database: Database, rates: Rates) -> None:
    service = rates.builder.build()
    async with running(database, service, options=Options(burst=True)) as ours:
        await asyncio.wait_for(ours.worker.stopped(), PATIENCE)
    assert database.value("select count(*) from perdure.tasks") == 0
    assert rates.ticks == 0


def test_nobody_can_enqueue_a_second_one(database: Database) -> None:
    for statement in (
        "insert into perdure.tasks (name) values ('singleton:rates')",
        "select perdure.enqueue('singleton:rates')",
        "select perdure.enqueue('singleton:rates', unique_key => 'rates')",
    ):
        with pytest.raises(psycopg.Error, match="needs itself as its unique key") as caught:
            database.execute(statement)
        assert caught.value.sqlstate == "PD004"
    put = "select answer from perdure.enqueue('singleton:rates', unique_key => 'singleton:rates')"
    assert [database.value(put), database.value(put)] == ["created", "kept"]


async def test_after_crashes_it_ticks_in_a_process_of_its_own(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("create table ticks (attempt int, number bigint)")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    monkeypatch.setenv(VARIABLE, str(ledger.path))
    task = database.value(
        "select task_id from perdure.enqueue('singleton:holder', unique_key => 'singleton:holder')"
    )
    database.execute("insert into perdure.progress (task_id, crashes) values (%s, 2)", (task,))
    options = Options(application="tests.kit.spans:service")
    async with running(database, spans.service, options=options) as ours:
        await ours.until(lambda: database.value("select count(*) from ticks") >= 3)
        (hold,) = ledger.records("hold")
        assert hold["pid"] != os.getpid()
        assert database.value("select crashes from perdure.progress") == 0
    rows = database.rows("select number from ticks order by number")
    assert rows == [(number,) for number in range(1, len(rows) + 1)]
    assert [r["pid"] for r in ledger.records("release")] == [hold["pid"]]
    kinds: list[Any] = database.rows("select kind, reason from perdure.attempts")
    assert kinds == [("interruption", "shutdown")]
