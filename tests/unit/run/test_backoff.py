"""The pauses between two tries while the database is away."""

from __future__ import annotations

import random

from perdure.run.loop import BACKOFF_SECONDS_MAX, Backoff

TRIES = 50


def test_pauses_grow_up_to_the_longest_and_no_further() -> None:
    backoff = Backoff(random.Random(1))
    pauses = [backoff.next() for _ in range(TRIES)]
    assert pauses[0] < BACKOFF_SECONDS_MAX / 4
    assert BACKOFF_SECONDS_MAX / 2 < max(pauses) <= BACKOFF_SECONDS_MAX


def test_whoever_must_be_back_sooner_never_pauses_longer() -> None:
    backoff = Backoff(random.Random(1))
    assert max(backoff.next(0.4) for _ in range(TRIES)) <= 0.4


def test_after_a_success_the_pauses_begin_anew() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(TRIES):
        backoff.next()
    backoff.reset()
    assert backoff.next() < BACKOFF_SECONDS_MAX / 4
