"""The grid of a singleton's ticks, against a list of instants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure.tasks.ticks import MADE_UP_SECONDS, following

ORIGIN = 1_000.0


def at(number: int, now: float, interval: float = 10.0) -> int:
    return following(number, origin=ORIGIN, interval=interval, now=now)


def test_the_next_instant_follows_the_last() -> None:
    assert at(0, ORIGIN) == 1
    assert at(3, ORIGIN + 30.001) == 4
    assert at(3, ORIGIN + 29.9) == 4  # the clock of another process, a little behind


def test_instants_of_a_take_over_are_made_up_for_one_after_the_other() -> None:
    assert [at(number, ORIGIN + 58) for number in (2, 3, 4, 5)] == [3, 4, 5, 6]


def test_of_older_ones_only_what_is_a_minute_late_comes_and_at_least_the_newest() -> None:
    week = 7 * 86_400.0
    assert at(1, ORIGIN + week) == (week - MADE_UP_SECONDS) / 10
    assert at(1, ORIGIN + week + 1800, interval=3600) == week // 3600


def test_a_clock_that_was_set_back_by_an_hour_does_not_stop_the_ticks_for_an_hour() -> None:
    assert at(1000, ORIGIN + 10_000 - 3600) == 641
    assert at(1000, ORIGIN + 10_000 - 30) == 1001


@given(
    interval=st.floats(0.01, 5_000),
    steps=st.lists(st.floats(0, 100), min_size=1, max_size=50),
)
def test_while_nobody_is_away_for_a_minute_no_instant_is_missing_and_none_comes_twice(
    interval: float, steps: list[float]
) -> None:
    now, number, seen = ORIGIN, 0, [0]
    for step in steps:
        now += min(step, MADE_UP_SECONDS / 2)
        for _ in range(20):
            coming = following(number, origin=ORIGIN, interval=interval, now=now)
            if ORIGIN + coming * interval > now:
                break
            number = coming
            seen.append(number)
        else:
            now = ORIGIN + number * interval
    assert seen == list(range(len(seen)))
