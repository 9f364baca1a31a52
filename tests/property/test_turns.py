"""Turns of a schedule, however rarely somebody looks: each instant once, in order, within caps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from perdure.tasks.schedules import TURN_MOST, Fire, Schedule, Timing, look_at, turn
from perdure.tasks.triggers import Cron, Every, Trigger

BEGIN = datetime(2026, 10, 24, 22, tzinfo=UTC)  # hours before clocks in Berlin are set back
SECOND = timedelta(seconds=1)
GAPS = some.lists(some.floats(0.001, 9_000), min_size=1, max_size=8)


def spans(most: float) -> some.SearchStrategy[timedelta]:
    return some.floats(0, most).map(lambda seconds: timedelta(seconds=seconds))


@some.composite
def schedules(draw: some.DrawFn) -> Schedule:
    """Any that could be put."""
    trigger: Trigger = draw(
        some.one_of(
            some.builds(Every, some.floats(1, 5000)),
            some.sampled_from(
                [
                    Cron("* * * * *"),
                    Cron("*/7 * * * * *"),
                    Cron("30 2 * * *", "Europe/Berlin"),
                    Cron("0 */2 * * *", "Europe/Berlin"),
                    Cron("0,1,30 * * * *"),
                ]
            ),
        )
    )
    most = trigger.seconds * 0.999 if isinstance(trigger, Every) else 4000.0
    flex = draw(some.one_of(some.just(timedelta(0)), spans(most)))
    jitter = draw(spans(min(most, flex.total_seconds()) if flex else most))
    catch_up = draw(some.sampled_from(["latest", "all", "skip"]))
    timing = Timing(
        jitter=jitter,
        flex=flex,
        misfire_grace=draw(some.none() | spans(4000)),
        catch_up=catch_up,  # type: ignore[arg-type]
        max_catch_up=draw(some.integers(1, 8)),
        overlap="allow",
    )
    assert not list(timing.problems(trigger))
    first = trigger.grid(BEGIN).after(BEGIN)
    assert first is not None
    return Schedule("k", trigger, timing, BEGIN, first)


def turns(schedule: Schedule, gaps: list[float]) -> list[tuple[datetime, tuple[Fire, ...]]]:
    """What is decided at each look, the last of which is late enough for what it left."""
    found, now = [], BEGIN
    for gap in gaps:
        now += timedelta(seconds=gap)
        for _ in range(5):
            turned = turn(schedule, now)
            assert turned.next_fire_at is not None
            assert turned.look_at is not None
            if turned.fires:
                found.append((now, turned.fires))
            schedule = schedule._replace(next_fire_at=turned.next_fire_at)
            if turned.look_at > now:
                break
        else:
            raise AssertionError("a turn leaves something due again and again")
    return found


@settings(max_examples=60, deadline=None)
@given(schedules(), GAPS)
def test_each_instant_is_decided_once_and_in_order(schedule: Schedule, gaps: list[float]) -> None:
    grid = schedule.trigger.grid(BEGIN)
    expected = schedule.next_fire_at
    for now, fires in turns(schedule, gaps):
        for fire in fires:
            # The next on the grid; a run of instants of one fate ends before the next one begins.
            assert fire.fire_at == expected
            assert look_at(schedule, grid, fire.fire_at) <= now
            for _ in range(fire.instants):
                following = grid.after(expected)
                assert following is not None
                expected = following


@settings(max_examples=60, deadline=None)
@given(schedules(), GAPS)
def test_a_turn_fires_no_more_than_its_rules_allow(schedule: Schedule, gaps: list[float]) -> None:
    timing = schedule.timing
    most = timing.max_catch_up if timing.catch_up == "all" else 1
    grace = timing.misfire_grace
    if grace is None and timing.catch_up == "skip":
        grace = timedelta(seconds=60)
    for now, fires in turns(schedule, gaps):
        fired = [fire.fire_at for fire in fires if fire.fate == "fired"]
        assert len(fired) <= most
        assert all(fire.instants == 1 for fire in fires if fire.fate == "fired")
        if grace is not None:
            assert all(now - at <= grace + timing.jitter for at in fired)
        elif timing.catch_up != "skip":
            assert fired
        fates = [fire.fate for fire in fires]
        assert fates == sorted(fates, key=["missed", "coalesced", "fired"].index)
        assert "coalesced" not in fates or timing.catch_up == "latest"


@pytest.mark.parametrize("count", [TURN_MOST, TURN_MOST + 1, 3 * TURN_MOST])
def test_more_than_one_turn_carries_out_is_left_to_the_next(count: int) -> None:
    timing = Timing(catch_up="all", max_catch_up=10_000, overlap="allow")
    schedule = Schedule("k", Every(1), timing, BEGIN, BEGIN + SECOND)
    now = BEGIN + count * SECOND
    fired: list[datetime] = []
    while (turned := turn(schedule, now)).fires:
        assert len(turned.fires) <= TURN_MOST
        fired += [fire.fire_at for fire in turned.fires]
        assert turned.next_fire_at is not None
        schedule = schedule._replace(next_fire_at=turned.next_fire_at)
    assert fired == [BEGIN + number * SECOND for number in range(1, count + 1)]
