"""What a worker believes of its constraints, whatever its probes do."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import running

from perdure import SyncTaskContext, TaskContext, TaskService, TimeWindow


async def test_a_probe_that_raises_hangs_or_babbles_says_no_and_holds_up_nobody(
    database: Database,
) -> None:
    told: dict[str, tuple[bool, str | None]] = {}
    let_go, asked = threading.Event(), 0
    builder = TaskService.builder()
    builder.on("constraint.changed", lambda e: told.update({e.name: (e.satisfied, e.why)}))

    def hangs() -> bool:
        nonlocal asked
        asked += 1
        return let_go.wait(PATIENCE)

    async def hangs_on_the_loop() -> bool:
        await asyncio.Event().wait()
        return True

    def raises() -> bool:
        raise ConnectionError("no route\x00 to host")

    async def answers() -> bool:
        return True

    probes: dict[str, Any] = {
        "hangs": hangs, "loop": hangs_on_the_loop, "raises": raises, "answers": answers,
        "babbles": lambda: 1, "day": TimeWindow("00:00", "00:00"),
    }  # fmt: skip
    for name, probe in probes.items():
        # It is the time that an answer may take, too.
        every = 0.1 if name in ("hangs", "loop") else 5
        builder.add_constraint(name, probe, every=every, debounce=0)
    try:
        async with running(database, builder.build()) as run:
            await run.until(lambda: len(told) == len(probes))
            assert told == {
                "hangs": (False, "it took longer than 0.1 s"),
                "loop": (False, "it took longer than 0.1 s"),
                "raises": (False, "ConnectionError: no route to host"),
                "babbles": (False, "it said int"),
                "answers": (True, None),
                "day": (True, None),
            }
            held = "select satisfied from perdure.workers where cardinality(satisfied) = 2"
            rows = await run.until(lambda: run.ask(held))
            assert rows == [{"satisfied": ["answers", "day"]}]
            assert asked == 1  # no second thread is spent on it while it hangs
            let_go.set()
            await run.until(lambda: told["hangs"] == (True, None))
    finally:
        let_go.set()
    assert not [t for t in threading.enumerate() if t.name.startswith("perdure constraint")]


async def test_a_probe_that_would_end_its_thread_or_the_loop_says_no_and_is_asked_again(
    database: Database,
) -> None:
    told: dict[str, list[tuple[bool, str | None]]] = {"stops": [], "exits": [], "leaves": []}
    builder = TaskService.builder()
    builder.on("constraint.changed", lambda e: told[e.name].append((e.satisfied, e.why)))

    def stops() -> bool:
        if not told["stops"]:
            raise StopIteration
        return True

    async def exits() -> bool:
        if not told["exits"]:
            sys.exit(3)
        return True

    def leaves() -> bool:
        if not told["leaves"]:
            sys.exit(3)
        return True

    for probe in (stops, exits, leaves):
        builder.add_constraint(probe.__name__, probe, every=1, debounce=0)
    async with running(database, builder.build()) as run:
        await run.until(lambda: all(len(heard) > 1 for heard in told.values()))
    assert {name: heard[:2] for name, heard in told.items()} == {
        "stops": [(False, "RuntimeError: StopIteration()"), (True, None)],
        "exits": [(False, "RuntimeError: SystemExit(3)"), (True, None)],
        "leaves": [(False, "RuntimeError: SystemExit(3)"), (True, None)],
    }


@pytest.mark.usefixtures("stays_prefetched")
async def test_what_waits_for_a_slot_goes_back_when_its_constraint_is_lost(
    database: Database,
) -> None:
    up, go = True, asyncio.Event()
    builder = TaskService.builder().add_constraint("net", lambda: up, every=0.02, debounce=0)
    starts: list[int] = []

    @builder.task("net", requires=("net",))
    async def net(context: TaskContext[Any]) -> None:
        starts.append(context.task_id)

    @builder.task("local")
    async def local(context: TaskContext[Any]) -> None:
        starts.append(context.task_id)
        await go.wait()

    async with running(
        database, builder.build(), execution__concurrency=1, execution__prefetch=9
    ) as run:
        held = await run.enqueue("local")
        await run.until(lambda: starts == [held])
        tasks = [await run.enqueue("net") for _ in range(3)]
        await run.until(lambda: len(run.worker._enqueuer.buffer) == 3)
        up = False
        for task in tasks:
            row = await run.state(task, "pending")
            assert (row["attempt"], row["interruptions"], row["reason"]) == (0, 0, "first")
        assert starts == [held]
        up = True
        go.set()
        for task in tasks:
            assert (await run.ended(task))["attempt"] == 1
    database.check_drained()


async def test_a_thread_knows_that_its_deadline_has_passed_and_one_worker_warns_of_the_unserved(
    database: Database,
) -> None:
    warned: list[tuple[str, str, int, str]] = []
    builder = TaskService.builder()
    builder.on("tasks.unserved", lambda e: warned.append((e.queue, e.name, e.count, e.why)))

    @builder.task("late", requires=("nobody",))
    def late(context: SyncTaskContext[Any]) -> bool:
        return context.deadline_passed

    async with running(database, builder.build()) as run:
        for _ in range(2):
            await run.enqueue("late")
        await run.ask("update perdure.tasks set created_at = created_at - interval '2 minutes'")
        kept_up = (
            "select key from perdure.settings where key = 'upkeep_at' and value #>> '{}' > '2001'"
        )
        for _ in range(2):  # the second has nothing new to tell
            await run.ask("update perdure.settings set value = '\"2000-01-01Z\"'"
                          " where key = 'upkeep_at'")  # fmt: skip
            run.worker.beat_now()
            await run.until(lambda: run.ask(kept_up))
            await run.until(lambda: warned)
        due = await run.enqueue("late", deadline_at="2020-01-01T00:00:00Z")
        assert (await run.ended(due))["result"] is True
    assert warned == [("default", "late", 2, "no live worker satisfies nobody")]
