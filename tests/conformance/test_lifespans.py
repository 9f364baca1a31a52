"""Lifespans of worker processes, and the singleton that one of them holds."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.kit import spans
from tests.kit.commands import Commands
from tests.kit.databases import Database
from tests.kit.fleet import B1, SLACK, Fleet, Process, until
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.service import TaskService

SERVICE = "tests.kit.spans:service"
SINGLETON = "select id from perdure.tasks where name = 'singleton:holder'"


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    database.execute(
        "create table ticks (id bigint generated always as identity, attempt int, number bigint,"
        " at timestamptz not null default clock_timestamp())"
    )
    with Fleet(database, SERVICE, tmp_path) as fleet:
        yield fleet


@pytest.fixture
def commands(database: Database, tmp_path: Path) -> Iterator[Commands]:
    with Commands(database.dsn, tmp_path) as commands:
        yield commands


def said(commands: Commands | Fleet, *kinds: str) -> list[tuple[str, int]]:
    return [(r["what"], r["task"]) for r in commands.ledger.records() if r["what"] in kinds]


@pytest.mark.conformance("C96")
def test_lifespans_are_entered_before_the_first_handler_and_left_after_the_last(
    database: Database, commands: Commands
) -> None:
    ids = [
        database.value("insert into perdure.tasks (name) values (%s) returning id", (name,))
        for name in ("fail", "use", "stay")
    ]
    worker = commands.start("worker", "-A", SERVICE, "--concurrency", "3", logging__level="error")
    until(lambda: len(commands.ledger.records("start")) == 3)
    # The service has a schedule, too: what it fires ends as well.
    theirs = "from perdure.outcomes where task_id = any (%s)"
    until(lambda: database.value(f"select count(*) {theirs}", (ids,)) == 2)
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    records = said(commands, "enter", "start", "end", "leave")
    assert records[:3] == [("enter", 1), ("enter", 2), ("enter", 3)]
    assert sorted(records[3:6]) == [("start", id_) for id_ in ids]
    assert records[6:] == [("end", ids[2]), ("leave", 3), ("leave", 2), ("leave", 1)]
    value = f"second after first of {worker.pid}"
    assert [r["value"] for r in commands.ledger.records("end")] == [value]
    rows = database.rows(f"select error ->> 'message', result {theirs} order by 1", (ids,))
    assert rows == [(value, None), (None, value)]


@pytest.mark.conformance("C96")
def test_a_setup_that_fails_ends_the_worker_before_it_claims(
    database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(spans.SETUP, "raises")
    database.execute("insert into perdure.tasks (name) values ('use')")
    worker = commands.start("worker", "-A", SERVICE)
    assert worker.wait() == 1
    assert worker.said == (
        "perdure: the lifespan 'third' could not be set up: ConnectionError: no answer\\nfrom the"
        " other side\n"
    )
    assert said(commands, "enter", "start", "leave") == [
        ("enter", 1), ("enter", 2), ("leave", 2), ("leave", 1),
    ]  # fmt: skip
    assert database.value("select count(*) from perdure.workers") == 0
    assert database.value("select count(*) from perdure.ready") == 1


@pytest.mark.conformance("C96")
def test_a_stop_during_a_setup_that_hangs_is_obeyed(
    database: Database, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(spans.SETUP, "hangs")
    worker = fleet.start()
    until(lambda: fleet.ledger.records("hangs"))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert said(fleet, "enter", "leave") == [
        ("enter", 1), ("enter", 2), ("leave", 2), ("leave", 1),
    ]  # fmt: skip
    assert database.value("select count(*) from perdure.workers") == 0


@pytest.mark.conformance("C97")
def test_each_worker_has_a_lifespan_of_its_own_and_an_instant_of_a_schedule_one_of_them(
    database: Database, fleet: Fleet
) -> None:
    workers = [fleet.start() for _ in range(4)]
    until(lambda: len(fleet.ledger.records("fired")) >= 3)
    until(lambda: len(fleet.ledger.records("enter", 3)) == 4)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0] * 4
    pids = {worker.pid for worker in workers}
    for number in (1, 2, 3):
        entered = [r["pid"] for r in fleet.ledger.records("enter", number)]
        assert (len(entered), set(entered)) == (4, pids)
        assert {r["pid"] for r in fleet.ledger.records("leave", number)} == pids
    fired = fleet.ledger.records("fired")
    assert all(r["value"] == f"first of {r['pid']}" for r in fired)
    instants = [r["at_instant"] for r in fired]
    assert len(instants) == len(set(instants))
    assert database.rows(
        "select fire_at from perdure.fires where fate = 'fired' except"
        " select fire_at from perdure.tasks where name = 'fired'"
    ) == []  # fmt: skip


def holder(fleet: Fleet, workers: list[Process], attempt: int, within: float) -> Process:
    """The worker whose hold is the one of that attempt, once it has ticked."""
    ticked = "select count(*) from ticks where attempt = %s"
    until(lambda: fleet.database.value(ticked, (attempt,)), timeout=within + SLACK)
    (record,) = (r for r in fleet.ledger.records("hold") if r["attempt"] == attempt)
    return next(worker for worker in workers if worker.pid == record["pid"])


def check_ticks(database: Database, takeovers: int) -> None:
    """By the holders' own record: none beside another, no instant twice, at most one missing."""
    rows = database.rows("select attempt, number, at from ticks order by id")
    attempts, numbers = [row[0] for row in rows], [row[1] for row in rows]
    assert attempts == sorted(attempts)
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    for (before, number), (after, following) in pairwise(zip(attempts, numbers, strict=True)):
        assert following - number in ((1,) if before == after else (1, 2))
    assert len(set(attempts)) == takeovers + 1


@pytest.mark.alone
@pytest.mark.conformance("C98")
@pytest.mark.conformance("C99")
def test_a_singleton_goes_from_holder_to_holder_and_never_has_two(
    database: Database, fleet: Fleet
) -> None:
    busy = database.rows(
        "insert into perdure.tasks (name) select 'stay' from generate_series(1, 4) returning id"
    )
    workers = [fleet.start(execution__concurrency="1") for _ in range(4)]
    one = holder(fleet, workers, 1, within=30)
    # It takes no slot: the workers have one each, and four tasks run beside it.
    until(lambda: len(fleet.ledger.records("start")) == len(busy))
    asked = time.monotonic()
    one.signal(signal.SIGTERM)
    two = holder(fleet, workers, 2, within=2)
    (left,) = fleet.ledger.records("release")
    (held,) = (r for r in fleet.ledger.records("hold") if r["attempt"] == 2)
    assert (left["attempt"], left["pid"], one.wait()) == (1, one.pid, 0)
    assert asked < left["at"] < held["at"] < left["at"] + 2

    two.kill()
    three = holder(fleet, workers, 3, within=B1 + 1)
    frozen = Path(f"{fleet.ledger.path}.frozen")
    frozen.write_text(str(three.pid))
    until(lambda: fleet.ledger.records("waits"))
    three.signal(signal.SIGSTOP)
    four = holder(fleet, workers, 4, within=B1 + 1)
    frozen.unlink()
    three.signal(signal.SIGCONT)
    until(lambda: fleet.ledger.records("lost"))
    (lost,) = fleet.ledger.records("lost")
    assert (lost["attempt"], lost["pid"], lost["sqlstate"]) == (3, three.pid, "PD001")
    until(lambda: len(fleet.ledger.records("release")) == 2)
    ticks = database.value("select max(number) from ticks")
    until(lambda: database.value("select max(number) from ticks") > ticks + 1)
    four.signal(signal.SIGTERM)
    assert four.wait() == 0

    # The one that had been frozen is as good as any other.
    holder(fleet, workers, 5, within=2)
    check_ticks(database, takeovers=4)
    # Saved before its tick: whoever took over did not do it once more.
    (waited,) = fleet.ledger.records("waits")
    assert not database.rows("select from ticks where number = %s", (waited["number"],))
    (task,) = database.rows(f"select count(*), min(id) from ({SINGLETON}) as s (id)")
    assert task[0] == 1
    kinds = "select kind, reason from perdure.attempts where task_id = %s order by attempt"
    assert database.rows(kinds, (task[1],)) == [
        ("interruption", "shutdown"), ("crash", None), ("crash", None),
        ("interruption", "shutdown"),
    ]  # fmt: skip


@pytest.mark.conformance("C99")
async def test_a_singleton_is_not_quarantined_for_ten_deaths_between_its_ticks(
    database: Database,
) -> None:
    builder = TaskService.builder()
    holds: list[int] = []

    async def seldom(context: TaskContext[None, Any]) -> AsyncIterator[None]:
        holds.append(context.attempt)
        yield

    builder.add_singleton("seldom", seldom, tick=timedelta(hours=1))
    crashed = "select attempt, crashes from perdure.progress"
    async with running(database, builder.build()) as ours:
        for attempt in range(1, 11):
            # Known to have started, and past its setup: the checkpoint of the grid is there.
            await ours.until(lambda: database.rows(crashed) == [(attempt, 0)])  # noqa: B023
            await ours.until(lambda: database.value("select running <> '{}' from perdure.workers"))
            # In one transaction: a beat that is on its way must not come between.
            with database.connection.transaction():
                database.execute("update perdure.workers set heartbeat_at = '-infinity'")
                assert database.value("select started from perdure.recover()") == 1
            assert database.value("select crashes from perdure.progress") == 1
            ours.worker.beat_now()
        await ours.until(lambda: database.rows(crashed) == [(11, 0)])
        assert database.rows("select state, failures from perdure.task(1)") == [("running", 0)]
    assert holds == list(range(1, 12))
    rows = database.rows("select kind, count(*)::int from perdure.attempts group by kind")
    assert sorted(rows) == [("crash", 10), ("interruption", 1)]
