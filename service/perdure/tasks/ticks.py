"""The grid of a singleton's ticks: which instant comes next, whoever holds it."""

from __future__ import annotations

import math
from typing import Final

MADE_UP_SECONDS: Final = 60.0
"""Instants that were let pass, as in a take-over, are made up for; but for none older than this."""


def following(number: int, *, origin: float, interval: float, now: float) -> int:
    """The number of the instant that comes after `number`; instant n is `origin + n * interval`.

    `now` and `origin` are seconds by the database's clock. It is the next one, if need be late, but
    of those more than a minute late only the newest, and that only if no later one is over. None
    comes twice, unless the clock was set back by more than a minute.
    """
    newest = math.floor((now - origin) / interval)
    if (number - newest) * interval > max(interval, MADE_UP_SECONDS):
        return newest + 1
    oldest = math.ceil((now - MADE_UP_SECONDS - origin) / interval)
    return max(number + 1, min(oldest, newest))
