"""Handlers: from a function, an object or a factory to what one run calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any, Final, get_type_hints

from perdure.declare.definition import Handler, Mode
from perdure.declare.lifespans import Lifespan

CONTEXT: Final = ("the context",)


class Found:
    """A handler, and its code, whose annotations say the types; of several for a state machine."""

    __slots__ = ("codes", "handler")

    def __init__(self, handler: Handler, *codes: Callable[..., object]) -> None:
        self.handler = handler
        self.codes = codes


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
    code = code_of(call)
    check(call, code)
    return Found(Handler(mode=mode_of(code), make=lambda: call, label=label_of(handler)), code)


def made_by(factory: Callable[..., object], *lifespans: Lifespan[Any]) -> Found:
    """A class, or a function, which makes a handler for each run of the values of these lifespans.

    What it makes is read from its annotation; without one it is called once, here.

    Raises:
        TypeError: it, or what it makes, cannot be called.
    """
    if not callable(factory) or inspect.iscoroutinefunction(factory):
        raise TypeError(f"made_by() needs a plain function or a class, not {factory!r}")
    _check_arguments(factory, lifespans)
    made = factory if isinstance(factory, type) else _promised(factory)
    if isinstance(made, type):
        code = _unbound(made)
        check(partial(code, None), code)
    elif lifespans:
        raise TypeError(
            f"made_by({label_of(factory)}) does not say what it makes: annotate what it returns, a"
            " class with execute(context)"
        )
    else:
        try:
            call = _call_of(factory())
        except Exception as error:  # the factory is the user's and may raise anything
            raise TypeError(
                f"made_by({label_of(factory)}) could not make a handler"
                f" ({type(error).__name__}: {error}); annotate what it returns, then it is not"
                " called before the first run"
            ) from error
        code = code_of(call)
        check(call, code)

    def make() -> Callable[[Any], Any]:
        return _call_of(factory(*[lifespan.value for lifespan in lifespans]))

    mode, label = mode_of(code), label_of(factory)
    return Found(Handler(mode=mode, make=make, label=label, lifespans=lifespans), code)


def _check_arguments(factory: Callable[..., object], lifespans: Sequence[object]) -> None:
    """TypeError unless these are lifespans, and as many as the factory takes."""
    odd = [one for one in lifespans if not isinstance(one, Lifespan)]
    if odd:
        raise TypeError(
            f"made_by({label_of(factory)}) was given {odd[0]!r}, which is no lifespan: give what"
            " add_lifespan returned, and put anything else into the factory"
        )
    try:
        signature = inspect.signature(factory)
    except ValueError:  # what is written in C may say nothing about itself
        return
    try:
        signature.bind(*lifespans)
    except TypeError as error:
        raise TypeError(
            f"made_by({label_of(factory)}) with {len(lifespans)} lifespans: {error}"
        ) from error


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


def code_of(call: Callable[..., object]) -> Callable[..., object]:
    """The function whose annotations count: without wrappers and given arguments."""
    while isinstance(call, partial):
        call = call.func
    if not inspect.isroutine(call):
        call = getattr(call, "__call__", call)  # noqa: B004  (an object's own)
    code: Callable[..., object] = inspect.unwrap(call)
    return code


def mode_of(code: Callable[..., object]) -> Mode:
    """Whether it is to be awaited."""
    return "async" if inspect.iscoroutinefunction(code) else "sync"


def check(
    call: Callable[..., object], code: Callable[..., object], takes: Sequence[str] = CONTEXT
) -> None:
    """Raise TypeError unless it can be called with what it is said to take."""
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{label_of(code)} is a generator: a handler returns its result once")
    try:
        inspect.signature(call).bind(*takes)
    except TypeError as error:
        arguments = "one argument" if len(takes) == 1 else f"{len(takes)} arguments"
        what = " and ".join(takes)
        raise TypeError(f"{label_of(code)} must take {arguments}, {what}: {error}") from error


def label_of(thing: object) -> str:
    """What messages call it: module and qualified name."""
    while isinstance(thing, partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    if isinstance(named, FunctionType) and named.__name__ == "<lambda>":
        return f"the lambda in {named.__module__}, line {named.__code__.co_firstlineno}"
    return f"{named.__module__}.{named.__qualname__}"
