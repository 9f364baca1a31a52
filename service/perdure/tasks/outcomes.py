"""What a handler returns: Success, Failure, Retry, Suspended, Cancelled.

Next and End are what the handler of a state machine's state returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Never, TypeAlias

from typing_extensions import TypeVar

R_co = TypeVar("R_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
S_co = TypeVar("S_co", covariant=True, default=Any)
EndR_co = TypeVar("EndR_co", covariant=True, default=Never)
EndE_co = TypeVar("EndE_co", covariant=True, default=Never)

DELAY_SECONDS_MAX = 100 * 365.25 * 86_400.0
WAIT_KEY_BYTES_MAX = 500


def seconds_of(value: float | timedelta) -> float:
    """A length of time in seconds; ValueError unless it lies within 0 and a hundred years."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not (math.isfinite(seconds) and 0 <= seconds <= DELAY_SECONDS_MAX):
        raise ValueError(f"{value!r} is not a delay: give 0 or more seconds, or a timedelta")
    return float(seconds)


@dataclass(frozen=True, slots=True)
class Success(Generic[R_co]):
    """The task is completed, with this result. The same as returning the result itself."""

    result: R_co


@dataclass(frozen=True, slots=True)
class Failure(Generic[E_co]):
    """The run has failed with a typed error; retried by policy unless `final`."""

    error: E_co
    final: bool = False


@dataclass(frozen=True, slots=True)
class Retry(Generic[E_co]):
    """The run has failed and should be tried again, counted as a returned failure.

    `after`, in seconds or a timedelta, is kept exactly: no jitter, no cap. None: the backoff.
    ValueError if it is negative, not finite or longer than a hundred years.
    """

    after: float | timedelta | None = None
    error: E_co | None = None

    def __post_init__(self) -> None:
        if self.after is not None:
            seconds_of(self.after)

    @property
    def after_seconds(self) -> float | None:
        """For the runtime: `after` in seconds."""
        return None if self.after is None else seconds_of(self.after)


@dataclass(frozen=True, slots=True)
class Suspended:
    """The task lets go of its worker and waits until it is proceeded, or until a time.

    `until` needs a time zone; one in the past resumes at once. `wait_key` (1 to 500 bytes) is what
    a signal can find it by. Both: whichever comes first. Neither: for ever. ValueError otherwise.
    """

    until: datetime | None = None
    wait_key: str | None = None

    def __post_init__(self) -> None:
        if self.until is not None and not isinstance(self.until, datetime):
            raise TypeError(f"until={self.until!r}: give a datetime with a time zone")
        if self.until is not None and self.until.utcoffset() is None:
            raise ValueError(f"until={self.until!r} has no time zone: use datetime.now(UTC) + ...")
        _ = self.until_text
        key = self.wait_key
        if key is None:
            return
        if not isinstance(key, str):
            raise TypeError(f"wait_key={key!r}: give a text")
        if not 0 < len(key.encode("utf-8", "surrogatepass")) <= WAIT_KEY_BYTES_MAX:
            raise ValueError(f"a wait key has 1 to {WAIT_KEY_BYTES_MAX} bytes, not {len(key)}")
        if "\0" in key or any("\ud800" <= c <= "\udfff" for c in key):
            raise ValueError(f"the wait key {key!r} cannot be stored as text")

    @property
    def until_text(self) -> str | None:
        """For the runtime: `until` as ISO 8601 text in UTC, as the database takes it."""
        if self.until is None:
            return None
        try:
            return self.until.astimezone(UTC).isoformat()
        except OverflowError as error:
            raise ValueError(f"until={self.until!r} lies outside the years 1 to 9999") from error


@dataclass(frozen=True, slots=True)
class Cancelled(Generic[E_co]):
    """The task ends as cancelled by its own handler."""

    error: E_co | None = None


Outcome: TypeAlias = Success[R_co] | Failure[E_co] | Retry[E_co] | Suspended | Cancelled[E_co]
"""What a handler may return instead of its result, for annotations and `match`."""


@dataclass(frozen=True, slots=True)
class Next(Generic[S_co]):
    """A state machine goes on in this state: it is saved, then its handler runs in the same run."""

    state: S_co


@dataclass(frozen=True, slots=True)
class End(Generic[S_co, EndR_co, EndE_co]):
    """A state machine's run ends with this outcome, and with this state saved in the same moment.

    The run that comes after it, if one does, begins in that state. `End[S]` stands for ends without
    result or error, such as `Suspended`; `End[S, R, E]` names them.
    """

    state: S_co
    outcome: Outcome[EndR_co, EndE_co]
