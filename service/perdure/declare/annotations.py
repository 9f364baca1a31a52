"""Types of a task, as the annotations of its handler say them."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import (
    Any,
    NamedTuple,
    Never,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from perdure.declare.context import TaskContext
from perdure.declare.definition import Mode
from perdure.declare.sync_context import SyncTaskContext
from perdure.tasks.outcomes import Cancelled, Failure, Retry, Success, Suspended

_MODES: tuple[tuple[type, Mode], ...] = ((TaskContext, "async"), (SyncTaskContext, "sync"))
_WITH_ERROR = (Failure, Retry, Cancelled)
_NOTHING = (Never, NoReturn, Suspended)


class Types(NamedTuple):
    """What the annotations say; Any where they say nothing. `context`: which kind it takes."""

    metadata: Any = Any
    execution_metadata: Any = type(None)
    result: Any = Any
    error: Any = Any
    context: Mode | None = None


def types_of(function: Callable[..., object]) -> Types:
    """Read `TaskContext[M, X]` and `R | Failure[E]` from a handler's code.

    Raises:
        TypeError: an annotation cannot be resolved.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise TypeError(
            f"an annotation cannot be resolved ({error}): import its type where the handler is"
            " defined, outside of TYPE_CHECKING and of functions, or use a TaskKind"
        ) from error
    found = Types()
    if "return" in hints:
        result, error_type = _returned(hints.pop("return"))
        found = found._replace(result=result, error=error_type)
    for hint in hints.values():
        for context, mode in _MODES:
            if (get_origin(hint) or hint) is context:
                # One that is left out has no type, one that is a variable may be anything.
                arguments = [_concrete(one) for one in get_args(hint)]
                given = dict(zip(("metadata", "execution_metadata"), arguments, strict=False))
                return found._replace(context=mode, **given)
    return found


def _returned(hint: Any) -> tuple[Any, Any]:
    """The types of result and error in what a handler returns."""
    if get_origin(hint) in {Coroutine, Awaitable}:
        hint = get_args(hint)[-1]
    results: list[Any] = []
    errors: list[Any] = []
    for member in _members(hint):
        kind = get_origin(member) or member
        inner = [_concrete(one) for one in get_args(member)]
        if kind is Success:
            results += inner or [Any]
        elif kind in _WITH_ERROR:
            errors += inner
        elif kind not in _NOTHING:
            results.append(_concrete(member))
    return (_union(results) if results else type(None)), (_union(errors) if errors else Any)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _concrete(hint: Any) -> Any:
    return Any if isinstance(hint, TypeVar) else hint


def _union(members: list[Any]) -> Any:
    return Any if Any in members else Union[tuple(members)]  # noqa: UP007  (made at run time)
