"""Types of a task, as the annotations of its handler say them."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Iterable
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
from perdure.tasks.outcomes import Cancelled, End, Failure, Next, Retry, Success, Suspended

_MODES: tuple[tuple[type, Mode], ...] = ((TaskContext, "async"), (SyncTaskContext, "sync"))
_WITH_ERROR = (Failure, Retry, Cancelled)
_NOTHING = (Never, NoReturn, Suspended, Next)


class Types(NamedTuple):
    """What the annotations say; Any where they say nothing. `contexts`: which kinds it takes."""

    metadata: Any = Any
    execution_metadata: Any = type(None)
    result: Any = Any
    error: Any = Any
    contexts: frozenset[Mode] = frozenset()


def types_of(*functions: Callable[..., object]) -> Types:
    """Read `TaskContext[M, X]` and `R | Failure[E]` from a handler's code.

    Of several functions, those of a state machine, the first that takes a context says its types,
    and what any of them returns may be the result.

    Raises:
        TypeError: an annotation cannot be resolved.
    """
    found = Types()
    results: list[Any] = []
    errors: list[Any] = []
    for function in functions:
        hints = _hints(function)
        _add_returned(hints.pop("return", Any), results, errors)
        of = _of_context(hints.values())
        found = (found if found.contexts else of)._replace(contexts=found.contexts | of.contexts)
    result = _union(results) if results else type(None)
    return found._replace(result=result, error=_union(errors) if errors else Any)


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise TypeError(
            f"an annotation cannot be resolved ({error}): import its type where the handler is"
            " defined, outside of TYPE_CHECKING and of functions, or use a TaskKind"
        ) from error


def _of_context(hints: Iterable[Any]) -> Types:
    """What the annotation of the context says."""
    for hint in hints:
        for context, mode in _MODES:
            if (get_origin(hint) or hint) is context:
                # One that is left out has no type, one that is a variable may be anything.
                arguments = [_concrete(one) for one in get_args(hint)]
                given = dict(zip(("metadata", "execution_metadata"), arguments, strict=False))
                return Types(contexts=frozenset({mode}), **given)
    return Types()


def _add_returned(hint: Any, results: list[Any], errors: list[Any]) -> None:
    """Add the types of result and error in what a handler returns."""
    if get_origin(hint) in {Coroutine, Awaitable}:
        hint = get_args(hint)[-1]
    for member in _members(hint):
        kind = get_origin(member) or member
        inner = [_concrete(one) for one in get_args(member)]
        if kind is Success:
            results += inner or [Any]
        elif kind is End:
            results += [one for one in inner[1:2] if one not in _NOTHING] if inner else [Any]
            errors += [one for one in inner[2:] if one not in _NOTHING]
        elif kind in _WITH_ERROR:
            errors += inner
        elif kind not in _NOTHING:
            results.append(_concrete(member))


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _concrete(hint: Any) -> Any:
    return Any if isinstance(hint, TypeVar) else hint


def _union(members: list[Any]) -> Any:
    return Any if Any in members else Union[tuple(members)]  # noqa: UP007  (made at run time)
