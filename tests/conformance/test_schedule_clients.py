"""Schedules as a client sees them: put, paused, run, overridden, previewed, declared by code.

To make an instant due, or an hour pass, the times of the row are moved, never the clock.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import QUICK
from tests.kit.running import Running, running

from perdure import Cron, Every, Once, ScheduleView, TaskClient, TaskContext, TaskService

HOUR = timedelta(hours=1)
HOURLY = Every(HOUR)
MOMENT = timedelta(seconds=1)
WORKERS = 20


def service(held: asyncio.Event | None = None) -> TaskService:
    """One task, which ends when it is let go of."""
    builder = TaskService.builder()

    @builder.task("tick")
    async def tick(context: TaskContext[dict[str, Any], None]) -> None:
        if held is not None:
            await held.wait()

    return builder.build()


class Scene:
    """A worker and a client on one database."""

    def __init__(self, worker: Running, client: TaskClient) -> None:
        self.worker = worker
        self.client = client

    async def now(self) -> datetime:
        """The clock that decides."""
        found: datetime = (await self.worker.ask("select clock_timestamp() as now"))[0]["now"]
        return found

    async def view(self, key: str) -> ScheduleView:
        """The schedule as it is."""
        found = await self.client.get_schedule(key)
        assert found is not None
        return found

    async def planned(self, key: str = "s") -> ScheduleView:
        """The schedule once a worker has looked at it since it was put or resumed."""

        async def looked() -> bool:
            (row,) = await self.worker.ask(
                "select look_at > clock_timestamp() or state not in ('active', 'paused') as done"
                " from perdure.schedules where key = %s", key,
            )  # fmt: skip
            return bool(row["done"])

        await self.worker.until(looked)
        return await self.view(key)

    async def shift(self, span: timedelta, key: str = "s") -> None:
        """Let so much time pass for one schedule."""
        columns = ("plan_from", "anchor", "next_fire_at", "look_at", "override_at", "last_fire_at")
        sets = ", ".join(f"{column} = {column} - %(span)s" for column in columns)
        connection = self.worker.database.connection
        connection.execute(
            f"update perdure.schedules set {sets} where key = %(key)s".encode(),
            {"span": span, "key": key},
        )
        self.worker.worker.beat_now()

    async def fates(self, key: str = "s") -> list[tuple[str, int]]:
        """What became of its instants, the oldest first."""
        fires = await self.client.schedule_fires(key)
        return [(fire.fate, fire.count) for fire in reversed(fires)]


def scene(database: Database, held: asyncio.Event | None = None) -> Any:
    """A scene for the life of a block."""

    class Made(AsyncExitStack):
        async def __aenter__(self) -> Any:
            await super().__aenter__()
            worker = await self.enter_async_context(running(database, service(held)))
            client = await self.enter_async_context(TaskClient(database.dsn))
            return Scene(worker, client)

    return Made()


@pytest.mark.conformance("C81")
async def test_the_first_instant_is_what_the_trigger_says(database: Database) -> None:
    async with scene(database) as s:
        now = await s.now()
        half = now.replace(minute=30, second=0, microsecond=0)
        past, coming = half - timedelta(days=900), half + timedelta(days=2)
        for key, trigger in {
            "plain": HOURLY,
            "old": Every(HOUR, start=past),
            "coming": Every(HOUR, start=coming),
            "cron": Cron("* * * * *"),
            "late cron": Cron("0 12 * * *", start=coming),
            "once": Once(coming),
            "missed": Once(past),
        }.items():
            assert await s.client.put_schedule(key, "tick", trigger) == "created"
        first = {key: (await s.planned(key)).next_fire_at for key in ("plain", "old", "cron")}
        plain = await s.view("plain")
        assert abs(first["plain"] - plain.created_at - HOUR) < MOMENT
        assert first["old"].minute == 30
        assert now < first["old"] <= now + HOUR
        cron = await s.view("cron")
        assert cron.created_at < first["cron"] <= cron.created_at + timedelta(minutes=1)
        assert (first["cron"].second, first["cron"].microsecond) == (0, 0)
        assert (await s.planned("coming")).next_fire_at == coming
        late = (await s.planned("late cron")).next_fire_at
        assert (late.hour, late.minute, late > coming, late - coming < timedelta(days=1)) == (
            12,
            0,
            True,
            True,
        )
        assert (await s.planned("once")).next_fire_at == coming
        missed = await s.planned("missed")
        assert (missed.state, missed.next_fire_at, missed.fired) == ("finished", None, 1)
        (fire,) = await s.client.schedule_fires("missed")
        assert (fire.fire_at, fire.fate) == (past, "fired")
        assert [await s.fates(key) for key in ("plain", "old", "coming", "once")] == [[]] * 4


@pytest.mark.conformance("C86")
async def test_a_pause_passes_over_instants_and_a_run_by_hand_touches_nothing(
    database: Database,
) -> None:
    async with scene(database) as s:
        await s.client.put_schedule("s", "tick", HOURLY)
        before = await s.planned()
        assert await s.client.pause_schedule("s") == "paused"
        ran = await s.client.run_schedule("s")
        assert ran.answer == "fired"
        await s.worker.ended(ran.task_id)
        (task,) = await s.worker.ask("select fire_at, schedule_key from perdure.tasks")
        assert (task["fire_at"], task["schedule_key"]) == (None, "s")
        paused = await s.view("s")
        assert (paused.state, paused.next_fire_at) == ("paused", before.next_fire_at)

        await s.shift(3.5 * HOUR)  # three instants
        assert await s.client.resume_schedule("s") == "resumed"
        after = await s.planned()
        assert after.next_fire_at == before.next_fire_at - 3.5 * HOUR + 3 * HOUR
        assert (after.state, await s.fates()) == ("active", [("manual", 1)])

        await s.client.pause_schedule("s")
        await s.shift(3.5 * HOUR)
        assert await s.client.resume_schedule("s", catch_up=True) == "resumed"
        caught = await s.planned()
        assert sorted(await s.fates()) == [("coalesced", 3), ("fired", 1), ("manual", 1)]
        assert (caught.fired, caught.coalesced, caught.manual, caught.missed) == (1, 3, 1, 0)


@pytest.mark.conformance("C87")
async def test_an_overridden_instant_fires_once_there_and_then_on_the_grid(
    database: Database,
) -> None:
    async with scene(database) as s:
        await s.client.put_schedule("s", "tick", HOURLY)
        nominal = (await s.planned()).next_fire_at
        soon = await s.now() + timedelta(milliseconds=300)
        assert await s.client.override_next("s", soon) == "set"
        await s.worker.until(s.fates)
        (fire,) = await s.client.schedule_fires("s")
        assert (fire.fire_at, fire.fate) == (soon, "fired")
        view = await s.planned()
        assert (view.next_fire_at, view.override_at) == (nominal + HOUR, None)

        later = view.next_fire_at + 0.5 * HOUR
        await s.client.override_next("s", later)
        assert await s.client.put_schedule("s", "tick", HOURLY, {"a": 1}) == "updated"
        view = await s.planned()
        assert (view.next_fire_at, view.override_at) == (later, later)
        passed = later - await s.now()
        await s.shift(passed)
        await s.worker.until(lambda: _many(s.client, 2))
        newest, _ = await s.client.schedule_fires("s")
        assert newest.fire_at == later - passed
        view = await s.planned()
        assert (view.next_fire_at, view.override_at) == (later - passed + 0.5 * HOUR, None)

        await s.client.override_next("s", later)
        assert await s.client.override_next("s", None) == "set"
        assert (await s.planned()).next_fire_at == view.next_fire_at


async def _many(client: TaskClient, count: int, key: str = "s") -> bool:
    return len(await client.schedule_fires(key)) >= count


@pytest.mark.conformance("C88")
async def test_a_put_keeps_the_phase_unless_it_is_told_otherwise(database: Database) -> None:
    held = asyncio.Event()
    minute, longer = Every(60), Every(90)
    async with scene(database, held) as s:
        await s.client.put_schedule("s", "tick", minute)
        await s.planned()
        await s.shift(timedelta(seconds=61))
        await s.worker.until(lambda: _many(s.client, 1))
        view = await s.planned()
        (fire,) = await s.client.schedule_fires("s")
        await s.worker.state(fire.task_id, "running")
        assert await s.client.put_schedule("s", "tick", minute) == "unchanged"
        same = await s.view("s")
        assert (same.next_fire_at, same.generation) == (view.next_fire_at, 1)

        assert await s.client.put_schedule("s", "tick", minute, {"a": 1}) == "updated"
        told = await s.planned()
        assert (told.next_fire_at, told.generation) == (view.next_fire_at, 2)
        assert (told.metadata, told.live) == ({"a": 1}, 1)
        assert (await s.worker.task(fire.task_id))["state"] == "running"

        assert await s.client.put_schedule("s", "tick", longer, {"a": 1}) == "updated"
        slower = await s.planned()
        assert slower.next_fire_at == fire.fire_at + timedelta(seconds=90)
        before = await s.now()
        await s.client.put_schedule("s", "tick", longer, {"a": 1}, keep_phase=False)
        anew = await s.planned()
        assert before <= anew.next_fire_at - timedelta(seconds=90) <= await s.now()
        await s.client.pause_schedule("s")
        await s.client.put_schedule("s", "tick", minute)
        assert (await s.planned()).state == "paused"
        assert (await s.worker.task(fire.task_id))["state"] == "running"
        held.set()
        await s.worker.ended(fire.task_id)


@pytest.mark.conformance("C90")
async def test_a_broken_schedule_is_mended_by_a_put_and_a_finished_one_stays(
    database: Database,
) -> None:
    async with scene(database) as s:
        database.execute("select perdure.put_schedule('s', 'tick', cron => '61 * * * *')")
        database.execute("select perdure.put_schedule('good', 'tick', every => '1 second')")
        broken = await s.planned()
        assert (broken.state, broken.next_fire_at) == ("broken", None)
        assert "minute '61'" in broken.problem
        assert await s.client.preview_schedule("s") == []
        assert await s.client.pause_schedule("s") == "broken"
        await s.worker.until(lambda: s.fates("good"))
        assert await s.fates() == []
        assert await s.client.put_schedule("s", "tick", Cron("* * * * *")) == "updated"
        mended = await s.planned()
        assert (mended.state, mended.problem, mended.next_fire_at is None) == (
            "active",
            None,
            False,
        )

        end = await s.now() + 1.5 * HOUR
        await s.client.put_schedule("end", "tick", Every(HOUR, end=end))
        await s.planned("end")
        await s.client.override_next("end", await s.now())
        await s.worker.until(lambda: s.fates("end"))
        # The second instant would come after the end.
        over = await s.planned("end")
        assert (over.state, over.next_fire_at, over.fired) == ("finished", None, 1)
        assert await s.client.preview_schedule("end") == []
        (fire,) = await s.client.schedule_fires("end")
        await s.worker.ended(fire.task_id)
        assert (await s.client.run_schedule("end")).answer == "fired"


@pytest.mark.conformance("C91")
async def test_twenty_workers_that_declare_schedules_at_once_make_each_once(
    database: Database,
) -> None:
    builder = TaskService.builder()

    @builder.schedule(Cron("* * * * * *"), key="one", overlap="allow", catch_up="all")
    @builder.schedule(Cron("* * * * * *"), key="two", overlap="allow", catch_up="all")
    @builder.task("tick")
    async def tick(context: TaskContext[dict[str, Any], None]) -> None: ...

    built = builder.build()
    built.override({**QUICK, "dsn": database.dsn})
    async with AsyncExitStack() as stack, TaskClient(database.dsn) as client:
        starts = [stack.enter_async_context(built.worker()) for _ in range(WORKERS)]
        workers = await asyncio.gather(*starts)
        rows = database.rows("select schedules from perdure.workers")
        assert rows == [(["two", "one"],)] * WORKERS
        await Running(database, built, workers[0]).until(lambda: _many(client, 3, "one"))
        states = await client.schedules()
        seen = [(state.key, state.generation, state.declared) for state in states]
        assert seen == [("one", 1, True), ("two", 1, True)]
        for key in ("one", "two"):
            fires = await client.schedule_fires(key)
            assert {(fire.fate, fire.count) for fire in fires} == {("fired", 1)}
            steps = {b.fire_at - a.fire_at for a, b in pairwise(reversed(fires))}
            assert steps == {timedelta(seconds=1)}
    doubled = database.rows(
        "select schedule_key, fire_at from perdure.tasks group by 1, 2 having count(*) > 1"
    )
    assert doubled == []
    both = database.value(
        "select count(*) from (select fire_at from perdure.tasks group by 1 having count(*) = 2) x"
    )
    assert both >= 2


@pytest.mark.conformance("C92")
async def test_a_preview_changes_nothing_and_equals_what_then_happens(database: Database) -> None:
    rows = "select key, xmin::text from perdure.schedules order by key"
    keys = ("latest", "all", "skip", "graceful", "over", "paused")
    async with scene(database) as s:
        put = s.client.put_schedule
        await put("latest", "tick", HOURLY, overlap="allow")
        await put("all", "tick", HOURLY, catch_up="all", max_catch_up=2, overlap="allow")
        noon = await s.now() + 12 * HOUR
        daily = Cron(f"{noon.minute} {noon.hour} * * *")
        await put("skip", "tick", daily, catch_up="skip")
        await put("graceful", "tick", HOURLY, misfire_grace=2.6 * 3600, overlap="allow")
        await put("over", "tick", HOURLY)
        await put("paused", "tick", HOURLY)
        for key in keys:
            await s.planned(key)
        await s.client.override_next("over", await s.now() + 5 * HOUR)
        await s.client.pause_schedule("paused")
        for key in keys:
            await s.planned(key)
    previews: dict[str, list[datetime]] = {}
    async with TaskClient(database.dsn) as client:
        for key in keys:
            columns = ("plan_from", "anchor", "next_fire_at", "look_at", "override_at")
            span = "72 hours" if key == "skip" else "3.5 hours"
            sets = ", ".join(f"{column} = {column} - interval '{span}'" for column in columns)
            database.execute(f"update perdure.schedules set {sets} where key = %s", (key,))
        before = database.rows(rows)
        for key in keys:
            previews[key] = await client.preview_schedule(key, 4)
        assert database.rows(rows) == before
    async with scene(database) as s:
        await s.client.resume_schedule("paused")
        for key, fired in {
            "latest": 1,
            "all": 2,
            "skip": 0,
            "graceful": 1,
            "over": 0,
            "paused": 0,
        }.items():
            view = await s.planned(key)
            fires = await s.client.schedule_fires(key)
            happened = [fire.fire_at for fire in reversed(fires) if fire.fate == "fired"]
            assert len(happened) == fired, key
            assert [*happened, view.next_fire_at] == previews[key][: fired + 1], key
            # The same again for what is to come.
            assert (await s.client.preview_schedule(key, 4))[: 4 - fired] == previews[key][fired:]

        for key, trigger in {"second": Every(1), "even": Cron("*/2 * * * * *")}.items():
            await s.client.put_schedule(key, "tick", trigger, overlap="allow", catch_up="all")
        await s.planned("second")
        await s.planned("even")
        coming = {key: await s.client.preview_schedule(key, 3) for key in ("second", "even")}
        for key, instants in coming.items():
            await s.worker.until(lambda key=key, last=instants[1]: _past(s, key, last))
            fires = await s.client.schedule_fires(key)
            happened = [fire.fire_at for fire in fires if fire.fire_at >= instants[0]]
            assert [*reversed(happened)][:2] == instants[:2]


async def _past(s: Scene, key: str, instant: datetime) -> bool:
    fires = await s.client.schedule_fires(key, limit=1)
    return bool(fires) and fires[0].fire_at >= instant
