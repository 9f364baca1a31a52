"""Schedules with real workers: one fire an instant, whoever dies, and what overlaps."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import LEASE, Fleet, came, until
from tests.kit.looking import looking
from tests.kit.running import running

from perdure import Retry, Suspended, TaskContext, TaskService


class Runs:
    """What the handlers of a test have seen."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, object]] = []
        self.now: Counter[str | None] = Counter()
        self.most: Counter[str | None] = Counter()
        self.go = asyncio.Event()


def service(runs: Runs) -> TaskService:
    builder = TaskService.builder()

    @builder.task("tick")
    async def tick(context: TaskContext[dict[str, Any], None]) -> None:
        runs.seen.append((context.schedule_key, context.fire_at))

    @builder.task("wait")
    async def wait(context: TaskContext[dict[str, Any], None]) -> None:
        key = context.schedule_key
        runs.seen.append((key, context.fire_at))
        runs.now[key] += 1
        runs.most[key] = max(runs.most[key], runs.now[key])
        try:
            await runs.go.wait()
        finally:
            runs.now[key] -= 1

    @builder.task("suspend")
    async def suspend(context: TaskContext[dict[str, Any], None]) -> Suspended:
        runs.seen.append((context.schedule_key, context.fire_at))
        return Suspended(wait_key="k")

    @builder.task("again")
    async def again(context: TaskContext[dict[str, Any], None]) -> Retry[None] | None:
        return Retry(timedelta(milliseconds=200)) if context.attempt == 1 else None

    return builder.build()


@pytest.mark.conformance("C90")
async def test_a_broken_schedule_says_why_and_the_others_fire(database: Database) -> None:
    runs = Runs()
    put = "select perdure.put_schedule"
    database.execute(
        f"{put}('good', 'tick', every => '1 second', catch_up => 'all', overlap => 'allow')"
    )
    database.execute(f"{put}('bad', 'tick', cron => '61 * * * *')")
    database.execute(f"{put}('nowhere', 'tick', cron => '@daily', timezone => 'Europe/Nowhere')")
    database.execute(f"{put}('once', 'tick', once => now() - interval '1 hour')")
    told: list[Any] = []
    made = service(runs)
    async with running(database, made) as worker:
        worker.worker._bus.on("schedule.fired", told.append)
        await worker.until(lambda: len(runs.seen) > 2)
    found = database.rows("select key, state, problem from perdure.schedules order by key")
    states = {key: state for key, state, _ in found}
    problems = {key: problem for key, _, problem in found}
    assert states == {"good": "active", "bad": "broken", "nowhere": "broken", "once": "finished"}
    assert "minute '61'" in problems["bad"]
    assert "no such zone" in problems["nowhere"]
    fires = database.rows(
        "select schedule_key, fire_at, fate, count from perdure.fires order by fire_at"
    )
    assert fires[0][::2] == ("once", "fired")
    assert {(key, fate, count) for key, _, fate, count in fires[1:]} == {("good", "fired", 1)}
    # Handlers are told which schedule, and for when.
    assert {*runs.seen} <= {(key, at) for key, at, _, _ in fires}
    assert {one.schedule_key for one in told} <= {"good", "once"}
    assert all(0 <= one.seconds < 5 for one in told if one.schedule_key == "good")


@pytest.mark.conformance("C84")
async def test_overlap_skips_queues_cancels_or_allows(database: Database) -> None:
    runs = Runs()
    put = "select perdure.put_schedule(%s, %s, every => '1 second', overlap => %s)"
    names = {"skip": "suspend", "queue": "wait", "cancel_previous": "wait", "allow": "wait"}
    fates = "select fate, count(*) from perdure.fires where schedule_key = %s group by 1"

    def found(key: str) -> dict[str, int]:
        return dict(database.rows(fates, [key]))

    async with running(database, service(runs)) as worker:
        for overlap, name in names.items():
            database.execute(put, [overlap, name, overlap])
        await worker.until(lambda: all(sum(found(key).values()) >= 3 for key in names))
        # The suspended occurrence counts as live.
        skipped = found("skip")
        assert skipped.pop("fired") == 1
        # Who looks a second late finds more than one instant.
        assert {"skipped"} <= skipped.keys() <= {"skipped", "coalesced"}
        states = "select s.state from perdure.tasks as t join perdure.task_states as s"
        states += " on s.id = t.id where t.schedule_key = %s order by t.id"
        queued = [state for (state,) in database.rows(states, ["queue"])]
        assert queued[0] == "running"
        assert {*queued[1:]} == {"blocked"}
        await worker.until(lambda: runs.most["allow"] >= 3)
        await worker.until(
            lambda: len([key for key, _ in runs.seen if key == "cancel_previous"]) > 1
        )
        for key in names:
            database.execute("select perdure.pause_schedule(%s)", [key])
        runs.go.set()
        left = (
            "select count(*) from perdure.tasks as t join perdure.task_states as s on s.id = t.id"
        )
        left += " where s.state not in ('completed', 'cancelled', 'suspended')"
        await worker.until(lambda: database.value(left) == 0)
    assert (runs.most["queue"], runs.most["cancel_previous"]) == (1, 1)
    order = [at for key, at in runs.seen if key == "queue"]
    assert order == sorted(order, key=str)
    assert len(order) == found("queue")["fired"]
    ended = [state for (state,) in database.rows(states, ["cancel_previous"])]
    # One that was cancelled while all were let go may have been faster.
    assert (ended[0], ended[-1]) == ("cancelled", "completed")
    kinds = "select distinct o.kind from perdure.outcomes as o where o.state = 'cancelled'"
    assert database.rows(kinds) == [("replaced",)]


@pytest.mark.conformance("C89")
async def test_what_nobody_ran_in_time_expires_and_retries_move_no_instant(
    database: Database,
) -> None:
    with looking(database) as by_hand:
        by_hand.put(name="again", every="60 seconds", expires_after="30 seconds", overlap="allow")
        # For a minute and three quarters nobody was there; then somebody looks, and again.
        by_hand.passes("105 seconds")
        by_hand.passes("20 seconds")
        assert by_hand.fires() == [(60, "fired", 1), (120, "fired", 1)]
        async with running(database, service(Runs())) as worker:
            late, in_time = [
                task for (task,) in database.rows("select id from perdure.tasks order by id")
            ]
            ended = await worker.ended(late)
            assert (ended["state"], ended["error"]["kind"]) == ("failed", "expired")
            ended = await worker.ended(in_time)
            assert (ended["state"], ended["attempt"]) == ("completed", 2)
        assert by_hand.next() == 180


@pytest.mark.conformance("C79")
def test_four_workers_of_which_one_is_killed_fire_each_instant_once(
    database: Database, tmp_path: Path
) -> None:
    database.execute(
        "select perdure.put_schedule('s', 'short', every => '1 second', overlap => 'allow')"
    )
    fired = "select count(*) from perdure.fires"
    with Fleet(database, "tests.kit.service:service", tmp_path) as fleet:
        workers = [fleet.start() for _ in range(4)]
        until(lambda: database.value(fired) >= 2)
        workers[0].kill()
        workers[1].signal(signal.SIGSTOP)
        frozen_at = database.value(fired)
        until(lambda: database.value(fired) >= frozen_at + LEASE + 1)
        workers[1].signal(signal.SIGCONT)
        until(lambda: database.value(fired) >= frozen_at + LEASE + 2)
        database.execute("select perdure.pause_schedule('s')")
        until(
            lambda: database.value(
                "select not exists (select from perdure.tasks as t where not exists"
                " (select from perdure.outcomes as o where o.task_id = t.id))"
            )
        )
    rows = database.rows(
        "select f.fire_at, f.fate, f.count, t.fire_at from perdure.fires as f"
        " left join perdure.tasks as t on t.id = f.task_id order by f.fire_at"
    )
    for (at, fate, count, made_for), following in pairwise(rows):
        # Each second is one row, but for those coalesced, which are counted.
        assert following[0] - at == timedelta(seconds=count)
        assert (made_for == at) == (fate == "fired")
    made = database.rows("select fire_at, count(*) from perdure.tasks group by 1 order by 1")
    assert made == [(at, 1) for at, fate, _, _ in rows if fate == "fired"]
    assert not came(lambda: database.rows("select from perdure.misplaced_tasks"), 0)
