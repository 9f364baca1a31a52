"""The whole runtime behind a PgBouncer in transaction mode, where no session state survives."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.pgbouncer import PgBouncer, pooling
from tests.kit.databases import Database, Server
from tests.kit.fleet import CALM, PATIENCE, Fleet, Process, stopped, until
from tests.kit.proxy import Hold, proxied
from tests.kit.relay import ended, enqueue
from tests.kit.running import Running, running
from tests.kit.whole import PAGES, service

SESSIONS = 4
"""Sessions of the server that all connections of all workers share."""
OFF: dict[str, Any] = {"scheduling__wakeups": "off"}


@pytest.fixture
def pooler(server: Server) -> Iterator[PgBouncer]:
    """A pooler with so few sessions that every one of them is passed on all the time."""
    with pooling(server, {"default_pool_size": str(SESSIONS)}) as pooler:
        yield pooler


@pytest.fixture
def behind(pooler: PgBouncer, database: Database) -> Iterator[Database]:
    """The test's database, by way of the pooler; sessions get a default that is not ours."""
    database.execute("create table pages (task_id bigint, page int)")
    database.execute(
        f"alter database {database.name} set default_transaction_isolation = 'serializable'"
    )
    by_way = Database(pooler, database.name)
    yield by_way
    check_no_session_state(pooler.dsn(database.name), database)
    by_way.close()


@pytest.fixture
def fleet(behind: Database, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(behind, "tests.kit.whole:service", tmp_path) as fleet:
        yield fleet


def check_no_session_state(dsn: str, database: Database) -> None:
    """Nothing of ours is left in the shared sessions: all are held at once, and each is asked."""
    question = (
        "select pg_backend_pid(), (select count(*) from pg_listening_channels()),"
        " (select count(*) from pg_prepared_statements where not from_sql),"
        " (select count(*) from pg_settings where source = 'session'"
        "   and name not in ('client_encoding', 'DateStyle', 'TimeZone', 'application_name',"
        "     'standard_conforming_strings'))"
    )
    with ExitStack() as stack:
        answers = []
        for _ in range(SESSIONS):
            connection = stack.enter_context(psycopg.connect(dsn, prepare_threshold=None))
            answers.append(connection.execute(question).fetchone())
    assert len({answer[0] for answer in answers if answer}) == SESSIONS
    assert {answer[1:] for answer in answers if answer} == {(0, 0, 0)}
    assert not database.rows("select from pg_locks where locktype = 'advisory'")


def task(database: Database, task_id: int, *columns: str) -> tuple[Any, ...]:
    text = f"select {', '.join(columns)} from perdure.task(%s)"
    return tuple(database.rows(text, [task_id])[0])


def stop(worker: Process) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_worker_process_carries_every_kind_of_run(database: Database, fleet: Fleet) -> None:
    worker = fleet.start(**OFF, **CALM)
    shorts = enqueue(database, "short", 200, n=7)
    (paged,) = enqueue(database, "pages")
    (failing,) = enqueue(database, "fails", n=2)
    (hopeless,) = enqueue(database, "fails", n=99)
    (suspended,) = enqueue(database, "suspends", n=1)
    (endless,) = enqueue(database, "endless")
    until(lambda: task(database, suspended, "state") == ("suspended",))
    until(lambda: task(database, endless, "state") == ("running",))
    signal_ = "select perdure.proceed_waiting('token:1', patch => '{\"token\": \"t\"}')"
    assert database.value(signal_) == "proceeded"
    assert database.value("select perdure.cancel(%s)", [endless]) == "requested"
    until(lambda: ended(database, 205))
    results = "select distinct result from perdure.outcomes where task_id = any (%s)"
    assert database.rows(results, [shorts]) == [(7,)]
    assert task(database, paged, "state", "attempt", "result") == ("completed", 1, PAGES)
    assert database.rows("select page from pages order by page") == [(n,) for n in range(PAGES)]
    assert task(database, failing, "state", "attempt", "failures") == ("completed", 3, 2)
    assert task(database, hopeless, "state", "failures") == ("failed", 4)
    assert task(database, suspended, "state", "reason", "result") == ("completed", None, "t")
    assert task(database, endless, "state") == ("cancelled",)
    stop(worker)
    assert not database.rows("select from perdure.workers")
    database.check_drained()


def test_sigterm_hands_a_task_over_and_sigkill_does_not_lose_it(
    database: Database, fleet: Fleet
) -> None:
    first = fleet.start(**OFF, **CALM)
    (paged,) = enqueue(database, "pages", n=400)
    until(lambda: len(fleet.ledger.records("page", paged)) >= 2)
    stop(first)
    assert task(database, paged, "state", "interruptions") == ("pending", 1)
    stored = len(fleet.ledger.records("page", paged))
    second = fleet.start(**OFF)
    until(lambda: len(fleet.ledger.records("page", paged)) >= stored + 2)
    second.kill()
    third = fleet.start(**OFF, **CALM)
    until(lambda: ended(database, 1))
    assert task(database, paged, "state", "interruptions", "failures", "result") == (
        "completed", 1, 0, PAGES,
    )  # fmt: skip
    assert database.rows("select page from pages order by page") == [(n,) for n in range(PAGES)]
    starts = [record["page"] for record in fleet.ledger.records("start", paged)]
    assert len(starts) == 3
    assert starts == sorted(set(starts))
    stop(third)
    database.check_drained()


def test_a_worker_frozen_before_the_commit_of_its_beat_keeps_no_task_from_others(
    database: Database, behind: Database, fleet: Fleet
) -> None:
    reply = Hold()
    with proxied(behind.dsn) as proxy:
        first = fleet.start(dsn=proxy.dsn, **OFF)
        (paged,) = enqueue(database, "pages", n=100)
        until(lambda: len(fleet.ledger.records("page", paged)) >= 2)
        proxy.cut(b'"perdure".beat(', then=reply)
        assert reply.reached.wait(PATIENCE)
        with stopped(first):
            fleet.start(**OFF)
            until(lambda: ended(database, 1))
            reply.over.set()
        stop(first)


@pytest.fixture
async def inside(
    behind: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.setenv("PERDURE_TEST_LEDGER", str(tmp_path / "ledger.jsonl"))
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(running(behind, service, **OFF))


async def test_a_worker_in_a_program_does_the_same(database: Database, inside: Running) -> None:
    paged = await inside.enqueue("pages")
    failing = await inside.enqueue("fails", '{"n": 2}')
    suspended = await inside.enqueue("suspends", '{"n": 1}')
    endless = await inside.enqueue("endless")
    await inside.state(suspended, "suspended")
    await inside.state(endless, "running")
    assert (await inside.ask("select perdure.cancel(%s::bigint)", endless))[0]["cancel"]
    await inside.ask('select perdure.proceed(%s::bigint, patch => \'{"token": "t"}\')', suspended)
    assert (await inside.ended(suspended))["result"] == "t"
    assert (await inside.ended(endless))["state"] == "cancelled"
    assert (await inside.ended(failing))["failures"] == 2
    assert (await inside.ended(paged))["result"] == PAGES
    database.check_drained()
