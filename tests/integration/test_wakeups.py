"""How tasks are found: by a wake-up, by looking, when they are due, and in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import Running, running
from tests.kit.stepping import stepped

from perdure.declare.context import TaskContext
from perdure.run import enqueuer, gate
from perdure.run.gate import Gate
from perdure.run.options import Options
from perdure.service import TaskService

LONG: dict[str, Any] = {"scheduling__polling_delay": "30s", "execution__lease_duration": "60s",
        "execution__beat_interval": "15s"}  # fmt: skip
ONE_SLOT = LONG | {"execution__concurrency": 1, "execution__prefetch": "0"}
SOON = 5.0
"""Seconds: far below every pause of these workers, far above what a loaded machine needs."""


class Shop:
    """A service with tasks that note their start and wait until the test lets them end."""

    def __init__(self, *names: str, **defaults: Any) -> None:
        self.starts: list[str] = []
        self.running = 0
        self.most = 0
        self.go = asyncio.Event()
        self.began = asyncio.Event()
        builder = TaskService.builder()
        for name in names:
            builder.task(name, **defaults)(self.run)
        self.service: TaskService = builder.build()

    async def run(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.starts.append(context.name)
        self.began.set()
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1


class Ears:
    """A second connection that listens to the wake-ups of the schema."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def hear(self, seconds: float = 0.0) -> list[str]:
        """What has come, waiting so long for the first."""
        heard = self._connection.notifies(timeout=seconds, stop_after=1)
        return [notify.channel async for notify in heard]


@asynccontextmanager
async def ears(database: Database) -> AsyncIterator[Ears]:
    connection = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)
    async with connection:
        channel = database.value("select perdure.channel()")
        await connection.execute(f'listen "{channel}"')
        yield Ears(connection)


async def idle(worker: Running) -> None:
    """Wait until the worker has said that it waits."""
    await worker.until(lambda: worker.database.rows(AWAITED))


AWAITED = "select from perdure.queues where awaited > clock_timestamp()"


async def started_within(worker: Running, shop: Shop, act: Callable[[], Any]) -> float:
    """Seconds from the act to the start of a task."""
    shop.began.clear()
    began = time.monotonic()
    await act()
    async with asyncio.timeout(20):
        await shop.began.wait()
    return time.monotonic() - began


@pytest.fixture
def looks_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look of the enqueuer itself comes before SOON."""
    monkeypatch.setattr(gate, "DOUBT_SECONDS", ())


@pytest.mark.usefixtures("looks_only_when_told")
async def test_an_idle_worker_is_woken_by_a_commit(database: Database) -> None:
    shop = Shop("a")
    shop.go.set()
    async with running(database, shop.service, **LONG) as worker, ears(database) as heard:
        await idle(worker)
        insert = "insert into perdure.tasks (name) values ('a')"
        assert await started_within(worker, shop, lambda: worker.ask(insert)) < SOON
        assert await heard.hear(seconds=5)
        enqueue = "select perdure.enqueue('a')"
        assert await started_within(worker, shop, lambda: worker.ask(enqueue)) < SOON


async def test_the_gate_is_open_until_the_next_look_however_late_that_is(
    database: Database,
) -> None:
    shop = Shop("a")
    async with running(database, shop.service, **LONG) as worker:
        await idle(worker)
        left = "select extract(epoch from awaited - clock_timestamp()) from perdure.queues"
        assert database.value(left) > 30 * 1.25


async def test_nobody_is_notified_of_tasks_while_every_slot_is_taken(database: Database) -> None:
    shop = Shop("a")
    database.execute("insert into perdure.tasks (name) values ('a')")
    async with running(database, shop.service, **ONE_SLOT) as worker, ears(database) as heard:
        async with asyncio.timeout(20):
            await shop.began.wait()
        await worker.until(lambda: worker.worker._enqueuer.listening)
        for _ in range(20):
            await worker.enqueue("a")
        assert not database.rows(AWAITED)
        assert await heard.hear(seconds=0.2) == []
        shop.go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 21)
    database.check_drained()


async def test_the_first_commit_of_many_notifies_and_then_nobody_does(database: Database) -> None:
    shop = Shop("a")
    async with running(database, shop.service, **ONE_SLOT) as worker, ears(database) as heard:
        await idle(worker)
        await worker.enqueue("a")
        assert await heard.hear(seconds=5)
        await worker.until(lambda: not database.rows(AWAITED))
        for _ in range(20):
            await worker.enqueue("a")
        assert await heard.hear(seconds=0.2) == []
        shop.go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 21)
        await idle(worker)
    database.check_drained()


async def test_what_comes_while_the_gate_is_opened_closes_it_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real = Shop("a"), Gate.open

    async def opened(*arguments: Any) -> bool:
        answer = await real(*arguments)
        monkeypatch.setattr(Gate, "open", real)
        database.execute("insert into perdure.tasks (name) values ('a')")
        return answer

    monkeypatch.setattr(Gate, "open", opened)
    async with running(database, shop.service, **ONE_SLOT) as worker:
        async with asyncio.timeout(PATIENCE):
            await shop.began.wait()
        # The one slot is taken: nobody waits for work.
        await worker.until(lambda: not database.rows(AWAITED))
        shop.go.set()
        await worker.ended(1)
    database.check_drained()


async def test_who_may_not_claim_any_more_closes_the_gate(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database, Shop("a").service, **LONG) as worker:
        await idle(worker)
        await worker.pause("default")
        await worker.until(lambda: not database.rows(AWAITED))
        await worker.ask("select perdure.resume_queue('default')")
        worker.worker.beat_now()
        await idle(worker)
        monkeypatch.setattr(worker.worker._enqueuer, "_room", lambda *_: 0)
        worker.worker._enqueuer.loop.wake()
        await worker.until(lambda: not database.rows(AWAITED))


async def test_who_found_the_gate_closed_and_commits_later_is_not_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Later than the real ones: so long this test may take from the opening to the commit.
    monkeypatch.setattr(gate, "DOUBT_SECONDS", (0.02, 0.2, 8.0))
    shop = Shop("a")
    shop.go.set()
    async with running(database, shop.service, **LONG) as worker, stepped(database) as producer:
        await idle(worker)
        database.execute("update perdure.queues set awaited = null")
        await producer.run("begin")
        await producer.run("insert into perdure.tasks (name) values ('a')")
        worker.worker._enqueuer.woken()
        await idle(worker)
        await producer.run("commit")
        async with asyncio.timeout(20):
            await shop.began.wait()
        await worker.ended(1)
    database.check_drained()


async def test_a_worker_that_leaves_closes_what_it_has_opened_and_nothing_else(
    database: Database,
) -> None:
    shop = Shop("a")
    async with running(database, shop.service, **LONG) as worker:
        await idle(worker)
    assert not database.rows(AWAITED)
    async with running(database, shop.service, **LONG) as worker:
        await idle(worker)
        later = "update perdure.queues set awaited = awaited + interval '1 second'"
        database.execute(later)
    assert database.rows(AWAITED)


async def test_without_wake_ups_tasks_are_found_by_looking(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueuer, "IDLE_SECONDS", 60.0)  # that is for who hears them
    shop = Shop("a")
    shop.go.set()
    async with (
        running(database, shop.service, scheduling__wakeups="off") as worker,
        ears(database) as heard,
    ):
        await worker.until(lambda: worker.worker._enqueuer.sweeps)
        insert = "insert into perdure.tasks (name) values ('a')"
        assert await started_within(worker, shop, lambda: worker.ask(insert)) < SOON
        assert not database.rows(AWAITED)
        assert await heard.hear() == []


async def test_a_due_time_is_kept_without_waiting_for_a_beat(database: Database) -> None:
    shop = Shop("a")
    shop.go.set()
    async with running(database, shop.service, **LONG) as worker:
        first = await worker.enqueue("a", delay="1 second")
        task = await worker.ended(first)
        assert 0 <= (task["started_at"] - task["run_at"]).total_seconds() < SOON
        second = await worker.enqueue("a", delay="0.5 seconds")
        worker.worker.beat_now()
        task = await worker.ended(second)
        assert 0 <= (task["started_at"] - task["run_at"]).total_seconds() < SOON


@pytest.mark.usefixtures("looks_only_when_told")
async def test_a_task_of_a_queue_that_was_never_used_is_found_soon(database: Database) -> None:
    shop = Shop("a")
    shop.go.set()
    async with running(database, shop.service, **LONG) as worker:
        await idle(worker)
        insert = "insert into perdure.tasks (name, queue) values ('a', 'new')"
        assert await started_within(worker, shop, lambda: worker.ask(insert)) < SOON
        assert (await worker.ended(1))["queue"] == "new"
        await worker.until(lambda: database.rows(f"{AWAITED} and name = 'new'"))
        assert await started_within(worker, shop, lambda: worker.ask(insert)) < SOON
        await worker.ended(2)
    database.check_drained()


async def test_what_was_enqueued_before_its_name_was_known_runs_by_the_definition(
    database: Database,
) -> None:
    order: list[str] = []
    builder = TaskService.builder()

    async def handle(context: TaskContext[dict[str, Any], None]) -> None:
        order.append(context.name)

    for name, priority in (("third", 9), ("second", 5), ("first", 0)):
        builder.task(name, queue="own", priority=priority)(handle)
        database.execute("insert into perdure.tasks (name) values (%s)", [name])
    database.execute("insert into perdure.tasks (name) values ('unknown')")
    assert database.rows("select distinct lane from perdure.ready") == [(0,)]
    async with running(database, builder.build(), execution__concurrency=1) as worker:
        await worker.until(lambda: len(order) == 3)
        assert order == ["first", "second", "third"]
        rows = [await worker.ended(task_id) for task_id in (1, 2, 3)]
        assert [(row["queue"], row["priority"]) for row in rows] == [
            ("own", 9), ("own", 5), ("own", 0),
        ]  # fmt: skip
        assert (await worker.task(4))["state"] == "pending"


async def test_a_bounded_queue_has_no_more_slots_and_others_have_none_at_all(
    database: Database,
) -> None:
    shop = Shop("a")
    put = "insert into perdure.tasks (name, queue) select 'a', %s from generate_series(1, 5)"
    for name in ("bounded", "free", "foreign"):
        database.execute(put, [name])
    options = Options(queues={"bounded": 2, "free": None})
    async with running(database, shop.service, options=options) as worker:
        await worker.until(lambda: shop.running == 7)
        held = "select unnest(task_ids) from perdure.leases order by 1"
        assert [task for (task,) in database.rows(held)] == [1, 2, *range(6, 11)]
        shop.go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 10)
        assert shop.most == 7
    left = database.rows(
        "select distinct l.queue from perdure.ready r join perdure.lanes l on l.id = r.lane"
    )
    assert left == [("foreign",)]


@pytest.mark.parametrize("prefetch", ["0", "auto"])
async def test_the_more_urgent_start_first(database: Database, prefetch: str) -> None:
    order: list[int] = []
    builder = TaskService.builder()

    @builder.task("a")
    async def handle(context: TaskContext[dict[str, int], None]) -> None:
        order.append(context.metadata["priority"])

    database.execute(
        "insert into perdure.tasks (name, priority, metadata)"
        " select 'a', 9 - i % 10, jsonb_build_object('priority', 9 - i % 10)"
        " from generate_series(0, 29) as i"
    )
    settings: dict[str, Any] = ONE_SLOT | {"execution__prefetch": prefetch}
    settings["scheduling__oldest_first_every"] = 0
    async with running(database, builder.build(), **settings) as worker:
        await worker.until(lambda: len(order) == 30)
    assert order == sorted(order)
    database.check_drained()
