"""Handlers: from a function, an object or a factory to what one run calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple, get_type_hints

from perdure.declare.definition import Handler, Mode


class Found(NamedTuple):
    """A handler, and its code, whose annotations say the types."""

    handler: Handler
    code: Callable[..., object]


def handled_by(handler: object) -> Found:
    """A function, or an object with `execute`, that serves every run.

    Raises:
        TypeError: it cannot be called with a context.
    """
    if isinstance(handler, type):
        raise TypeError(
            f"handled_by({handler.__name__}) got a class: give an object of it, or"
            f" made_by({handler.__name__}) for one object per run"
        )
    call = _call_of(handler)
    code = _code_of(call)
    _check(call, code)
    return Found(Handler(mode=_mode_of(code), make=lambda: call, label=_label(handler)), code)


def made_by(factory: Callable[[], object]) -> Found:
    """A class, or a function that takes nothing, which makes a handler for each run.

    What it makes is read from its annotation; without one it is called once, here.

    Raises:
        TypeError: it, or what it makes, cannot be called.
    """
    if not callable(factory) or inspect.iscoroutinefunction(factory):
        raise TypeError(f"made_by() needs a plain function or a class, not {factory!r}")
    made = factory if isinstance(factory, type) else _promised(factory)
    if isinstance(made, type):
        code = _unbound(made)
        _check(partial(code, None), code)
    else:
        try:
            call = _call_of(factory())
        except Exception as error:  # the factory is the user's and may raise anything
            raise TypeError(
                f"made_by({_label(factory)}) could not make a handler"
                f" ({type(error).__name__}: {error}); annotate what it returns, then it is not"
                " called before the first run"
            ) from error
        code = _code_of(call)
        _check(call, code)

    def make() -> Callable[[Any], Any]:
        return _call_of(factory())

    return Found(Handler(mode=_mode_of(code), make=make, label=_label(factory)), code)


def _call_of(handler: object) -> Callable[[Any], Any]:
    """What is called with the context: `execute` if there is one, else the handler itself."""
    call = getattr(handler, "execute", handler)
    if not callable(call):
        raise TypeError(
            f"{handler!r} is no handler: it is not callable and has no execute(context)"
        )
    found: Callable[[Any], Any] = call
    return found


def _unbound(made: type) -> Callable[..., object]:
    code: Any = getattr(made, "execute", None) or made.__dict__.get("__call__")
    if code is None:
        raise TypeError(f"{made.__qualname__} is no handler: it has no execute(context)")
    unwrapped: Callable[..., object] = inspect.unwrap(code)
    return unwrapped


def _promised(factory: Callable[[], object]) -> object:
    """The class that a factory is annotated to return; None if it says none."""
    try:
        hint = get_type_hints(factory).get("return")
    except (NameError, AttributeError, TypeError):
        return None
    return hint if isinstance(hint, type) and hasattr(hint, "execute") else None


def _code_of(call: Callable[..., object]) -> Callable[..., object]:
    """The function whose annotations count: without wrappers and given arguments."""
    while isinstance(call, partial):
        call = call.func
    if not inspect.isroutine(call):
        call = getattr(call, "__call__", call)  # noqa: B004  (an object's own)
    code: Callable[..., object] = inspect.unwrap(call)
    return code


def _mode_of(code: Callable[..., object]) -> Mode:
    return "async" if inspect.iscoroutinefunction(code) else "sync"


def _check(call: Callable[..., object], code: Callable[..., object]) -> None:
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{_label(code)} is a generator: a handler returns its result once")
    try:
        inspect.signature(call).bind(None)
    except TypeError as error:
        raise TypeError(f"{_label(code)} must take one argument, the context: {error}") from error


def _label(thing: object) -> str:
    while isinstance(thing, partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    if isinstance(named, FunctionType) and named.__name__ == "<lambda>":
        return f"the lambda in {named.__module__}, line {named.__code__.co_firstlineno}"
    return f"{named.__module__}.{named.__qualname__}"
