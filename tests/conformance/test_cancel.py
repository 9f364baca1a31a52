"""Cancelling: what has not started, what runs, and what is just ending, in every order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, stopped, until
from tests.kit.gate import ORDERS, Gate, lose
from tests.kit.running import Running, running
from tests.kit.stepping import stepped

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended
from perdure.tasks.policies import Delays, RetryPolicy

LATER = RetryPolicy(backoff=Delays([3600]))


class Page(BaseModel):
    number: int = 0


Context = TaskContext[dict[str, Any], Page]


class Played:
    """A service whose task `play` does what its metadata says, when the test lets it."""

    def __init__(self) -> None:
        self.starts: Counter[int] = Counter()
        self.go: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.heard: list[tuple[str, float]] = []
        builder = TaskService.builder()
        builder.task("play", retry=LATER)(self.play)
        builder.task("quick")(self.quick)
        builder.task("stop")(self.stop)
        self.service: TaskService = builder.build()

    async def began(self, worker: Running, task_id: int) -> None:
        """Wait for the first start of a task."""
        await worker.until(lambda: self.starts[task_id])

    async def play(self, context: Context) -> str | Suspended:
        """Wait for the test, deaf to any request, then end in one of the ways."""
        self.starts[context.task_id] += 1
        how = context.metadata.get("how", "plain")
        if how == "suspend":
            return Suspended()
        await self.go[context.task_id].wait()
        if how == "fail":
            raise ValueError(how)
        if how == "marked":
            context.execution_metadata.number = 1
        elif how == "transaction":
            async with context.transaction(result=how):
                context.execution_metadata.number = 1
        return str(how)

    async def quick(self, context: Context) -> None:
        """Note that it ran."""
        self.starts[context.task_id] += 1

    async def stop(self, context: Context) -> None:
        """Note what is heard, and unwind only when the test lets it."""
        self.starts[context.task_id] += 1
        await context.stop.wait()
        self.heard.append((context.stop.reason or "", time.monotonic()))
        try:
            await asyncio.Event().wait()
        finally:
            self.heard.append(("broken off", time.monotonic()))
            await self.go[context.task_id].wait()


async def cancel(worker: Running, task_id: int) -> str:
    (row,) = await worker.ask("select perdure.cancel(%s::bigint) as answer", task_id)
    return str(row["answer"])


@pytest.mark.conformance("C45")
async def test_what_is_not_running_is_cancelled_at_once_and_never_starts(
    database: Database,
) -> None:
    played = Played()
    async with running(database, played.service, execution__stop_grace="30s") as worker:
        await worker.pause("paused")
        holder = await worker.enqueue("play", unique_key="k")
        retrying = await worker.enqueue("play", '{"how": "fail"}')
        suspended = await worker.enqueue("play", '{"how": "suspend"}')
        await worker.until(lambda: len(played.starts) == 3)
        tasks = {
            "pending": await worker.enqueue("play", queue="paused"),
            "scheduled": await worker.enqueue("play", delay="1 hour"),
            "blocked": await worker.enqueue("play", unique_key="k", unique_policy="replace"),
            "retrying": retrying,
            "suspended": suspended,
        }
        played.go[retrying].set()
        for state, task_id in tasks.items():
            before = await worker.state(task_id, state)
            assert await cancel(worker, task_id) == "cancelled"
            after = await worker.task(task_id)
            assert (after["state"], after["reason"]) == ("cancelled", "requested")
            assert after["error"]["kind"] == "requested"
            assert after["attempt"] == before["attempt"]
            assert await cancel(worker, task_id) == "ended"
            assert await worker.task(task_id) == after
        await worker.ask("select perdure.resume_queue('paused')")
        played.go[holder].set()
        done = await worker.ended(holder)
        last = await worker.ended(await worker.enqueue("quick", queue="paused"))
        assert (done["state"], last["state"]) == ("completed", "completed")
        assert await cancel(worker, holder) == "ended"
        assert await worker.task(holder) == done
        assert await cancel(worker, 10**12) == "not_found"
        assert played.starts == dict.fromkeys((holder, retrying, suspended, last["id"]), 1)
    database.check_drained()


@pytest.mark.conformance("C46")
async def test_a_running_task_is_asked_then_broken_off_and_runs_until_it_has_ended(
    database: Database,
) -> None:
    played = Played()
    async with running(database, played.service, execution__stop_grace="0.5s") as worker:
        task_id = await worker.enqueue("stop")
        await played.began(worker, task_id)
        assert await cancel(worker, task_id) == "requested"
        at_once = await worker.task(task_id)
        assert at_once["state"] == "running"
        assert at_once["cancel_requested_at"] is not None
        assert await cancel(worker, task_id) == "requested"

        await worker.until(lambda: len(played.heard) == 2)
        (reason, asked), (_, broken_off) = played.heard
        assert reason == "cancelled"
        assert 0.5 <= broken_off - asked < 2
        unwinding = await worker.task(task_id)
        assert unwinding["state"] == "running"
        assert unwinding["cancel_requested_at"] == at_once["cancel_requested_at"]

        played.go[task_id].set()
        ended = await worker.ended(task_id)
        assert (ended["state"], ended["reason"], ended["attempt"]) == ("cancelled", "requested", 1)
        assert ended["cancel_requested_at"] == at_once["cancel_requested_at"]
        assert await cancel(worker, task_id) == "ended"
    assert played.starts == {task_id: 1}
    database.check_drained()


@pytest.mark.conformance("C47")
@pytest.mark.parametrize("how", ["plain", "marked", "transaction", "fail"])
async def test_a_cancel_beside_the_end_of_a_run_in_every_order(
    database: Database, how: str
) -> None:
    played, gate = Played(), Gate(database)
    async with (
        running(database, played.service, execution__stop_grace="30s") as worker,
        stepped(database) as other,
    ):
        for order in ORDERS:
            task_id = await worker.enqueue("play", f'{{"how": "{how}"}}')
            await played.began(worker, task_id)
            answer = ""
            for step in order:
                match step:
                    case "R":
                        gate.close()
                        played.go[task_id].set()
                        await gate.reached()
                    case "r":
                        gate.open()
                        await gate.left(task_id)
                    case "O":
                        await other.run("begin")
                        ((answer,),) = await other.run("select perdure.cancel(%s)", [task_id])
                    case "o":
                        await other.run("commit")
            await worker.ended(task_id)
            await worker.until(lambda: not database.rows("select from perdure.mail"))
            task = await worker.task(task_id)
            ended = ("cancelled", "requested") if how == "fail" else ("completed", None)
            late = "cancelled" if how == "fail" else "ended"
            assert answer == (late if order == "RrOo" else "requested"), order
            assert (task["state"], task["reason"]) == ended, order
            assert task["attempt"] == 1, order
            assert (task["cancel_requested_at"] is None) is (answer == "ended"), order
    assert set(played.starts.values()) == {1}
    assert database.value("select count(*) from perdure.outcomes") == len(ORDERS)
    database.check_drained()


@pytest.mark.conformance("C48")
async def test_cancelled_then_killed_is_cancelled_and_not_run_again(
    database: Database, tmp_path: Path
) -> None:
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        task_id = database.value("insert into perdure.tasks (name) values ('gate') returning id")
        worker = fleet.start()
        until(lambda: database.value("select running from perdure.workers") == [task_id])
        until(lambda: fleet.ledger.records("start", task_id))
        with stopped(worker):
            assert database.value("select perdure.cancel(%s)", [task_id]) == "requested"
            worker.kill()
        other = fleet.start()
        until(lambda: database.rows("select from perdure.outcomes"))
        assert_cancelled(database, task_id)
        other.signal(signal.SIGTERM)
        assert other.wait() == 0
        assert len(fleet.ledger.records("start")) == 1
    database.check_drained()


@pytest.mark.conformance("C48")
@pytest.mark.parametrize("name", ["gate", "stubborn"])
async def test_cancelled_then_asked_to_shut_down_is_cancelled(
    database: Database, tmp_path: Path, name: str
) -> None:
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        task_id = database.value(
            "insert into perdure.tasks (name) values (%s) returning id", [name]
        )
        worker = fleet.start()
        until(lambda: database.value("select running from perdure.workers") == [task_id])
        until(lambda: fleet.ledger.records("start", task_id))
        with stopped(worker):
            assert database.value("select perdure.cancel(%s)", [task_id]) == "requested"
            worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert_cancelled(database, task_id)
        assert len(fleet.ledger.records("start")) == 1
    database.check_drained()


@pytest.mark.conformance("C48")
async def test_a_recovered_task_is_not_begun_again_even_before_its_mail_was_obeyed(
    database: Database,
) -> None:
    played = Played()
    task_id = database.value("insert into perdure.tasks (name) values ('quick') returning id")
    lose(database, task_id)
    assert database.value("select perdure.cancel(%s)", [task_id]) == "requested"
    async with stepped(database) as other:
        # Whoever obeys the mail of tasks in no lease passes over a letter that is locked.
        await other.run("begin; select from perdure.mail for update")
        async with running(database, played.service) as worker:
            await worker.state(task_id, "running")
            await other.run("commit")
            task = await worker.ended(task_id)
    assert (task["state"], task["reason"], task["crashes"]) == ("cancelled", "requested", 1)
    assert not played.starts
    database.check_drained()


def assert_cancelled(database: Database, task_id: int) -> None:
    rows = database.rows(
        "select state, reason, attempt, cancel_requested_at is null from perdure.task(%s::bigint)",
        [task_id],
    )
    assert rows == [("cancelled", "requested", 1, False)]
