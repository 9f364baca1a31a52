"""Who was asked for a lease and has not answered: what it did, or may do yet, keeps no task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, cut_off, running
from tests.kit.stepping import stepped, waits_for_a_lock

from perdure.declare.context import TaskContext
from perdure.errors import DatabaseUnavailable, LeaseLost
from perdure.run.holdings import Holdings
from perdure.run.port import SEPARATE_TRIES
from perdure.service import TaskService
from perdure.store import database as store
from perdure.store import queue
from perdure.store.database import REPLY_MARGIN_SECONDS, Session

LONG: dict[str, Any] = {"execution__lease_duration": "30s", "scheduling__polling_delay": "100ms"}


class Pair:
    """Two tasks of one claim: the first asks for a lease of its own, the other waits to be let go.

    `ready` is set when both run; the first then waits for `ask`.
    """

    def __init__(self, write: Callable[[TaskContext[dict[str, Any], None]], Any]) -> None:
        self.starts: list[int] = []
        self.raised: list[BaseException] = []
        self.reasons: list[str | None] = []
        self.ready, self.ask, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._write = write
        builder = TaskService.builder()
        builder.task("pair")(self.run)
        self.service: TaskService = builder.build()

    async def run(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.starts.append(context.task_id)
        if len(self.starts) == 2:
            self.ready.set()
        if context.task_id != self.starts[0]:
            await self.go.wait()
        elif self.starts.count(context.task_id) == 1:
            await self.ask.wait()
            try:
                await self._write(context)
            except BaseException as error:
                self.raised.append(error)
                raise
            finally:
                self.reasons.append(context.stop.reason)

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[Running]:
        """A worker that runs both."""
        database.execute(
            "insert into perdure.tasks (name) select 'pair' from generate_series(1, 2)"
        )
        async with running(database, self.service, **LONG) as worker:
            await self.ready.wait()
            assert database.value("select count(*) from perdure.leases") == 1
            yield worker

    async def end(self, worker: Running, tasks: int = 2) -> None:
        """Let all end."""
        self.go.set()
        count = "select count(*) from perdure.outcomes where state = 'completed'"
        await worker.until(lambda: worker.database.value(count) == tasks)


async def in_transaction(context: TaskContext[dict[str, Any], None]) -> None:
    """Ask for a lease of one's own, and make nothing of it where that fails."""
    with suppress(DatabaseUnavailable):
        async with context.transaction():
            pass


async def turns(worker: Running, count: int = 2) -> None:
    """Let the enqueuer have whole turns."""
    loop = worker.worker._enqueuer.loop
    for _ in range(count):
        turned = loop.turned_at
        while loop.turned_at == turned:
            loop.wake()
            await asyncio.sleep(0.001)


@pytest.fixture
def doubted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sessions that were doubted."""
    pids: list[int] = []
    real = Holdings.doubt

    def doubt(self: Holdings, backend_pid: int, since: float) -> None:
        pids.append(backend_pid)
        real(self, backend_pid, since)

    monkeypatch.setattr(Holdings, "doubt", doubt)
    return pids


async def test_a_lease_that_came_unheard_while_it_is_still_asked_for_keeps_no_task(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, real = Pair(in_transaction), queue.separate

    async def unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(queue, "separate", real)
        monkeypatch.setattr(store.Database, "connection", in_use)
        await real(*arguments)
        raise psycopg.OperationalError("lost")

    @asynccontextmanager
    async def in_use(_: store.Database) -> AsyncIterator[Any]:
        await turns(worker)
        raise DatabaseUnavailable("no connection of the pool became free")
        yield

    async with pair.running(database) as worker:
        monkeypatch.setattr(queue, "separate", unheard)
        pair.ask.set()
        await worker.until(lambda: pair.reasons)
        monkeypatch.undo()
        await pair.end(worker)
    database.check_drained()


async def test_a_lease_that_was_asked_for_on_a_lost_connection_does_not_come_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, real, asked = Pair(in_transaction), queue.separate, list[Session]()

    async def cut(session: Session, *arguments: Any) -> Any:
        asked.append(session)
        answer = asyncio.ensure_future(real(session, *arguments))
        await waits_for_a_lock(database, sessions=len(asked))
        cut_off(session)
        return await answer

    async with pair.running(database) as worker:
        async with stepped(database) as other:
            await other.run("begin")
            await other.run("select from perdure.leases for no key update")
            monkeypatch.setattr(queue, "separate", cut)
            pair.ask.set()
            await worker.until(lambda: pair.reasons)
            monkeypatch.undo()
            await worker.until(lambda: not worker.worker._holdings.doubts)
            alive = "select from pg_stat_activity where pid = any (%s)"
            assert not database.rows(alive, [[session.backend_pid for session in asked]])
        await pair.end(worker)
    assert len(asked) == 3
    database.check_drained()


async def test_leases_are_not_compared_before_the_old_session_has_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, real = Pair(in_transaction), queue.claim
    database.execute(
        "alter function perdure.end_session rename to real_end_session;"
        " create sequence public.asked;"
        " create function perdure.end_session(session_pid integer) returns boolean"
        "   language sql as 'select nextval(''public.asked'') < 0'"
    )

    async def unheard(session: Session, *arguments: Any) -> Any:
        claimed = await real(session, *arguments)
        if claimed:
            monkeypatch.setattr(queue, "claim", real)
            await session.close()
            raise psycopg.OperationalError("lost")
        return claimed

    async with pair.running(database) as worker:
        monkeypatch.setattr(queue, "claim", unheard)
        third = await worker.enqueue("pair")
        asked = "select last_value from public.asked"
        await worker.until(lambda: database.value(asked) > 1)
        assert worker.worker._holdings.doubts
        assert await worker.state(third, "running")
        database.execute(
            "drop function perdure.end_session;"
            " alter function perdure.real_end_session rename to end_session"
        )
        pair.ask.set()
        pair.go.set()
        await pair.end(worker, 3)
    database.check_drained()


@pytest.mark.parametrize("times", [0, 1])
async def test_who_has_answered_is_not_doubted(
    database: Database, monkeypatch: pytest.MonkeyPatch, doubted: list[int], times: int
) -> None:
    pair, real, faults = Pair(in_transaction), queue.separate, times

    async def unheard(*arguments: Any) -> Any:
        nonlocal faults
        if faults:
            faults -= 1
            raise psycopg.OperationalError("lost")
        return await real(*arguments)

    async with pair.running(database) as worker:
        if not times:
            database.execute("update perdure.leases set task_ids = array_remove(task_ids, 1)")
            database.execute("select perdure.place(array[1]::bigint[])")
        monkeypatch.setattr(queue, "separate", unheard)
        pair.ask.set()
        await worker.until(lambda: pair.reasons)
        await pair.end(worker)
    assert doubted == []
    assert [type(error) for error in pair.raised] == ([] if times else [LeaseLost])
    database.check_drained()


async def test_claims_go_on_while_a_pooler_may_yet_bring_a_lost_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, real = Pair(in_transaction), queue.claim

    async def unheard(session: Session, *arguments: Any) -> Any:
        claimed = await real(session, *arguments)
        if claimed:
            monkeypatch.setattr(queue, "claim", real)
            await session.close()
            raise psycopg.OperationalError("lost")
        return claimed

    async with pair.running(database) as worker:
        # All that is known of a pooler: its sessions cannot be named, a time has to do.
        worker.worker._database.pooled = True
        worker.worker._database.statement_seconds = 30.0 - REPLY_MARGIN_SECONDS
        monkeypatch.setattr(queue, "claim", unheard)
        lost = await worker.enqueue("pair")
        await worker.until(lambda: worker.worker._holdings.doubts)
        pair.ask.set()
        pair.go.set()
        await worker.ended(await worker.enqueue("pair"))
        assert lost not in pair.starts
        worker.worker._database.statement_seconds = 2.0 - REPLY_MARGIN_SECONDS
        await worker.ended(lost)
        await pair.end(worker, 4)
    database.check_drained()


async def test_who_asks_once_more_after_a_fault_asks_for_the_same_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = queue.separate, list[Any]()

    async def twice(context: TaskContext[dict[str, Any], None]) -> None:
        await in_transaction(context)
        await in_transaction(context)

    async def unsent(*arguments: Any) -> Any:
        asked.append(arguments[-1])
        if len(asked) > SEPARATE_TRIES:
            return await real(*arguments)
        raise psycopg.OperationalError("lost")

    pair = Pair(twice)
    monkeypatch.setattr(queue, "separate", unsent)
    async with pair.running(database) as worker:
        pair.ask.set()
        await pair.end(worker)
    assert len(asked) == SEPARATE_TRIES + 1
    assert len({*asked}) == 1
    database.check_drained()


async def test_a_run_is_asked_to_stop_although_its_task_went_back_unheard(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    separate, hand_back = queue.separate, queue.hand_back

    async def for_ever(context: TaskContext[dict[str, Any], None]) -> None:
        await in_transaction(context)
        await asyncio.Event().wait()

    async def unheard(*arguments: Any) -> Any:
        await separate(*arguments)
        raise psycopg.OperationalError("lost")

    async def handed_back_unheard(*arguments: Any) -> Any:
        monkeypatch.setattr(queue, "hand_back", hand_back)
        await hand_back(*arguments)
        raise psycopg.OperationalError("lost")

    pair = Pair(for_ever)
    async with pair.running(database) as worker:
        monkeypatch.setattr(queue, "separate", unheard)
        monkeypatch.setattr(queue, "hand_back", handed_back_unheard)
        pair.ask.set()
        await worker.until(lambda: pair.reasons)
        await pair.end(worker)
    assert pair.reasons == ["lease_lost"]
    database.check_drained()


def test_a_session_that_was_asked_again_meanwhile_is_still_doubted() -> None:
    holdings = Holdings()
    holdings.doubt(1, 1.0)
    holdings.doubt(2, 1.0)
    known = dict(holdings.doubts)
    holdings.doubt(1, 2.0)
    holdings.resolved(known)
    assert holdings.doubts == {1: 2.0}
