"""What an operator reads of one task afterwards: every event, in the order of time, by whom."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.conformance import processes
from tests.kit.databases import Database
from tests.kit.fleet import STARTING
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.running import Running, running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended


class Payment(BaseModel):
    """Execution metadata: what the shop is told while it waits."""

    paid: bool = False
    token: str | None = None


Context = TaskContext[dict[str, Any], Payment]


class Shop:
    """A service whose task `pay` suspends in its first run, after `go` if it is to wait for it."""

    def __init__(self) -> None:
        self.started, self.go = asyncio.Event(), asyncio.Event()
        builder = TaskService.builder()
        builder.task("pay")(self.pay)
        self.service: TaskService = builder.build()

    async def pay(self, context: Context) -> Suspended | None:
        self.started.set()
        if context.metadata.get("waits"):
            await self.go.wait()
        if context.attempt == 1:
            for step in context.metadata.get("steps", ()):
                await context.step(step, charge)
            context.execution_metadata.token = "t"
            return Suspended()
        return None


async def charge() -> dict[str, int]:
    return {"cents": 990}


async def history(worker: Running, task_id: int) -> list[dict[str, Any]]:
    """All events of a task; they must be in the order of time."""
    rows = await worker.ask("select * from perdure.history(%s::bigint)", task_id)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    return rows


def events(rows: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    """What happened, and in which attempt."""
    return [(row["event"], row["attempt"]) for row in rows]


async def test_history_tells_each_run_and_what_let_the_task_go_on(database: Database) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker:
        task_id = await worker.enqueue("pay")
        await worker.state(task_id, "suspended")
        await worker.ask("""select perdure.proceed(%s, patch => '{"paid": true}')""", task_id)
        await worker.ended(task_id)
        rows = await history(worker, task_id)
    assert events(rows) == [
        ("created", None), ("started", 1), ("suspension", 1), ("proceed", None),
        ("started", 2), ("completed", 2),
    ]  # fmt: skip
    proceeded = rows[3]
    assert proceeded["actor"] == database.value("select session_user::text")
    assert proceeded["details"] == {
        "patch": {"paid": True}, "before": {"paid": False, "token": "t"}
    }  # fmt: skip
    database.check_drained()


@pytest.mark.conformance("C108")
async def test_history_lists_everything_and_each_run_is_there_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    ledger = Ledger(tmp_path / "ledger")
    options = Options(application="tests.conformance.processes:service")
    async with running(database, processes.service, options=options) as worker:
        task_id = await worker.enqueue("everything")
        await worker.state(task_id, "suspended")
        await worker.ask("select perdure.proceed(%s::bigint)", task_id)
        await worker.until(lambda: ledger.records("waits", task_id), timeout=STARTING)
        await worker.ask("select perdure.pause_queue('default', stop_running => true)")
        await worker.state(task_id, "pending")
        await worker.ask("select perdure.resume_queue('default')")
        await worker.until(lambda: len(ledger.records("waits", task_id)) == 2, timeout=STARTING)
        await worker.ask("select perdure.cancel(%s::bigint)", task_id)
        await worker.state(task_id, "cancelled")
        await worker.ask("select perdure.retry(%s::bigint)", task_id)
        row = await worker.state(task_id, "completed")
        rows = await history(worker, task_id)
    assert events(rows) == [
        ("created", None),
        ("started", 1), ("failure", 1),
        ("started", 2), ("suspension", 2), ("proceed", None),
        ("started", 3), ("interruption", 3),
        ("started", 4), ("crash", 4),
        ("started", 5), ("cancel", None), ("cancellation", 5), ("retry", None),
        ("started", 6), ("completed", 6),
    ]  # fmt: skip
    attempts = database.value("select count(*) from perdure.attempts where task_id = %s", [task_id])
    assert row["attempt"] == attempts + 1 == 6
    database.check_drained()


async def test_a_signal_is_in_the_history_from_when_it_came_to_when_it_was_used(
    database: Database,
) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker:
        task_id = await worker.enqueue("pay", '{"waits": true}')
        await shop.started.wait()
        await worker.ask("""select perdure.proceed(%s, patch => '{"paid": true}')""", task_id)
        kept = (await history(worker, task_id))[-1]
        assert (kept["event"], kept["details"]) == ("signal_kept", {"patch": {"paid": True}})
        shop.go.set()
        await worker.ended(task_id)
        rows = await history(worker, task_id)
    assert events(rows)[1:] == [
        ("started", 1), ("suspension", 1), ("proceed", None), ("started", 2), ("completed", 2)
    ]  # fmt: skip
    used = rows[3]
    assert used["actor"] == kept["actor"] == database.value("select session_user::text")
    assert datetime.fromisoformat(used["details"]["posted_at"]) == kept["at"]
    assert used["details"]["before"] == {"paid": False, "token": "t"}
    database.check_drained()


async def test_a_cancel_is_asked_for_before_it_is_done(database: Database) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker:
        waits = await worker.enqueue("pay", delay="1 hour")
        tagged = await worker.enqueue("pay", delay="1 hour", tags=["x"])
        runs = await worker.enqueue("pay", '{"waits": true}')
        await shop.started.wait()
        await worker.ask("select perdure.cancel(i) from unnest(%s) as i", [waits, runs])
        await worker.ask("select perdure.cancel_where(tag => 'x')")
        shop.go.set()
        await worker.ended(runs)
        for task_id in (waits, tagged):
            assert events(await history(worker, task_id)) == [
                ("created", None), ("cancel", None), ("cancelled", 0)
            ]  # fmt: skip
        assert events(await history(worker, runs)) == [
            ("created", None), ("started", 1), ("cancel", None), ("cancelled", 1)
        ]  # fmt: skip
    database.check_drained()


async def test_an_end_without_a_run_stays_in_the_history_of_a_task_that_is_retried(
    database: Database,
) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker:
        task_id = await worker.enqueue("pay", execution_metadata='{"paid": "soon"}')
        ended = await worker.ended(task_id)
        assert (ended["state"], ended["reason"], ended["attempt"]) == ("failed", "invalid", 0)
        await worker.ask("select perdure.retry(%s)", task_id)
        await worker.ended(task_id)
        rows = await history(worker, task_id)
    assert events(rows) == [
        ("created", None), ("failed", None), ("retry", None), ("failed", 0)
    ]  # fmt: skip
    first, last = rows[1], rows[3]
    assert first["actor"] is None
    assert first["details"]["error"]["message"] == ended["error"]["message"]
    assert (first["details"]["kind"], last["details"]["kind"]) == ("invalid", "invalid")
    database.check_drained()


async def test_steps_that_are_done_are_shown_until_the_task_is_erased(database: Database) -> None:
    shop = Shop()
    async with running(database, shop.service) as worker, TaskClient(database.dsn) as client:
        task_id = await worker.enqueue("pay", '{"steps": ["charge", "post"]}')
        await worker.state(task_id, "suspended")
        task = await client.get(task_id)
        assert task is not None
        assert task.steps == {"charge": {"cents": 990}, "post": {"cents": 990}}
        await worker.ask("select perdure.cancel(%s)", task_id)
        assert (await worker.task(task_id))["steps"] == task.steps
        assert await client.erase(task_id) == "erased"
        assert (await worker.task(task_id))["steps"] is None
    database.check_drained()
