"""Who holds a unique key: fifty at once, one that is replaced while it runs, one rolled back."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.running import running
from tests.kit.stepping import stepped, waits_for_a_lock

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.policies import UNIQUE_POLICIES

ENQUEUE = (
    "select task_id, answer from perdure.enqueue(%s, %s, unique_key => 'k', unique_policy => %s)"
)


class Runs:
    """A service whose task `note` notes that it ran, and `alone` when it began and ended."""

    def __init__(self) -> None:
        self.noted: list[int] = []
        self.spans: dict[int, tuple[float, float]] = {}
        self.began = asyncio.Event()
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        builder = TaskService.builder()
        builder.task("note")(self.note)
        builder.task("alone")(self.alone)
        self.service: TaskService = builder.build()

    async def note(self, context: TaskContext[dict[str, Any], None]) -> None:
        self.noted.append(context.task_id)

    async def alone(self, context: TaskContext[dict[str, Any], None]) -> None:
        """Run until it is stopped, and leave when it may; or end at once if it is the last."""
        start = time.monotonic()
        self.began.set()
        try:
            if not context.metadata.get("last"):
                await asyncio.Event().wait()
        finally:
            await self.may_leave.wait()
            self.spans[context.task_id] = (start, time.monotonic())


@pytest.mark.conformance("C61")
async def test_of_fifty_that_enqueue_one_key_at_once_one_creates_and_the_others_get_its_id(
    database: Database,
) -> None:
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(stepped(database)) for _ in range(50)]
        first, *others = sessions
        await first.run("begin")
        answers = await first.run(ENQUEUE, ["note", "{}", "keep"])
        for session in others:
            assert not await session.start(ENQUEUE, ["note", "{}", "keep"])
        await waits_for_a_lock(database, sessions=49)
        await first.run("commit")
        for session in others:
            answers += await session.end()
    assert sorted(answer for _, answer in answers) == ["created", *["kept"] * 49]
    assert len({task_id for task_id, _ in answers}) == 1
    runs = Runs()
    async with running(database, runs.service) as worker:
        await worker.ended(answers[0][0])
        again = await worker.ask(ENQUEUE, "note", "{}", "keep")
        assert again[0]["answer"] == "created"
        await worker.ended(again[0]["task_id"])
    assert runs.noted == [answers[0][0], again[0]["task_id"]]
    database.check_drained()


@pytest.mark.conformance("C62")
async def test_what_replaces_a_running_task_starts_after_it_has_ended(database: Database) -> None:
    runs = Runs()
    async with running(database, runs.service) as worker:
        (old,) = await worker.ask(ENQUEUE, "alone", "{}", "replace")
        await runs.began.wait()
        runs.may_leave.clear()
        (new,) = await worker.ask(ENQUEUE, "alone", '{"last": true}', "replace")
        assert (old["answer"], new["answer"]) == ("created", "replaced")
        blocked = await worker.task(new["task_id"])
        assert blocked["state"] == "blocked"
        assert blocked["waiting_for"] == f"task {old['task_id']}"
        runs.may_leave.set()
        assert (await worker.ended(new["task_id"]))["state"] == "completed"
        replaced = await worker.task(old["task_id"])
        assert (replaced["state"], replaced["reason"]) == ("cancelled", "replaced")
    assert runs.spans[old["task_id"]][1] < runs.spans[new["task_id"]][0]
    database.check_drained()


@pytest.mark.conformance("C62")
async def test_what_replaces_a_running_task_starts_after_its_worker_was_killed(
    database: Database, tmp_path: Path
) -> None:
    with Fleet(database, "tests.conformance.processes:service", tmp_path) as fleet:
        ((old, _),) = database.rows(ENQUEUE, ["alone", "{}", "replace"])
        first = fleet.start()
        until(lambda: database.value("select running from perdure.workers") == [old])
        until(lambda: fleet.ledger.records("runs", old))
        fleet.start()
        until(lambda: database.value("select count(*) from perdure.workers") == 2)
        # Deaf from here on: it neither hears the request to stop nor ends the run.
        first.signal(signal.SIGSTOP)
        ((new, answer),) = database.rows(ENQUEUE, ["alone", '{"last": true}', "replace"])
        assert answer == "replaced"
        first.kill()
        killed = time.monotonic()
        until(lambda: fleet.ledger.records("end", new))
        (started,) = fleet.ledger.records("start", new)
        assert len(fleet.ledger.records("start", old)) == 1
        assert not fleet.ledger.records("end", old)
        assert fleet.ledger.records("runs", old)[-1]["at"] < killed < started["at"]
        until(lambda: database.value("select count(*) from perdure.outcomes") == 2)
    rows = database.rows("select state, reason, crashes from perdure.task(%s)", [old])
    assert rows == [("cancelled", "replaced", 1)]


@pytest.mark.conformance("C66")
@pytest.mark.parametrize("policy", UNIQUE_POLICIES)
async def test_an_enqueue_that_is_rolled_back_leaves_the_key_to_the_one_that_waited(
    database: Database, policy: str
) -> None:
    runs = Runs()
    async with (
        running(database, runs.service) as worker,
        stepped(database) as first,
        stepped(database) as second,
    ):
        await first.run("begin")
        ((gone, _),) = await first.run(ENQUEUE, ["note", "{}", policy])
        assert not await second.start(ENQUEUE, ["note", "{}", policy]), "the second should wait"
        await first.run("rollback")
        ((task_id, answer),) = await second.end()
        assert answer == "created"
        assert (await worker.ended(task_id))["state"] == "completed"
        assert not await worker.ask("select from perdure.task(%s::bigint)", gone)
        ((free, answer),) = await first.run(ENQUEUE, ["note", "{}", policy])
        assert answer == "created"
        await worker.ended(free)
    assert runs.noted == [task_id, free]
    assert database.rows("select key, task_id from perdure.unique_keys") == [("k", free)]
    database.check_drained()
