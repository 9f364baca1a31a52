"""A worker's start and stop: cut short, twice, at odd moments, and while nobody answers."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.kit.commands import Commands
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE, QUICK, until
from tests.kit.proxy import Proxy, proxied
from tests.kit.running import running
from tests.kit.stepping import waits_for_a_lock

from perdure.declare.context import TaskContext
from perdure.run.events import WorkerStopped
from perdure.run.options import Options
from perdure.service import TaskService

WORKER = ("worker", "-A", "tests.kit.whole:service")
GRACE = 3.0
"""The shutdown grace of quick times, in seconds."""


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with proxied(database.dsn) as made:
        yield made


class Held:
    """A task that runs until it is let go or stopped."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped: list[Any] = []
        builder = TaskService.builder()
        builder.on("worker.stopped", self.stopped.append)
        builder.task("hold")(self.run)
        builder.task("short")(self.end)
        self.service: TaskService = builder.build()

    async def run(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.began.set()
        await self.go.wait()

    async def end(self, context: TaskContext[dict[str, Any], None]) -> None:
        """End at once."""


def enqueue(database: Database, name: str) -> int:
    return int(database.value("insert into perdure.tasks (name) values (%s) returning id", (name,)))


def beats() -> list[threading.Thread]:
    """The threads of beats in this process."""
    return [thread for thread in threading.enumerate() if thread.name == "perdure beat"]


@pytest.mark.alone
@pytest.mark.parametrize("reached", ["nothing", "registration"])
def test_sigterm_ends_a_worker_that_has_not_started_yet(
    database: Database, proxy: Proxy, tmp_path: Path, reached: str
) -> None:
    with Commands(proxy.dsn, tmp_path) as commands, psycopg.connect(database.dsn) as other:
        if reached == "nothing":
            proxy.swallow(new=True)
        other.execute("lock table perdure.workers")
        worker = commands.start(*WORKER)
        if reached == "nothing":
            until(lambda: proxy.accepted)
        else:
            asyncio.run(waits_for_a_lock(database, "relation"))
        asked = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert time.monotonic() - asked < GRACE
        assert "Traceback" not in worker.said


async def test_a_start_that_is_given_up_leaves_no_beat_and_no_worker_behind(
    database: Database,
) -> None:
    held = Held()

    async def embed() -> None:
        async with running(database, held.service):
            raise AssertionError("it has started")

    with psycopg.connect(database.dsn) as other:
        other.execute("lock table perdure.workers")
        starting = asyncio.create_task(embed())
        await waits_for_a_lock(database, "relation")
        (beat,) = beats()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    await asyncio.to_thread(beat.join, 5)
    assert not beat.is_alive()
    assert not database.rows("select from perdure.workers")


async def test_a_second_stop_waits_for_the_first_and_later_words_mean_nothing(
    database: Database,
) -> None:
    held = Held()
    async with running(database, held.service) as worker:
        await worker.enqueue("hold")
        await held.began.wait()
        assert sum(await asyncio.gather(worker.worker.stop(), worker.worker.stop())) == 0
        assert not database.rows("select from perdure.workers")
        assert not database.rows("select from perdure.leases")
        worker.worker.beat_now()
        worker.worker.reload(worker.service.settings)
    assert [type(event) for event in held.stopped] == [WorkerStopped]
    assert held.stopped[0].held == 0


@pytest.mark.alone
@pytest.mark.parametrize("refuses", [False, True])
def test_a_stop_without_a_database_ends_in_time_and_tells_what_it_could_not_give_back(
    database: Database, proxy: Proxy, tmp_path: Path, refuses: bool
) -> None:
    task = enqueue(database, "endless")
    with Commands(proxy.dsn, tmp_path) as commands:
        worker = commands.start(*WORKER, logging__level="info")
        until(lambda: commands.ledger.records("start", task))
        if refuses:
            proxy.close()
        else:
            proxy.swallow(new=True)
        asked = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert time.monotonic() - asked < GRACE + 2
        stopped = next(line for line in worker.said.splitlines() if "worker.stopped" in line)
        assert '"held": 1' in stopped
        assert "tasks.dropped" in worker.said
    database.execute("update perdure.workers set heartbeat_at = now() - interval '1 hour'")
    database.execute("select perdure.recover()")


@pytest.mark.alone
def test_a_reload_during_a_stop_does_not_hold_it_up(database: Database, tmp_path: Path) -> None:
    task = enqueue(database, "endless")
    with Commands(database.dsn, tmp_path) as commands:
        worker = commands.start(*WORKER, execution__stop_grace="1s", logging__level="info")
        until(lambda: commands.ledger.records("start", task))
        worker.signal(signal.SIGTERM)
        until(lambda: "worker.stopping" in worker.said)
        worker.signal(signal.SIGHUP)
        asked = time.monotonic()
        assert worker.wait(10) == 0
        assert time.monotonic() - asked < GRACE - 0.5
    assert database.value("select count(*) from perdure.ready") == 1


async def test_a_stop_that_has_no_time_left_closes_its_connections_all_the_same(
    database: Database,
) -> None:
    names = "('perdure claim', 'perdure flush')"
    left = f"select from pg_stat_activity where application_name in {names}"
    with psycopg.connect(database.dsn) as other:
        async with running(database, Held().service, execution__shutdown_grace="1s") as worker:
            await worker.ended(await worker.enqueue("short"))
            assert len(database.rows(left)) == 2
            (beat,) = beats()
            # The beat waits for this with its last word, for longer than the stop may take.
            other.execute("lock table perdure.workers")
        await worker.until(lambda: not database.rows(left))
        assert beat.is_alive()
    await asyncio.to_thread(beat.join, PATIENCE)


async def test_a_beat_that_is_never_answered_hangs_up_and_goes_on(
    database: Database, proxy: Proxy
) -> None:
    held = Held()
    alive = (
        "select from perdure.workers where heartbeat_at > clock_timestamp() - interval '1 second'"
    )
    held.service.override({**QUICK, "dsn": proxy.dsn})
    async with held.service.worker() as worker:
        until(lambda: database.rows(alive))
        proxy.swallow(new=False)
        await asyncio.to_thread(until, lambda: not database.rows(alive))
        await asyncio.to_thread(until, lambda: database.rows(alive), 10)
        assert worker.held == 0


async def test_what_runs_in_a_process_that_is_to_be_replaced_may_end_by_itself(
    database: Database,
) -> None:
    held = Held()
    first, second = enqueue(database, "hold"), enqueue(database, "hold")
    options = Options(tasks_most=1)
    async with running(database, held.service, options=options, execution__concurrency=1) as worker:
        await held.began.wait()
        worker.worker.ask_to_stop("recycle")
        stopping = asyncio.create_task(worker.worker.stop())
        await asyncio.wait([stopping], timeout=1)
        held.go.set()
        await stopping
    states = database.rows("select id, state, attempt from perdure.task_states order by id")
    assert states == [(first, "completed", 1), (second, "pending", 0)]


async def test_a_stop_does_not_wait_for_what_runs_in_a_process_that_was_to_be_replaced(
    database: Database,
) -> None:
    held = Held()
    task = enqueue(database, "hold")
    async with running(database, held.service) as worker:
        await held.began.wait()
        worker.worker.ask_to_stop("recycle")
        stopping = asyncio.create_task(worker.worker.stop())
        worker.worker.ask_to_stop("shutdown")
        # Far less than the minute that a recycle may take.
        async with asyncio.timeout(PATIENCE):
            await stopping
    states = database.rows("select state, interruptions from perdure.task(%s::bigint)", (task,))
    assert states == [("pending", 1)]
