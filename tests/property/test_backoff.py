"""Backoff against a brute-force oracle in exact arithmetic, and the bounds of jitter."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.tasks.policies import (
    Delays,
    Exponential,
    Linear,
    RetryDefaults,
    RetryPolicy,
    jittered,
    retry_delay,
)

seconds = st.floats(0.001, 1e6)
failures = st.integers(1, 200)


@pytest.mark.conformance("C20")
@given(seconds, st.floats(1, 10), seconds, failures)
def test_exponential_is_the_power_until_the_cap(
    base: float, factor: float, cap: float, n: int
) -> None:
    exact = Fraction(base)
    for _ in range(n - 1):
        if exact >= Fraction(cap):
            break
        exact *= Fraction(factor)
    expected = float(min(Fraction(cap), exact))
    assert Exponential(base, factor, cap).delay(n) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 1e6), st.floats(1, 1e300), st.floats(0, 1e6), st.integers(1, 10**12))
def test_no_number_of_failures_overflows_or_passes_the_cap(
    base: float, factor: float, cap: float, n: int
) -> None:
    assert 0 <= Exponential(base, factor, cap).delay(n) <= cap
    assert 0 <= Linear(base, cap).delay(n) <= cap


@given(st.lists(seconds, min_size=1, max_size=5), failures)
def test_the_last_delay_of_a_list_repeats(listed: list[float], n: int) -> None:
    endless = listed + [listed[-1]] * 200
    assert Delays(listed).delay(n) == endless[n - 1]


@pytest.mark.conformance("C21")
@given(seconds, st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_jitter_only_shortens_and_never_by_more_than_its_part(
    delay: float, jitter: float, u: float
) -> None:
    result = jittered(delay, jitter, u)
    assert delay * (1 - jitter) * (1 - 1e-12) <= result <= delay


@given(st.lists(st.floats(), max_size=3), st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_delays_from_a_row_never_break_the_database(own: list[float], n: int, u: float) -> None:
    delay = retry_delay(RetryPolicy(), RetryDefaults(), own=own, thrown=True, n=n, u=u)
    assert 0 <= delay <= 3.2e9
