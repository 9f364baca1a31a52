"""Constraints that a worker can judge: names, each with a probe; three probes for common ones."""

from __future__ import annotations

import inspect
import re
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from difflib import get_close_matches
from os import PathLike
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from perdure.errors import RegistrationError
from perdure.tasks.outcomes import seconds_of

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAME_CHARS_MAX: Final = 128
EVERY_SECONDS_MIN: Final = 0.01
NEAR: Final = 0.8
"""How much of two names is the same, as `difflib` says it, where one may be meant for the other."""
PORTS: Final = range(1, 2**16)
_HOST: Final = re.compile(r"[^\s:/]+|[0-9a-fA-F:.]*:[^\s:/]*:[^\s/]*")  # a name, or an IPv6 address

Probe: TypeAlias = Callable[[], bool] | Callable[[], Awaitable[bool]]
"""A function, or a coroutine function, of nothing: whether a constraint holds now."""


class Reachable:
    """Whether a TCP connection can be opened; `timeout` in seconds or a timedelta, default 5 s.

    ValueError for what can be no host, port or timeout; whether they are there is asked later.
    """

    __slots__ = ("_timeout", "host", "port")

    def __init__(self, host: str, port: int, *, timeout: float | timedelta = 5.0) -> None:
        if not isinstance(host, str) or not _HOST.fullmatch(host):
            raise ValueError(f"host={host!r}: give a name or an address, without scheme and port")
        if type(port) is not int or port not in PORTS:
            raise ValueError(f"port={port!r}: give a port from 1 to {PORTS[-1]}")
        self.host, self.port = host, port
        self._timeout = seconds_of(timeout)
        if self._timeout == 0:
            raise ValueError(f"timeout={timeout!r}: give more than 0 seconds")

    def __call__(self) -> bool:
        """Connect, and hang up; whoever cannot raises."""
        socket.create_connection((self.host, self.port), self._timeout).close()
        return True

    def __repr__(self) -> str:
        return f"Reachable({self.host!r}, {self.port})"


class DiskFree:
    """Whether the volume of a path has at least so many bytes left for programs like this one.

    ValueError for what can be no path or number. A path may come later: before, it does not hold.
    """

    __slots__ = ("bytes", "path")

    def __init__(self, path: str | PathLike[str], bytes: int) -> None:
        if not isinstance(path, str | PathLike) or not str(path):
            raise ValueError(f"path={path!r}: give a path")
        if type(bytes) is not int or bytes < 0:
            raise ValueError(f"bytes={bytes!r}: give a whole number, 0 or more, such as 5 * 2**30")
        self.path, self.bytes = path, bytes

    def __call__(self) -> bool:
        """Ask the file system; a path that is not there raises."""
        return shutil.disk_usage(self.path).free >= self.bytes

    def __repr__(self) -> str:
        return f"DiskFree({str(self.path)!r}, {self.bytes})"


class TimeWindow:
    """Whether it is between two times of day, by the database's clock, seen in a time zone.

    `start` and `end` are `time` or texts such as "22:00"; `end` does not belong to the window any
    more. An end before the start lies on the next day; the same as the start: a whole day.
    `weekdays` are those on which a window begins: mon, tue, wed, thu, fri, sat, sun; default: all.

    Raises:
        ValueError: no such time, weekday or zone.
    """

    __slots__ = ("end", "start", "weekdays", "zone")

    def __init__(
        self,
        start: time | str,
        end: time | str,
        timezone: str = "UTC",
        weekdays: Collection[str] = WEEKDAYS,
    ) -> None:
        self.start, self.end = _time_of(start), _time_of(end)
        several = isinstance(weekdays, Collection) and not isinstance(weekdays, str)
        if not several or not weekdays or not all(day in WEEKDAYS for day in weekdays):
            raise ValueError(f"weekdays={weekdays!r}: give some of {', '.join(WEEKDAYS)}")
        self.weekdays = frozenset(WEEKDAYS.index(day) for day in weekdays)
        try:
            self.zone = ZoneInfo(timezone)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"timezone={timezone!r}: there is no such time zone") from error

    def holds_at(self, moment: datetime) -> bool:
        """Whether it is open at a moment, which has a zone."""
        local = moment.astimezone(self.zone)
        began = local.weekday()
        clock = local.time()
        if self.start < self.end:
            return self.start <= clock < self.end and began in self.weekdays
        if clock >= self.start:
            return began in self.weekdays
        return clock < self.end and (began - 1) % 7 in self.weekdays

    def __repr__(self) -> str:
        return f"TimeWindow({self.start:%H:%M}, {self.end:%H:%M}, {self.zone.key!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint that a worker judges; `every` and `debounce` are in seconds."""

    name: str
    probe: Probe | TimeWindow
    every: float
    debounce: float

    @property
    def is_async(self) -> bool:
        """Whether the probe is called on the event loop; else in a thread."""
        calls = (self.probe, getattr(type(self.probe), "__call__", None))  # noqa: B004  (of an object)
        return any(map(inspect.iscoroutinefunction, calls))


def constraint(
    name: str, probe: Probe | TimeWindow, *, every: float | timedelta, debounce: float | timedelta
) -> Constraint:
    """A constraint as it was declared, once it has been looked at.

    Raises:
        RegistrationError: what is wrong with it.
    """
    problems = []
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        problems.append(f"its name has 1 to {NAME_CHARS_MAX} characters that can be printed")
    if isinstance(probe, type) or not (callable(probe) or isinstance(probe, TimeWindow)):
        problems.append(f"its probe is not a function of nothing: {probe!r}")
    elif callable(probe) and not _takes_nothing(probe):
        problems.append(f"its probe is called without arguments, and needs some: {probe!r}")
    seconds: list[float] = []
    for key, value in (("every", every), ("debounce", debounce)):
        try:
            seconds.append(seconds_of(value))
        except (TypeError, ValueError) as error:
            problems.append(f"{key}: {error}")
    if len(seconds) > 1 and seconds[0] < EVERY_SECONDS_MIN:
        problems.append(f"every={every!r}: ask at most every {EVERY_SECONDS_MIN:g} s")
    if problems:
        raise RegistrationError([f"constraint {name!r}: {problem}" for problem in problems])
    return Constraint(name=name, probe=probe, every=seconds[0], debounce=seconds[1])


def doubts(required: Iterable[tuple[str, str]], declared: Collection[str]) -> Iterator[str]:
    """What looks like a typo among pairs of who requires, and what.

    A name that nobody declares here may be meant for other workers, or for the whole cluster: it is
    doubted only where a declared one is near.
    """
    for who, name in required:
        near = () if name in declared else get_close_matches(name, declared, 1, NEAR)
        for other in near:
            yield (
                f"{who} requires {name!r}, which this service does not declare: did you mean"
                f" {other!r}? it holds where another worker declares it, or set_constraint says so"
            )


def _takes_nothing(probe: Callable[[], object]) -> bool:
    try:
        inspect.signature(probe).bind()
    except TypeError:
        return False
    except ValueError:  # what is written in C may say nothing about itself
        return True
    return True


def _time_of(value: time | str) -> time:
    if isinstance(value, time):
        found = value
    else:
        try:
            found = time.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{value!r} is no time of day: give one such as '22:00'") from error
    if found.tzinfo is not None:
        raise ValueError(f"{value!r} has a zone of its own: say it as timezone=")
    return found
