"""Signals that meet the suspension they are for, in every order, and those that come too early."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.gate import ORDERS, Gate
from tests.kit.running import Running, running
from tests.kit.stepping import stepped

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended


class Order(BaseModel):
    wait_key: str | None = None


class Payment(BaseModel):
    token: str | None = None


class Seen(BaseModel):
    reason: str
    token: str | None


Context = TaskContext[Order, Payment]


class Shop:
    """A service whose task `pay` suspends when the test lets it, and tells what it wakes up to."""

    def __init__(self) -> None:
        self.starts: Counter[int] = Counter()
        self.go: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        builder = TaskService.builder()
        builder.task("pay")(self.pay)
        self.service: TaskService = builder.build()

    async def began(self, worker: Running, task_id: int) -> None:
        """Wait for the first start of a task."""
        await worker.until(lambda: self.starts[task_id])

    async def pay(self, context: Context) -> Seen | Suspended:
        """The first run waits for the test and suspends; the next one ends."""
        self.starts[context.task_id] += 1
        if context.run_reason == "first":
            await self.go[context.task_id].wait()
            return Suspended(wait_key=context.metadata.wait_key)
        return Seen(reason=context.run_reason, token=context.execution_metadata.token)


@pytest.mark.parametrize(
    "by_key",
    [
        pytest.param(False, marks=pytest.mark.conformance("C53")),
        pytest.param(True, marks=pytest.mark.conformance("C54")),
    ],
)
async def test_a_signal_beside_the_suspension_in_every_order_lets_it_go_on_once(
    database: Database, by_key: bool
) -> None:
    shop, gate = Shop(), Gate(database)
    async with running(database, shop.service) as worker, stepped(database) as other:
        for order in ORDERS:
            key = f"payment:{order}" if by_key else None
            task_id = await worker.enqueue("pay", json.dumps({"wait_key": key}))
            await shop.began(worker, task_id)
            call, of = ("proceed_waiting", key) if by_key else ("proceed", task_id)
            answer = ""
            for step in order:
                match step:
                    case "R":
                        gate.close()
                        shop.go[task_id].set()
                        await gate.reached()
                    case "r":
                        gate.open()
                        await gate.left(task_id)
                    case "O":
                        await other.run("begin")
                        text = f'select perdure.{call}(%s, patch => \'{{"token": "t"}}\')'
                        ((answer,),) = await other.run(text, [of])
                    case "o":
                        await other.run("commit")
            task = await worker.ended(task_id)
            assert answer == ("proceeded" if order == "RrOo" else "kept"), order
            assert task["result"] == {"reason": "proceeded", "token": "t"}, order
            assert (task["state"], task["attempt"]) == ("completed", 2), order
            assert shop.starts[task_id] == 2, order
            assert not database.rows("select from perdure.mail"), order
    assert set(shop.starts.values()) == {2}
    database.check_drained()


@pytest.mark.conformance("C54")
async def test_a_signal_for_a_key_is_used_once_and_not_after_its_time(database: Database) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker, stepped(database) as other:
        call = "select perdure.proceed_waiting(%s, patch => %s, keep_for => %s)"
        patch = '{"token": "t"}'
        assert await other.run(call, ["k", patch, "0"]) == [("not_found",)]
        assert await other.run(call, ["k", patch, "1 hour"]) == [("kept",)]
        tasks = [await worker.enqueue("pay", '{"wait_key": "k"}') for _ in range(2)]
        shop.go[tasks[0]].set()
        first = await worker.ended(tasks[0])
        assert first["result"] == {"reason": "proceeded", "token": "t"}
        shop.go[tasks[1]].set()
        await worker.state(tasks[1], "suspended")

        late = await worker.enqueue("pay", '{"wait_key": "late"}')
        assert await other.run(call, ["late", patch, "1 hour"]) == [("kept",)]
        await other.run("update perdure.mail set keep_until = clock_timestamp() - interval '1 s'")
        shop.go[late].set()
        await worker.state(late, "suspended")
        await worker.until(lambda: not database.rows("select from perdure.mail"))
        for task_id in (tasks[1], late):
            task = await worker.task(task_id)
            assert (task["state"], task["execution_metadata"]) == ("suspended", None)
            assert await other.run("select perdure.proceed(%s)", [task_id]) == [("proceeded",)]
            await worker.ended(task_id)
    assert set(shop.starts.values()) == {2}
    database.check_drained()


@pytest.mark.conformance("C54")
async def test_a_key_that_two_wait_for_moves_neither_but_each_goes_on_by_its_id(
    database: Database,
) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker, stepped(database) as other:
        tasks = [await worker.enqueue("pay", '{"wait_key": "k"}') for _ in range(2)]
        for task_id in tasks:
            shop.go[task_id].set()
        before = [await worker.state(task_id, "suspended") for task_id in tasks]
        call = "select perdure.proceed_waiting('k', patch => '{\"token\": \"t\"}')"
        assert await other.run(call) == [("ambiguous",)]
        assert [await worker.task(task_id) for task_id in tasks] == before
        assert not database.rows("select from perdure.mail")
        for task_id in tasks:
            assert await other.run("select perdure.proceed(%s)", [task_id]) == [("proceeded",)]
            seen = (await worker.ended(task_id))["result"]
            assert seen == {"reason": "proceeded", "token": None}
    assert set(shop.starts.values()) == {2}
    database.check_drained()


@pytest.mark.conformance("C57")
async def test_a_kept_signal_outlives_a_retry_a_crash_and_an_interruption(
    database: Database, tmp_path: Path
) -> None:
    with Fleet(database, "tests.conformance.processes:service", tmp_path) as fleet:
        task_id = database.value("insert into perdure.tasks (name) values ('endure') returning id")
        call = 'select perdure.proceed(%s, patch => \'{"token": "t"}\')'

        def begun(attempt: int) -> bool:
            return len(fleet.ledger.records("start")) == attempt

        first = fleet.start()
        until(lambda: begun(1))
        assert database.value(call, [task_id]) == "kept"
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        second = fleet.start()
        until(lambda: begun(3))
        until(lambda: database.value("select running from perdure.workers") == [task_id])
        second.kill()
        assert database.rows("select kind from perdure.mail") == [("proceed",)]
        fleet.start()
        until(lambda: database.rows("select from perdure.outcomes"))
        kinds = database.rows("select kind from perdure.attempts order by attempt")
        assert kinds == [("interruption",), ("failure",), ("crash",), ("suspension",)]
        result = database.value("select result from perdure.task(%s)", [task_id])
        assert result == {"reason": "proceeded", "token": "t"}
    assert not database.rows("select from perdure.mail")


@pytest.mark.conformance("C57")
async def test_a_signal_that_came_too_late_has_no_effect_and_is_in_the_history(
    database: Database,
) -> None:
    go = asyncio.Event()
    builder = TaskService.builder()

    @builder.task("end", retry=0)
    async def end(context: TaskContext[dict[str, str], Payment]) -> str:
        await go.wait()
        if context.metadata["how"] == "fail":
            raise ValueError
        if context.metadata["how"] == "marked":
            context.execution_metadata.token = "own"
        return "done"

    async with running(database, builder.build()) as worker, stepped(database) as other:
        ends = {"plain": "completed", "marked": "completed", "fail": "failed"}
        tasks = {await worker.enqueue("end", f'{{"how": "{how}"}}'): how for how in ends}
        for task_id in tasks:
            await worker.state(task_id, "running")
            call = 'select perdure.proceed(%s, patch => \'{"token": "late"}\')'
            assert await other.run(call, [task_id]) == [("kept",)]
        go.set()
        for task_id, how in tasks.items():
            task = await worker.ended(task_id)
            own = {"token": "own"} if how == "marked" else None
            assert (task["state"], task["execution_metadata"]) == (ends[how], own)
        await worker.until(lambda: not database.rows("select from perdure.mail"))
        for task_id in tasks:
            events = await worker.ask("select * from perdure.history(%s::bigint)", task_id)
            unused = [e["details"] for e in events if e["event"] == "signal_unused"]
            assert unused == [{"patch": {"token": "late"}}]
            assert (await worker.task(task_id))["attempt"] == 1
    database.check_drained()


@pytest.mark.conformance("C54")
async def test_all_signals_that_pass_one_suspension_are_used_by_it(database: Database) -> None:
    shop, gate = Shop(), Gate(database)
    async with running(database, shop.service) as worker, stepped(database) as other:
        task_id = await worker.enqueue("pay", '{"wait_key": "k"}')
        gate.close()
        shop.go[task_id].set()
        await gate.reached()
        call = "select perdure.proceed_waiting('k', patch => %s)"
        for patch in ('{"token": "first"}', '{"token": "second"}'):
            assert await other.run(call, [patch]) == [("kept",)]
        gate.open()
        ended = await worker.ended(task_id)
        assert ended["result"] == {"reason": "proceeded", "token": "second"}
        assert not database.rows("select from perdure.mail")
    assert shop.starts == {task_id: 2}
    database.check_drained()


@pytest.mark.conformance("C53")
async def test_a_kept_signal_is_not_refused_for_its_size_afterwards(database: Database) -> None:
    shop, gate = Shop(), Gate(database)
    half = json.dumps({"token": "t" * 600_000})
    async with running(database, shop.service) as worker, stepped(database) as other:
        task_id = await worker.enqueue("pay", execution_metadata=half)
        gate.close()
        shop.go[task_id].set()
        await gate.reached()
        patch = json.dumps({"more": "m" * 600_000})
        call = "select perdure.proceed(%s, patch => %s)"
        assert await other.run(call, [task_id, patch]) == [("kept",)]
        gate.open()
        ended = await worker.ended(task_id)
        assert (ended["state"], ended["attempt"]) == ("completed", 2)
    database.check_drained()


@pytest.mark.conformance("C53")
async def test_an_open_transaction_holds_up_neither_beats_nor_other_signals(
    database: Database,
) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker, stepped(database) as other:
        tasks = [await worker.enqueue("pay") for _ in range(2)]
        for task_id in tasks:
            shop.go[task_id].set()
            await worker.state(task_id, "suspended")
        stuck, free = tasks
        await other.run("begin")
        await other.run("select from perdure.waiting where task_id = %s for update", [stuck])
        # As if they had passed the suspensions, uncommitted.
        database.execute(
            "insert into perdure.mail (task_id, kind, body)"
            " select i, 'proceed', '{}' from unnest(%s::bigint[]) as i", [tasks],
        )  # fmt: skip
        worker.worker.beat_now()
        assert (await worker.ended(free))["state"] == "completed"
        now = database.value("select clock_timestamp()")
        beaten = "select heartbeat_at > %s from perdure.workers"
        await worker.until(lambda: database.value(beaten, [now]))
        assert (await worker.task(stuck))["state"] == "suspended"
        await other.run("commit")
        assert (await worker.ended(stuck))["state"] == "completed"
    assert set(shop.starts.values()) == {2}
    database.check_drained()
