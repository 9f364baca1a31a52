"""Durations and byte sizes: how people write them, and how they are shown to people."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from types import MappingProxyType

_NAMED = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)\s*", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+)[. ])?(\d{1,2}):([0-5]\d):([0-5]\d(?:\.\d{1,6})?)", re.ASCII)
_ISO = re.compile(
    r"P(?=[\dT])(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)

_SECONDS = MappingProxyType(
    {"us": 1e-6, "µs": 1e-6, "ms": 1e-3}
    | dict.fromkeys(("s", "sec", "second", "seconds"), 1.0)
    | dict.fromkeys(("m", "min", "minute", "minutes"), 60.0)
    | dict.fromkeys(("h", "hour", "hours"), 3_600.0)
    | dict.fromkeys(("d", "day", "days"), 86_400.0)
    | dict.fromkeys(("w", "week", "weeks"), 604_800.0)
)
_BYTES = MappingProxyType(
    {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
    | {"kib": 2**10, "mib": 2**20, "gib": 2**30}
)
_SHOWN_DURATIONS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000))
_SHOWN_SHORT = (("s", 1_000_000), ("ms", 1_000), ("us", 1))
_SHOWN_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def parse_duration(value: object) -> timedelta:
    """Read a duration: seconds as a number, `500ms`, `1h 30m`, `00:00:05`, ISO 8601, a timedelta.

    Raises:
        ValueError: it is none of these; the text says what may be written.
    """
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return timedelta(seconds=value)
        seconds = _seconds(value.strip()) if isinstance(value, str) else None
        if seconds is not None and math.isfinite(seconds):
            return timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        pass
    raise ValueError("write seconds as a number, or 500ms, 5m, 00:00:05, PT5M (ISO 8601)")


def parse_bytes(value: object) -> int:
    """Read a size in bytes: a whole number, or a text such as `64KiB`, `1 MiB`, `1MB`.

    Raises:
        ValueError: it is neither, or not a whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip().lower())):
        factor = _BYTES.get(found[2])
        if factor is not None and (size := float(found[1]) * factor).is_integer():
            return int(size)
    raise ValueError("write bytes as a whole number, or 64KiB, 1MiB")


def show_duration(value: timedelta) -> str:
    """Show a duration in the largest unit that leaves no fraction: `7d`, `90s`, `500ms`."""
    microseconds = value // timedelta(microseconds=1)
    for unit, size in (*_SHOWN_DURATIONS, *_SHOWN_SHORT):
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return "0s"


def show_bytes(value: int) -> str:
    """Show a size in the largest binary unit that leaves no fraction: `1MiB`, `1500`."""
    for unit, size in _SHOWN_SIZES:
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _seconds(text: str) -> float | None:
    """Seconds of a text in any of the four spellings; None if it is in none of them."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if found := _CLOCK.fullmatch(text):
        days, hours, minutes, rest = (float(part or 0) for part in found.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + rest
    if found := _ISO.fullmatch(text):
        weeks, days, hours, minutes, rest = (float(part or 0) for part in found.groups())
        return weeks * 604_800 + days * 86_400 + hours * 3_600 + minutes * 60 + rest
    total, position = 0.0, 0
    for found in _NAMED.finditer(text):
        unit = _SECONDS.get(found[2])
        if unit is None or found.start() != position:
            return None
        total, position = total + float(found[1]) * unit, found.end()
    return total if text and position == len(text) else None
