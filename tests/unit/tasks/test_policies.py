"""Limits, backoff and what users may say about them, by example."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from perdure.tasks.outcomes import Cancelled, Failure, Retry, Success, Suspended
from perdure.tasks.policies import (
    UNLIMITED,
    Delays,
    Exponential,
    Linear,
    RetryDefaults,
    RetryPolicy,
    Timeouts,
    is_last_attempt,
    jittered,
    limit,
    retry_delay,
)


@pytest.mark.conformance("C20")
def test_formulas_and_lists_give_the_delays_that_they_say() -> None:
    exponential = Exponential(1, 2, cap=10)
    assert [exponential.delay(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert exponential.delay(10_000) == 10
    assert [Linear(3, cap=10).delay(n) for n in range(1, 5)] == [3, 6, 9, 10]
    assert [Delays([1, timedelta(seconds=5)]).delay(n) for n in range(1, 4)] == [1, 5, 5]


@pytest.mark.conformance("C21")
def test_jitter_takes_half_of_its_part_on_average() -> None:
    draw = random.Random(7)
    delays = [jittered(100, 0.2, draw.random()) for _ in range(10_000)]
    assert all(80 < delay <= 100 for delay in delays)
    assert sum(delays) / len(delays) == pytest.approx(90, rel=0.02)


@pytest.mark.conformance("C22")
def test_scheduler_delays_hold_for_thrown_failures_without_a_backoff_of_their_own() -> None:
    defaults = RetryDefaults(scheduler_retry_delays=(0.0, 7.0))

    def delay(n: int, policy: RetryPolicy, *, thrown: bool = True) -> float:
        return retry_delay(policy, defaults, own=None, thrown=thrown, n=n, u=0.0)

    assert [delay(n, RetryPolicy()) for n in (1, 2, 3)] == [0, 7, 7]
    assert delay(1, RetryPolicy(), thrown=False) == 10
    assert delay(1, RetryPolicy(backoff=Delays([3]))) == 3


@pytest.mark.conformance("C18")
def test_the_row_beats_the_task_and_the_task_beats_the_settings() -> None:
    defaults = RetryDefaults(scheduler_retry_count=5)
    policy = RetryPolicy(max_retries=1)
    assert limit(policy, defaults, own=4, thrown=True) == 4
    assert limit(policy, defaults, own=-1, thrown=False) == UNLIMITED
    assert limit(policy, defaults, own=None, thrown=True) == 1
    assert limit(RetryPolicy(), defaults, own=None, thrown=True) == 5
    assert limit(RetryPolicy(), defaults, own=None, thrown=False) == 3


@pytest.mark.conformance("C24")
def test_the_last_attempt_is_the_one_after_which_no_failure_is_retried() -> None:
    def last(policy: RetryPolicy, defaults: RetryDefaults, failures: int) -> bool:
        return is_last_attempt(policy, defaults, own=None, failures=failures)

    assert [last(RetryPolicy(), RetryDefaults(), n) for n in range(4)] == [False] * 3 + [True]
    five = RetryDefaults(scheduler_retry_count=5)
    assert [last(RetryPolicy(), five, n) for n in (4, 5)] == [False, True]
    assert last(RetryPolicy(max_retries=0), RetryDefaults(), 0)
    assert not last(RetryPolicy(max_retries=UNLIMITED), RetryDefaults(), 1000)


def test_classes_given_up_win_over_classes_to_retry() -> None:
    policy = RetryPolicy(retry_on=(LookupError,), give_up_on=(KeyError,))
    assert policy.gives_up(KeyError)
    assert policy.gives_up(ValueError)
    assert not policy.gives_up(IndexError)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Delays([]),
        lambda: Delays([1, -1]),
        lambda: Exponential(math.nan),
        lambda: Exponential(factor=0.5),
        lambda: Linear(-1),
        lambda: RetryPolicy(max_retries=-2),
        lambda: RetryPolicy(jitter=1.5),
        lambda: Timeouts(soft=5, hard=5),
        lambda: Timeouts(soft=0),
        lambda: Retry(after=-1),
        lambda: Retry(after=math.inf),
        lambda: Suspended(until=datetime(2030, 1, 1)),  # noqa: DTZ001
        lambda: Suspended(until=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))),
        lambda: Suspended(wait_key=""),
        lambda: Suspended(wait_key="x" * 501),
        lambda: Suspended(wait_key="a\0b"),
        lambda: Suspended(wait_key="\ud800"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_outcomes_take_their_values_by_position() -> None:
    assert Success(1).result == 1
    assert not Failure("no").final
    assert Retry(timedelta(minutes=1)).after_seconds == 60
    assert Retry().after_seconds is None
    assert Cancelled().error is None
    until = datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert Suspended(until).until_text == datetime(2030, 1, 1, tzinfo=UTC).isoformat()
    assert Suspended().until_text is None


def test_policies_print_as_they_are_written() -> None:
    assert repr(Exponential()) == "Exponential(base=10, factor=2, cap=3600)"
    assert repr(Linear()) == "Linear(step=30, cap=3600)"
    assert repr(Delays([1])) == "Delays([1.0])"
