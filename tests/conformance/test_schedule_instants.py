"""Which instants of a schedule fire, which are caught up, and which are missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.house import ROOT
from tests.kit.looking import Looker, looking

from perdure.run import firing
from perdure.store.upkeep import Keep, prune_fires
from perdure.tasks.schedules import CatchUp, Schedule, Timing, look_at, turn
from perdure.tasks.triggers import Cron, Every

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def by_hand(database: Database) -> Iterator[Looker]:
    with looking(database) as looker:
        yield looker


@pytest.mark.conformance("C80")
def test_a_million_instants_stay_on_the_grid_each_due_within_its_jitter() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    timing = Timing(jitter=30 * SECOND)
    schedule = Schedule("nightly", Every(60), timing, anchor, anchor + MINUTE)
    grid = schedule.trigger.grid(anchor)
    dues = set()
    for number in range(1, 1_000_001):
        instant = anchor + number * MINUTE
        due = look_at(schedule, grid, instant)
        assert instant <= due < instant + 30 * SECOND
        if number % 1000 == 0:
            assert grid.after(instant - SECOND) == grid.after(instant - MINUTE) == instant
            dues.add(due - instant)
    assert len(dues) > 990
    # What every worker, whatever its version, computes for these.
    found = [look_at(schedule, grid, anchor + n * MINUTE) for n in (1, 2, 3)]
    assert [f"{at:%M:%S.%f}" for at in found] == [*("01:18.976807", "02:03.577809", "03:11.953735")]


@pytest.mark.conformance("C81")
def test_the_first_instants_are_these(by_hand: Looker) -> None:
    now = by_hand.database.value("select clock_timestamp()")
    by_hand.put("every", every="90 seconds")
    assert by_hand.next("every") == 90
    by_hand.put("started", every="60 seconds", start_at=now - 90 * SECOND)
    assert 10 * SECOND < by_hand.next_in("started") <= 30 * SECOND
    by_hand.put("ahead", every="60 seconds", start_at=now + 30 * SECOND)
    assert 10 * SECOND < by_hand.next_in("ahead") <= 30 * SECOND
    by_hand.put("cron", cron="* * * * *")
    assert timedelta(0) < by_hand.next_in("cron") <= MINUTE
    by_hand.put("late", once=now - HOUR)
    by_hand.put("later", once=now + HOUR)
    by_hand.put("too late", once=now - HOUR, misfire_grace="1 minute")
    fates = "select schedule_key, fire_at, fate from perdure.fires where schedule_key <> 'cron'"
    assert by_hand.database.rows(f"{fates} order by 1") == [
        ("late", now - HOUR, "fired"),
        ("too late", now - HOUR, "missed"),
    ]
    assert [by_hand.state(key) for key in ("late", "too late", "later")] == [
        *("finished", "finished", "active")
    ]


@pytest.mark.conformance("C82")
def test_of_ten_missed_instants_each_rule_makes_this(by_hand: Looker) -> None:
    by_hand.put("latest", every="60 seconds")
    by_hand.put("all", every="60 seconds", catch_up="all", max_catch_up=3, overlap="allow")
    by_hand.put("skip", every="60 seconds", catch_up="skip")
    by_hand.put("none", every="60 seconds", catch_up="skip", misfire_grace="10 seconds")
    by_hand.passes("10 minutes 30 seconds")
    assert by_hand.fires("latest") == [(60, "coalesced", 9), (600, "fired", 1)]
    fired = [(480, "fired", 1), (540, "fired", 1), (600, "fired", 1)]
    assert by_hand.fires("all") == [(60, "missed", 7), *fired]
    assert by_hand.fires("skip") == [(60, "missed", 9), (600, "fired", 1)]
    assert by_hand.fires("none") == [(60, "missed", 10)]
    keys = ("latest", "all", "skip", "none")
    assert [by_hand.next(key) for key in keys] == [660] * 4
    assert [by_hand.tasks(key) for key in keys] == [1, 3, 1, 0]
    made = "select count(*) from perdure.tasks as t join perdure.fires as f on f.task_id = t.id"
    same = " and f.fire_at = t.fire_at and f.schedule_key = t.schedule_key"
    assert by_hand.database.value(made + same) == 5


@pytest.mark.conformance("C82")
@pytest.mark.parametrize("trigger", [Every(1), Cron("* * * * * *")])
@pytest.mark.parametrize("catch_up", ["latest", "all", "skip"])
def test_a_week_of_seconds_is_caught_up_in_an_instant(
    trigger: Every | Cron, catch_up: CatchUp
) -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    timing = Timing(catch_up=catch_up, overlap="allow")
    schedule = Schedule("s", trigger, timing, anchor, anchor + SECOND)
    began = time.process_time()
    turned = turn(schedule, anchor + timedelta(days=7))
    assert time.process_time() - began < 0.5  # one by one they take seconds
    assert turned.fires[-1].fire_at == anchor + timedelta(days=7)
    assert turned.next_fire_at == anchor + timedelta(days=7, seconds=1)
    if isinstance(trigger, Every):
        assert sum(fire.instants for fire in turned.fires) == 7 * 24 * 3600


@pytest.mark.conformance("C83")
def test_what_is_later_than_the_grace_is_missed(by_hand: Looker) -> None:
    by_hand.put(every="60 seconds", misfire_grace="5 seconds")
    by_hand.passes("66 seconds")
    assert by_hand.fires() == [(60, "missed", 1)]
    assert by_hand.tasks() == 0
    by_hand.passes("55 seconds")
    assert by_hand.fires()[1:] == [(120, "fired", 1)]
    assert by_hand.tasks() == 1


@pytest.mark.conformance("C85")
def test_a_window_opens_before_the_instant(by_hand: Looker) -> None:
    by_hand.put(every="1 hour", flex="10 minutes", expires_after="0")
    by_hand.put("cron", cron="*/10 * * * *", flex="1 hour", overlap="allow")
    looks = "select look_at - next_fire_at from perdure.schedules where key = %s"
    assert by_hand.database.value(looks, ["s"]) == timedelta(minutes=-10)
    # No earlier than the instant before.
    assert by_hand.database.value(looks, ["cron"]) == timedelta(minutes=-10)
    assert by_hand.tasks("cron") == 1
    by_hand.passes("49 minutes 55 seconds")
    assert by_hand.fires() == []
    by_hand.passes("6 seconds")
    assert by_hand.fires() == [(3600, "fired", 1)]
    (task,) = by_hand.database.rows(
        "select s.state, t.fire_at - clock_timestamp(), t.expires_at - t.fire_at"
        " from perdure.tasks as t join perdure.task_states as s on s.id = t.id"
        " where t.schedule_key = 's'"
    )
    assert task[0] == "pending"
    assert timedelta(minutes=9) < task[1] < timedelta(minutes=10)
    # Without a worker it is there all the same, later.
    by_hand.put("late", every="1 hour", flex="10 minutes")
    by_hand.passes("70 minutes")
    assert by_hand.fires("late") == [(3600, "fired", 1)]
    with pytest.raises(psycopg.Error, match="flex") as caught:
        by_hand.put("wide", every="1 hour", flex="61 minutes")
    assert caught.value.sqlstate == "PD004"


@pytest.mark.conformance("C90")
def test_a_schedule_past_its_end_is_finished_and_kept(by_hand: Looker) -> None:
    now = by_hand.database.value("select clock_timestamp()")
    by_hand.put(every="60 seconds", start_at=now + MINUTE, end_at=now + 2 * MINUTE)
    last = now + 2 * MINUTE
    by_hand.database.execute("update perdure.schedules set look_at = %s", [now])
    assert by_hand.state() == "active"
    found = turn(Schedule("s", Every(60, now + MINUTE, last), Timing(), now, now + MINUTE), last)
    assert [fire.fire_at for fire in found.fires if fire.fate == "fired"] == [last]
    assert found.next_fire_at is None
    by_hand.put(every="60 seconds", start_at=now - HOUR, end_at=now - MINUTE)
    assert by_hand.state() == "finished"
    assert by_hand.put(every="60 seconds") == "updated"
    assert by_hand.state() == "active"


def test_what_became_of_instants_is_told_and_forgotten_in_time(by_hand: Looker) -> None:
    told: list[str] = []
    for name in ("schedule.fired", "schedule.missed", "schedule.skipped", "schedule.broken"):
        by_hand.bus.on(name, lambda event: told.append(f"{event.event} {event.schedule_key}"))
    by_hand.put(every="60 seconds")
    by_hand.put("strict", every="60 seconds", misfire_grace="1 second")
    by_hand.put("bad", cron="61 * * * *")
    by_hand.passes("70 seconds")
    by_hand.passes("60 seconds")
    assert told == [
        *("schedule.broken bad", "schedule.fired s", "schedule.missed strict"),
        *("schedule.skipped s", "schedule.missed strict"),
    ]
    keep = Keep(completed=60.0, failed=3600.0, cancelled=3600.0)
    assert prune_fires(by_hand.session, keep, 1) == 1
    assert prune_fires(by_hand.session, keep, 100) == 1
    assert prune_fires(by_hand.session, keep, 100) == 0
    assert by_hand.fires() == [(120, "skipped", 1)]
    by_hand.passes("60 seconds")
    assert [fate for _, fate, _ in by_hand.fires()] == ["skipped", "skipped"]


def test_a_look_reads_what_is_due_and_not_all_that_there_are(by_hand: Looker) -> None:
    by_hand.database.execute(
        "insert into perdure.schedules (key, name, trigger, planned, anchor, next_fire_at, look_at)"
        " select 'k' || n, 'a', t, t, now(), now() + interval '1 hour', now() + interval '1 hour'"
        " from generate_series(1, 10000) as n, (values ('{\"every\": 3600}'::jsonb)) as v (t)"
    )
    text = (ROOT / "service/perdure/store/sql/due_schedules.sql").read_text("utf-8")
    ((plan,),) = by_hand.database.rows(
        f"explain (analyze, buffers, format json) {text}", {"passed": ["x"], "at_most": 200}
    )
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 40
    by_hand.put(once="2000-01-02")
    assert by_hand.tasks() == 1


def test_a_look_ends_in_time_however_long_each_schedule_takes(
    by_hand: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "abcde":
        by_hand.put(key, cron="* * * * *")
    by_hand.database.execute(
        "update perdure.schedules set look_at = clock_timestamp(),"
        " next_fire_at = date_trunc('minute', clock_timestamp()) - interval '9 days'"
    )
    ticks = iter(range(1000))
    monkeypatch.setattr(firing, "time", SimpleNamespace(monotonic=lambda: next(ticks) * 0.2))
    made = [by_hand.look().made for _ in range(3)]
    assert made == [2, 2, 1]
    assert by_hand.look().held is False
