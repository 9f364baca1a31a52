"""Lifespan: the handle of a value that each worker process sets up before it claims."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from perdure.errors import LifespanError
from perdure.tasks.outcomes import seconds_of

T = TypeVar("T")

Spanned: TypeAlias = (
    AbstractAsyncContextManager[T] | AbstractContextManager[T] | AsyncIterator[T] | Iterator[T]
)
"""What a factory gives: a context manager, or what a generator function returns."""
LifespanFactory: TypeAlias = Callable[[], Spanned[T]]
"""A generator function, or whatever gives a context manager; async or not."""

TICK_SECONDS_MIN: Final = 0.01


class Lifespan(Generic[T]):
    """A value that lives as long as the worker process; given by `builder.add_lifespan`.

    Never stored and never pickled: each process, also that of an `isolated()` run, sets up its own.
    """

    __slots__ = ("factory", "name", "tick")

    def __init__(self, name: str, factory: LifespanFactory[T], tick: float | None) -> None:
        self.name = name
        self.factory = factory
        self.tick = tick
        """Seconds between two ticks; None: it has none."""

    @property
    def value(self) -> T:
        """The value that this process has set up.

        Read it where a handler, a later lifespan or a singleton runs, and in their own tasks and
        `asyncio.to_thread`: two workers in one process have each their own.

        Raises:
            LifespanError: there is none here.
        """
        try:
            value: T = _VALUES.get()[self]
        except KeyError:
            raise LifespanError(
                f"the lifespan {self.name!r} has no value here: read .value while a handler runs,"
                " in a test give lifespans={...} to perdure.testing"
            ) from None
        return value

    def __repr__(self) -> str:
        return f"Lifespan({self.name!r})"


_VALUES: Final[ContextVar[Mapping[Lifespan[Any], Any]]] = ContextVar(
    "perdure_lifespans", default=MappingProxyType({})
)


def provide(values: Mapping[Lifespan[Any], Any]) -> None:
    """For the runtime: what handles mean from now on in this context."""
    _VALUES.set(values)


@contextmanager
def provided(values: Mapping[Lifespan[Any], Any]) -> Iterator[None]:
    """The same for the life of a block."""
    token = _VALUES.set(values)
    try:
        yield
    finally:
        _VALUES.reset(token)


def lifespan_of(
    name: str, factory: LifespanFactory[T], tick: float | timedelta | None, problems: list[str]
) -> Lifespan[T]:
    """A lifespan as it was declared; what is wrong with it is added to `problems`."""
    interval: float | None = None
    try:
        interval = interval_of(tick)
        check_factory(factory)
    except (TypeError, ValueError) as error:
        problems.append(f"the lifespan {name!r}: {error}")
    if not isinstance(name, str) or not name:
        problems.append(f"a lifespan is called {name!r}: give a name to add_lifespan")
    return Lifespan(name, factory, interval)


class Using(Protocol):
    """A handler, as far as it uses lifespans."""

    @property
    def label(self) -> str:
        """What messages call it."""

    @property
    def lifespans(self) -> Sequence[Lifespan[Any]]:
        """Those whose values its factory is given."""


def problems_between(
    lifespans: Sequence[Lifespan[Any]], handlers: Iterable[Using]
) -> Iterator[str]:
    """What is wrong with several: names given twice, and those that a handler uses in vain."""
    names = [lifespan.name for lifespan in lifespans]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"the lifespan {name!r} was added twice: rename one"
    for handler in handlers:
        for lifespan in handler.lifespans:
            if lifespan not in lifespans:
                yield (
                    f"{handler.label} uses the lifespan {lifespan.name!r} of another service: add"
                    " it to this one, too"
                )


def interval_of(tick: float | timedelta | None) -> float | None:
    """Seconds between ticks.

    Raises:
        ValueError: less than 10 ms, or no number.
    """
    if tick is None:
        return None
    seconds = seconds_of(tick)
    if not (math.isfinite(seconds) and seconds >= TICK_SECONDS_MIN):
        raise ValueError(f"tick={tick!r}: give {TICK_SECONDS_MIN:g} seconds or more, or None")
    return seconds


def check_factory(factory: object, *arguments: object) -> None:
    """TypeError for what can be no factory, called with as many arguments."""
    if not callable(factory):
        raise TypeError(f"{factory!r} is no factory: give a generator function or the like")
    if inspect.iscoroutinefunction(factory):
        raise TypeError(
            "its factory is a coroutine function: have it yield its value instead of returning it"
        )
    try:
        inspect.signature(factory).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"its factory cannot be called without arguments: {error}") from error
    except ValueError:  # what is written in C may say nothing about itself
        return
