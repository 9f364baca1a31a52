"""Retry, backoff and timeouts: what users say about time, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final, Literal, TypeAlias, get_args

from perdure.tasks.outcomes import DELAY_SECONDS_MAX, seconds_of

UNLIMITED = -1
"""As a number of retries: it never ends."""

UniquePolicy: TypeAlias = Literal["keep", "replace", "append", "update", "reject"]
"""What becomes of an enqueue whose unique key is held."""
UNIQUE_POLICIES: Final[tuple[UniquePolicy, ...]] = get_args(UniquePolicy)


class SoftTimeout(TimeoutError):
    """The run was asked to stop because its soft timeout was over, and did not return."""


class HardTimeout(TimeoutError):
    """The run was broken off because its hard timeout was over."""


class Exponential:
    """Delays base, base x factor, base x factor^2, ..., none above the cap.

    `base` and `cap` are seconds or timedeltas (default 10 s and 1 h), `factor` at least 1
    (default 2). ValueError for anything else.
    """

    __slots__ = ("base", "cap", "factor")
    jitter: ClassVar[float] = 0.2

    def __init__(
        self,
        base: float | timedelta = 10.0,
        factor: float = 2.0,
        cap: float | timedelta = 3600.0,
    ) -> None:
        self.base = seconds_of(base)
        self.cap = seconds_of(cap)
        if not (isinstance(factor, int | float) and math.isfinite(factor) and factor >= 1):
            raise ValueError(f"factor={factor!r}: give a number of 1 or more")
        self.factor = float(factor)

    def delay(self, n: int) -> float:
        """Seconds before the run that follows failure n (from 1 on)."""
        if self.base >= self.cap or self.base == 0:
            return min(self.base, self.cap)
        # The exponent is bounded before the power is taken: failure 10,000 must not overflow.
        bound = min(math.log(self.cap) - math.log(self.base), 700.0)
        if (n - 1) * math.log(self.factor) > bound:
            return self.cap
        return min(self.cap, self.base * self.factor ** (n - 1))

    def __repr__(self) -> str:
        return f"Exponential(base={self.base:g}, factor={self.factor:g}, cap={self.cap:g})"


class Linear:
    """Delays step, 2 x step, 3 x step, ..., none above the cap.

    Both are seconds or timedeltas (default 30 s and 1 h); ValueError for anything else.
    """

    __slots__ = ("cap", "step")
    jitter: ClassVar[float] = 0.2

    def __init__(self, step: float | timedelta = 30.0, cap: float | timedelta = 3600.0) -> None:
        self.step = seconds_of(step)
        self.cap = seconds_of(cap)

    def delay(self, n: int) -> float:
        """Seconds before the run that follows failure n (from 1 on)."""
        return min(self.cap, self.step * n)

    def __repr__(self) -> str:
        return f"Linear(step={self.step:g}, cap={self.cap:g})"


class Delays:
    """A list of delays, in seconds or timedeltas, whose last entry repeats.

    ValueError if it is empty or has an entry that is no delay, TypeError if it is no list.
    """

    __slots__ = ("seconds",)
    jitter: ClassVar[float] = 0.0

    def __init__(self, delays: Sequence[float | timedelta]) -> None:
        if isinstance(delays, str) or not isinstance(delays, Sequence):
            raise TypeError(f"delays={delays!r}: give a list of seconds or timedeltas")
        if not delays:
            raise ValueError("a list of delays needs at least one entry")
        self.seconds = tuple(seconds_of(delay) for delay in delays)

    def delay(self, n: int) -> float:
        """Seconds before the run that follows failure n (from 1 on)."""
        return self.seconds[min(n, len(self.seconds)) - 1]

    def __repr__(self) -> str:
        return f"Delays({list(self.seconds)})"


Backoff: TypeAlias = Exponential | Linear | Delays
"""How the delays before retries grow."""
DEFAULT_BACKOFF = Exponential()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What `with_retry` says about one task; None: the settings decide.

    `max_retries` is the number of retries or UNLIMITED, `jitter` lies in 0..1. An exception is
    retried if it is an instance of a class in `retry_on` (None: of any) and of none in
    `give_up_on`. ValueError for numbers outside.
    """

    max_retries: int | None = None
    backoff: Backoff | None = None
    jitter: float | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        most, jitter, backoff = self.max_retries, self.jitter, self.backoff
        if most is not None and (type(most) is not int or most < UNLIMITED):
            raise ValueError(f"max_retries={most!r}: give 0 or more, or UNLIMITED")
        if jitter is not None and not (isinstance(jitter, int | float) and 0 <= jitter <= 1):
            raise ValueError(f"jitter={jitter!r}: give a number from 0 to 1")
        if backoff is not None and not isinstance(backoff, Backoff):
            raise ValueError(f"backoff={backoff!r}: give Exponential, Linear or Delays")

    def gives_up(self, thrown: type[BaseException]) -> bool:
        """Whether a failure by an exception of this class is final."""
        if issubclass(thrown, self.give_up_on):
            return True
        return self.retry_on is not None and not issubclass(thrown, self.retry_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Wall-clock seconds per run, from the start of the handler; None: no limit.

    At `soft` the run is asked to stop, at `hard` it is broken off. ValueError unless both are
    positive and hard > soft.
    """

    soft: float | None = None
    hard: float | None = None

    def __post_init__(self) -> None:
        for seconds in (self.soft, self.hard):
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise ValueError(f"{seconds!r} is not a timeout: give a positive number of seconds")
        if self.soft is not None and self.hard is not None and self.hard <= self.soft:
            raise ValueError(f"hard={self.hard:g} must be longer than soft={self.soft:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDefaults:
    """The settings' part: what holds where neither the task's row nor `with_retry` says anything.

    `scheduler_retry_count` and `scheduler_retry_delays` (seconds), where set, hold for thrown
    failures instead of `max_retry_count` and the default backoff.
    """

    max_retry_count: int = 3
    scheduler_retry_count: int | None = None
    scheduler_retry_delays: tuple[float, ...] | None = None


def limit(policy: RetryPolicy, defaults: RetryDefaults, *, own: int | None, thrown: bool) -> int:
    """How many failures are retried, or UNLIMITED. `own` is the `max_retries` of the task's row."""
    if own is not None:
        return max(own, UNLIMITED)
    if policy.max_retries is not None:
        return policy.max_retries
    if thrown and defaults.scheduler_retry_count is not None:
        return defaults.scheduler_retry_count
    return defaults.max_retry_count


def is_last_attempt(
    policy: RetryPolicy, defaults: RetryDefaults, *, own: int | None, failures: int
) -> bool:
    """Whether no kind of failure of this run would be retried; `failures` are those before it."""
    limits = [limit(policy, defaults, own=own, thrown=thrown) for thrown in (False, True)]
    return UNLIMITED not in limits and failures + 1 > max(limits)


def jittered(delay: float, jitter: float, u: float) -> float:
    """The delay shortened by up to `jitter` of it; u is uniform in [0, 1)."""
    return delay * (1.0 - jitter * u)


def retry_delay(
    policy: RetryPolicy,
    defaults: RetryDefaults,
    *,
    own: Sequence[float] | None,
    thrown: bool,
    n: int,
    u: float,
) -> float:
    """Seconds before the next run, after failure n (the present one included).

    `own` are the `retry_delays` of the task's row. The jitter is that of the policy, else 0.2 for
    formulas and none for lists. Never raises: a delay that is none counts as 0 or as the longest.
    """
    backoff: Backoff = policy.backoff or DEFAULT_BACKOFF
    listed = own
    if not listed and thrown and policy.backoff is None:
        listed = defaults.scheduler_retry_delays
    if listed:
        delay = listed[min(n, len(listed)) - 1]
        delay = min(max(delay, 0.0), DELAY_SECONDS_MAX) if delay == delay else 0.0  # noqa: PLR0124 (NaN)
        usual = Delays.jitter
    else:
        delay, usual = backoff.delay(n), backoff.jitter
    return jittered(delay, usual if policy.jitter is None else policy.jitter, u)
