"""What a worker holds: found again after a fault, not started when lost, not fetched in vain."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.gate import lose
from tests.kit.running import Running, cut_off, running
from tests.kit.stepping import waits_for_a_lock

from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.store import queue, workers
from perdure.store.database import Session

SHORT_LEASE: dict[str, Any] = {"execution__lease_duration": "2s"}
ONE_SLOT: dict[str, Any] = {"execution__concurrency": 1, "execution__prefetch": "4"}


class Shop:
    """Tasks that wait to be let go; who asked them to stop is kept."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.reasons: list[str | None] = []
        self.go = asyncio.Event()
        builder = TaskService.builder()
        builder.task("wait")(self.run)
        self.service: TaskService = builder.build()

    async def run(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.starts.append(context.task_id)
        try:
            await self.go.wait()
        finally:
            self.reasons.append(context.stop.reason)


def enqueue(database: Database, count: int) -> None:
    """So many tasks that wait."""
    database.execute(
        "insert into perdure.tasks (name) select 'wait' from generate_series(1, %s::int)", [count]
    )


async def ended(worker: Running, count: int) -> None:
    """Wait until so many tasks have ended."""
    await worker.until(
        lambda: worker.database.value("select count(*) from perdure.outcomes") == count
    )


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the beats were sent."""
    real, sent = workers.beat, list[float]()

    def beat(*arguments: Any, **options: Any) -> Any:
        sent.append(time.monotonic())
        return real(*arguments, **options)

    monkeypatch.setattr(workers, "beat", beat)
    return sent


async def test_what_a_claim_took_before_it_failed_is_found_without_a_lost_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real, faults = Shop(), Session.run, [psycopg.errors.QueryCanceled("too slow")]
    shop.go.set()

    async def run(self: Session, name: str, params: Any) -> Any:
        if name == "read_metadata" and faults:
            raise faults.pop()
        return await real(self, name, params)

    monkeypatch.setattr(Session, "run", run)
    database.execute(
        "insert into perdure.tasks (name, metadata)"
        " values ('wait', jsonb_build_object('text', repeat('x', 5000)))"
    )
    async with running(database, shop.service) as worker:
        await ended(worker, 1)
    assert not faults
    database.check_drained()


async def test_an_old_session_whose_number_is_somebody_elses_now_hides_no_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real = Shop(), queue.claim
    shop.go.set()

    async def claim(session: Any, *arguments: Any) -> Any:
        claimed = await real(session, *arguments)
        if claimed:
            monkeypatch.setattr(queue, "claim", real)
            await session.close()
            session.backend_pid = database.value("select pg_backend_pid()")
            raise psycopg.OperationalError("lost")
        return claimed

    monkeypatch.setattr(queue, "claim", claim)
    enqueue(database, 1)
    async with running(database, shop.service) as worker:
        await ended(worker, 1)
    database.check_drained()


async def test_a_lane_made_while_the_lanes_are_read_is_not_missed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real = Shop(), workers.lanes
    shop.go.set()

    async with running(database, shop.service) as worker:
        enqueuer = worker.worker._enqueuer
        await worker.until(lambda: enqueuer.sweeps)
        before = enqueuer.lanes._wanted

        async def lanes(session: Any, names: Any) -> Any:
            monkeypatch.setattr(workers, "lanes", real)
            found = await real(session, names)
            await worker.until(lambda: enqueuer.lanes._wanted > before)
            return found

        monkeypatch.setattr(workers, "lanes", lanes)
        enqueuer.lanes_changed(-5)
        database.execute("insert into perdure.tasks (name, queue) values ('wait', 'second')")
        await ended(worker, 1)
    database.check_drained()


@pytest.mark.usefixtures("stays_prefetched")
async def test_what_waits_here_of_a_lost_lease_is_not_started(database: Database) -> None:
    shop = Shop()
    enqueue(database, 4)
    async with running(database, shop.service, **ONE_SLOT) as worker:
        await worker.until(lambda: len(worker.worker._enqueuer.buffer) == 3)
        database.execute(
            "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
            " values (1, 'other', 'h', 1, '0', 3600)"
        )
        database.execute("update perdure.leases set id = gen_random_uuid(), worker_id = 1")
        await worker.until(lambda: worker.worker.held == 0)
        assert shop.starts == [1]
        assert shop.reasons == ["lease_lost"]
        shop.go.set()
        database.execute("update perdure.workers set lease_seconds = 0 where id = 1")
        await ended(worker, 4)
    database.check_drained()


@pytest.mark.alone
@pytest.mark.usefixtures("stays_prefetched")
async def test_a_beat_that_hangs_lets_the_lease_end_on_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop()
    enqueue(database, 4)

    async def away(*_: Any) -> Any:
        raise psycopg.OperationalError("lost")

    async with running(database, shop.service, **ONE_SLOT, **SHORT_LEASE) as worker:
        await worker.until(lambda: len(worker.worker._enqueuer.buffer) == 3)
        monkeypatch.setattr(queue, "hand_back", away)
        with psycopg.connect(database.dsn) as other:
            other.execute("select from perdure.workers for update")
            began = time.monotonic()
            await worker.until(lambda: shop.reasons, 5)
            assert time.monotonic() - began < 4
            assert shop.reasons == ["lease_lost"]
            assert shop.starts == [1]
            monkeypatch.undo()
        shop.go.set()
        await ended(worker, 4)
    database.check_drained()


async def test_the_end_of_the_lease_is_noticed_whatever_else_cannot_be_looked_at(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop = Shop()
    enqueue(database, 1)

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    options = Options(health_file=tmp_path / "health")
    async with running(database, shop.service, options=options, **SHORT_LEASE) as worker:
        await worker.until(lambda: shop.starts)
        monkeypatch.setattr(os, "utime", full)
        with psycopg.connect(database.dsn) as other:
            other.execute("select from perdure.workers for update")
            await worker.until(lambda: shop.reasons, 5)
            assert shop.reasons == ["lease_lost"]
        shop.go.set()
        await ended(worker, 1)
    database.check_drained()


async def test_a_due_task_that_somebody_has_locked_does_not_make_the_beat_race(
    database: Database, beats: list[float]
) -> None:
    shop = Shop()
    shop.go.set()
    async with running(database, shop.service) as worker:
        with psycopg.connect(database.dsn) as other:
            task = await worker.enqueue("wait", delay="1 hour")
            # It lets its time be moved, and is held for everybody who would take it.
            assert other.execute("select from perdure.waiting for key share").rowcount == 1
            await worker.past(task)
            beats.clear()
            await worker.until(lambda: len(beats) > 8)
            assert beats[8] - beats[0] > 0.5
        await ended(worker, 1)
    database.check_drained()


async def test_a_process_with_many_open_files_still_beats(
    database: Database, beats: list[float]
) -> None:
    shop = Shop()
    shop.go.set()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        async with running(database, shop.service) as worker:
            await worker.until(lambda: len(beats) > 3, 5)
            enqueue(database, 1)
            await ended(worker, 1)
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    database.check_drained()


async def test_a_queue_that_is_paused_and_resumed_at_once_leaves_nothing_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, claim, hand_back = Shop(), queue.claim, queue.hand_back
    shop.go.set()
    enqueue(database, 3)
    async with running(database, shop.service, scheduling__polling_delay="30s") as worker:
        enqueuer = worker.worker._enqueuer

        async def claimed_late(*arguments: Any) -> Any:
            monkeypatch.setattr(queue, "claim", claim)
            claimed = await claim(*arguments)
            enqueuer.pause({"*": False})
            return claimed

        async def not_handed_back(*_: Any) -> Any:
            monkeypatch.setattr(queue, "hand_back", hand_back)
            asyncio.get_running_loop().call_soon(enqueuer.pause, {})
            raise psycopg.OperationalError("lost")

        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 3)
        monkeypatch.setattr(queue, "claim", claimed_late)
        monkeypatch.setattr(queue, "hand_back", not_handed_back)
        enqueue(database, 3)
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 6, 5)
    database.check_drained()


@pytest.mark.usefixtures("stays_prefetched")
async def test_what_was_handed_back_unheard_is_not_started_here(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real, lost = Shop(), queue.hand_back, asyncio.Event()

    async def handed_back_unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(queue, "hand_back", real)
        await real(*arguments)
        lost.set()
        raise psycopg.OperationalError("lost")

    enqueue(database, 4)
    async with running(database, shop.service, **ONE_SLOT) as worker:
        enqueuer = worker.worker._enqueuer
        await worker.until(lambda: len(enqueuer.buffer) == 3)
        monkeypatch.setattr(queue, "hand_back", handed_back_unheard)
        enqueuer.pause({"*": False})
        await lost.wait()
        enqueuer.pause({})
        shop.go.set()
        await ended(worker, 4)
        await worker.until(lambda: worker.worker.held == 0)
    assert sorted(shop.starts) == [1, 2, 3, 4]
    database.check_drained()


async def test_what_no_slot_has_taken_is_not_fetched_again_until_one_is_free(
    database: Database, monkeypatch: pytest.MonkeyPatch, beats: list[float]
) -> None:
    shop, real, claims = Shop(), queue.claim, list[int]()

    async def claim(*arguments: Any) -> Any:
        claimed = await real(*arguments)
        claims.append(len(claimed))
        return claimed

    monkeypatch.setattr(queue, "claim", claim)
    enqueue(database, 5)
    async with running(database, shop.service, **ONE_SLOT) as worker:
        await worker.until(lambda: shop.starts)
        await worker.until(lambda: len(beats) > 8)
        assert sum(claims) <= 6
        shop.go.set()
        await ended(worker, 5)
    database.check_drained()


async def test_a_stop_reaches_a_run_whose_start_is_being_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real, saving, stopping = Shop(), queue.save, asyncio.Event(), asyncio.Event()

    async def save(*arguments: Any) -> Any:
        saving.set()
        await stopping.wait()
        return await real(*arguments)

    monkeypatch.setattr(queue, "save", save)
    enqueue(database, 1)
    lose(database, 1)
    async with running(database, shop.service) as worker:
        await saving.wait()
        stop = asyncio.create_task(worker.worker.stop())
        asyncio.get_running_loop().call_later(0.1, stopping.set)
        assert await stop == 0
    assert database.value("select state from perdure.task(1)") == "pending"


async def test_a_lease_is_counted_from_the_sending_of_its_beat(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, real, sent, ends = Shop(), workers.beat, list[float](), list[float]()

    def beat(*arguments: Any, **options: Any) -> Any:
        if sent:
            ends.append(worker.worker._beat.good_until - sent[-1])
        sent.append(time.monotonic())
        heard = real(*arguments, **options)
        time.sleep(0.1)  # the answer comes late
        return heard

    async with running(database, shop.service, execution__lease_duration="2s") as worker:
        monkeypatch.setattr(workers, "beat", beat)
        await worker.until(lambda: len(ends) > 1)
    assert max(ends) <= 2


async def test_a_claim_that_was_cut_off_cannot_commit_behind_the_next_one(
    database: Database,
) -> None:
    shop = Shop()
    shop.go.set()
    database.execute(
        """
        create function hold() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
        create trigger hold after insert on perdure.leases for each row execute function hold()
        """
    )
    async with running(database, shop.service) as worker:
        enqueuer = worker.worker._enqueuer
        await worker.until(lambda: enqueuer.sweeps)
        database.value("select pg_advisory_lock(1)")
        enqueue(database, 1)
        await waits_for_a_lock(database, "advisory")
        old = enqueuer._session
        assert old is not None
        cut_off(old)
        await worker.until(
            lambda: enqueuer._session is not old and not worker.worker._holdings.doubts
        )
        database.value("select pg_advisory_unlock(1)")
        await ended(worker, 1)
    database.check_drained()
