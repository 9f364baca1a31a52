"""What callers give, one by one: taken, or refused with the value and the remedy; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar

from perdure.errors import InvalidArgument
from perdure.store.operations import Operation

A = TypeVar("A")

DELAY_SECONDS_MAX: Final = 100 * 365.25 * 86_400
_BITS: Final = {"integer": 32, "bigint": 64}
_CAST: Final = re.compile(r"%\((\w+)\)s::([a-z]+(?: precision)?(?:\[\])?)")
_NEEDED: Final = frozenset({"id", "key", "wait_key"})
"""Parameters for which None means nothing."""


def checked(operation: Operation[A], statement: bytes) -> Operation[A]:
    """The operation, if each of its arguments is what the cast in its statement says.

    The database looks as well, but speaks of types of its own, and takes the text 'yes' for True.
    """
    for name, cast in _casts(statement):
        value = operation.params[name]
        if value is not None or name in _NEEDED:
            _check(name, cast, value)
    return operation


@lru_cache(maxsize=256)
def _casts(statement: bytes) -> tuple[tuple[str, str], ...]:
    return tuple(_CAST.findall(statement.decode()))


def _check(name: str, cast: str, value: object) -> None:
    if cast.endswith("[]"):
        for item in several(name, value, "texts" if cast == "text[]" else "numbers"):
            _check(name, cast.removesuffix("[]"), item)
    elif cast in _BITS:
        whole(name, value, bits=_BITS[cast])
    elif cast == "boolean" and not isinstance(value, bool):
        raise InvalidArgument(f"{name}={value!r}: give True or False")
    elif cast == "timestamptz":
        moment(name, value)
    elif cast == "double precision" and abs(seconds(name, value)) > DELAY_SECONDS_MAX:
        raise InvalidArgument(f"{name}={value!r}: must lie between 0 and 100 years")
    elif cast == "text":
        text(name, value)


def known(options: Mapping[str, object], of: type) -> None:
    """InvalidArgument for an option that a TypedDict does not have."""
    if unknown := sorted(options.keys() - of.__annotations__.keys()):
        there = ", ".join(sorted(of.__annotations__))
        raise InvalidArgument(f"{unknown[0]!r} is no option: there are {there}")


def seconds(field: str, value: object) -> float:
    """A duration in seconds, whichever way it was said; InvalidArgument if it is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise InvalidArgument(f"{field}={value!r}: give seconds or a timedelta")
    return float(value)


def span(field: str, value: float | timedelta | None) -> float | None:
    """A duration that can be waited for, or None."""
    if value is None:
        return None
    span = seconds(field, value)
    if not 0 <= span <= DELAY_SECONDS_MAX:
        raise InvalidArgument(f"{field}={value!r}: must lie between 0 and 100 years")
    return span


def moment(field: str, value: object) -> datetime | None:
    """A time with a zone, or None; InvalidArgument for anything else."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidArgument(f"{field}={value!r}: give a datetime with a time zone")
    return value


def whole(field: str, value: object, bits: int = 32) -> int | None:
    """A number that PostgreSQL can hold, or None where that means something."""
    if value is None and field not in _NEEDED:
        return None
    limit = 1 << (bits - 1)
    if isinstance(value, bool) or not isinstance(value, int) or not -limit <= value < limit:
        raise InvalidArgument(f"{field}={value!r}: give a whole number of {bits} bits")
    return value


def text(field: str, value: object) -> str:
    """A text that PostgreSQL can hold."""
    if not isinstance(value, str) or "\0" in value or not _encodable(value):
        raise InvalidArgument(f"{field}={value!r}: give a text without NUL and lone surrogates")
    return value


def optional_text(field: str, value: object) -> str | None:
    """The same, or None."""
    return None if value is None else text(field, value)


def several(field: str, value: object, what: str) -> list[Any]:
    """What is in a collection; a text is none."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        raise InvalidArgument(f"{field}={value!r}: give a list of {what}, not one")
    return list(value)


def texts(field: str, value: object) -> list[str] | None:
    """Texts that PostgreSQL can hold, or None."""
    return None if value is None else [text(field, item) for item in several(field, value, "texts")]


def many(field: str, value: object, check: Callable[[str, object], A]) -> list[A] | None:
    """One value or several as a list, each as `check` returns it; None as None."""
    if value is None:
        return None
    is_one = isinstance(value, str) or not isinstance(value, Collection)
    values = [value] if is_one else several(field, value, "them")
    return [check(field, item) for item in values]


def delays(value: object) -> list[float] | None:
    """Seconds before each retry, or None."""
    if value is None:
        return None
    return [seconds("retry_delays", item) for item in several("retry_delays", value, "seconds")]


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
