"""What a killed, or a frozen, worker leaves behind, and who may still write."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import B1, PATH, QUICK, SLACK, STARTING, Fleet, stopped, until
from tests.kit.ledger import VARIABLE
from tests.kit.relay import (
    claimed,
    counters,
    ended,
    enqueue,
    note_claims,
    opened_gate,
    registered,
    report,
)

from perdure.run.bus import Bus
from perdure.run.supervisor import Supervisor
from perdure.service import TaskService


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    database.execute("create table effects (task_id bigint)")
    with Fleet(database, "tests.kit.rough:service", tmp_path) as fleet:
        yield fleet


@pytest.mark.alone
@pytest.mark.conformance("C33")
def test_after_sigkill_the_crash_is_counted_until_the_next_checkpoint_and_for_nobody_else(
    fleet: Fleet,
) -> None:
    database = fleet.database
    (task,) = enqueue(database, "gated")
    neighbours = enqueue(database, "neighbour", 6)
    options = {"execution__concurrency": "1", "execution__prefetch": "8"}
    note_claims(database)
    first = fleet.start(**options)
    until(lambda: fleet.ledger.records("saved", task))
    until(lambda: claimed(database) >= 7)
    second = fleet.start(**options)
    until(lambda: registered(database, second))
    first.kill()
    killed = time.monotonic()
    until(lambda: len(fleet.ledger.records("start", task)) == 2)
    start = fleet.ledger.records("start", task)[1]
    assert start["at"] - killed <= B1 + SLACK
    # What was saved last, not what stood in memory.
    assert (start["page"], start["pid"]) == (3, second.pid)
    assert counters(database, task) == ("running", 2, 0, 0, 1)
    assert database.rows("select task_id, attempt, kind from perdure.attempts") == [
        (task, 1, "crash")
    ]
    for neighbour in neighbours:
        # One that had waited for a slot for a second may have gone back, and have run since.
        _, attempt, *harm = counters(database, neighbour)
        assert harm == [0, 0, 0]
        assert attempt in range(len(fleet.ledger.records("start", neighbour)) + 1)
    with opened_gate(fleet):
        until(lambda: len(fleet.ledger.records("saved", task)) == 2)
    assert counters(database, task) == ("running", 2, 0, 0, 0)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    third = fleet.start()
    until(lambda: ended(database, 6))
    for neighbour in neighbours:
        assert counters(database, neighbour) == ("completed", 1, 0, 0, 0)
        (start,) = fleet.ledger.records("start", neighbour)
        assert start["pid"] in (second.pid, third.pid)


@pytest.mark.alone
@pytest.mark.conformance("C33")
async def test_a_supervisor_that_sees_its_child_die_does_not_let_the_task_wait_for_the_lease(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = fleet.database
    monkeypatch.setenv("PERDURE_DSN", database.dsn)
    monkeypatch.setenv("PYTHONPATH", PATH)
    monkeypatch.setenv(VARIABLE, str(fleet.ledger.path))
    (task,) = enqueue(database, "stays", n=1)
    values = QUICK | {"execution.lease_duration": "300s"}
    command = [sys.executable, "-m", "tests.kit.work", "tests.kit.rough:service"]
    command += [f"{key}={value}" for key, value in values.items()]
    service = TaskService.builder().build()
    service.override({"dsn": database.dsn})
    supervisor = Supervisor(command, 2, service.database(), grace=3, burst=False, bus=Bus())
    supervising = asyncio.create_task(supervisor.run())

    async def wait_until(question: str, *parameters: object) -> None:
        async with asyncio.timeout(STARTING):
            while not database.value(question, parameters):  # noqa: ASYNC110  (no event of ours)
                await asyncio.sleep(0.01)

    listed = "select count(*) from perdure.workers where %s::bigint = any (running)"
    try:
        await wait_until(listed, task)
        await wait_until("select count(*) = 2 from perdure.workers")
        first = fleet.ledger.records("start", task)[0]
        beats = "select min(heartbeat_at - started_at) > interval '0.9 s' from perdure.workers"
        await wait_until(beats)
        os.kill(first["pid"], signal.SIGKILL)
        killed = time.monotonic()
        await wait_until("select count(*) from perdure.outcomes")
        second = fleet.ledger.records("start", task)[1]
        assert second["at"] - killed <= 2
        assert second["pid"] != first["pid"]
        assert counters(database, task) == ("completed", 2, 0, 0, 1)
    finally:
        supervising.cancel()
        await asyncio.wait([supervising])


@pytest.mark.conformance("C36")
def test_every_write_of_a_worker_that_was_frozen_beyond_its_lease_is_refused(
    fleet: Fleet,
) -> None:
    database = fleet.database
    (task,) = enqueue(database, "zombie")
    # Long enough for each of its writes: after it the handler would be broken off.
    first = fleet.start(execution__stop_grace="30s")
    until(lambda: fleet.ledger.records("start", task))
    until(lambda: database.value("select execution_metadata from perdure.progress"))
    with stopped(first):
        second = fleet.start()
        until(lambda: ended(database, 1))
    until(lambda: fleet.ledger.records("own transaction refused", task))
    refused = {record["what"] for record in fleet.ledger.records() if record["pid"] == first.pid}
    assert refused == {
        "start",
        "checkpoint refused",
        "transaction refused",
        "own transaction refused",
    }
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert not database.rows("select from effects")
    row = database.rows(
        "select t.state, t.result, t.execution_metadata, t.attempt, w.pid"
        " from perdure.task(%s::bigint) as t join perdure.workers as w on w.id = t.worker_id",
        (task,),
    )
    assert row == [("completed", 2, {"page": 2}, 2, second.pid)]
    assert database.rows("select attempt, kind from perdure.attempts") == [(1, "crash")]
    assert database.value("select count(*) from perdure.outcomes") == 1
    database.check_drained()


@pytest.mark.conformance("C44")
@pytest.mark.parametrize("how", ["transaction", "complete"])
def test_a_completion_that_committed_before_the_sigkill_is_the_only_run(
    fleet: Fleet, how: str
) -> None:
    database = fleet.database
    (task,) = enqueue(database, "committed", how=how)
    first = fleet.start()
    first.wait()
    second = fleet.start()
    report(database, first)
    until(lambda: not registered(database, first))
    beside = enqueue(database, "neighbour")
    until(lambda: ended(database, 2))
    assert counters(database, task) == ("completed", 1, 0, 0, 0)
    assert database.value("select result from perdure.task(%s::bigint)", (task,)) == 7
    assert database.rows("select task_id from effects") == [(task,)]
    starts = [(record["task"], record["pid"]) for record in fleet.ledger.records("start")]
    assert starts == [(task, first.pid), (beside[0], second.pid)]
    assert not database.rows("select from perdure.attempts")
    database.check_drained()


@pytest.mark.conformance("C44")
def test_a_completion_that_had_not_committed_at_the_sigkill_is_run_again(fleet: Fleet) -> None:
    database = fleet.database
    (task,) = enqueue(database, "committed", how="before")
    first = fleet.start()
    first.wait()
    assert counters(database, task)[0] == "running"
    with opened_gate(fleet):
        fleet.start()
        report(database, first)
        until(lambda: ended(database, 1))
    assert database.value("select result from perdure.task(%s::bigint)", (task,)) == 7
    assert database.rows("select task_id from effects") == [(task,)]
    assert len(fleet.ledger.records("start", task)) == 2
    until(lambda: not database.rows("select from perdure.leases"))
    database.check_drained()
