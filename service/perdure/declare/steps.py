"""Steps: pieces of work that are done once, whatever becomes of the run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, get_args, get_origin, get_type_hints

from perdure.errors import InvalidArgument
from perdure.tasks.codec import Payload

T = TypeVar("T")

_UNSET: Any = object()
_AWAITABLES = frozenset({Awaitable, Coroutine})


class StepOwner(Protocol):
    """What a block needs from its context: to look a step up, and its key."""

    def begin_step(self, name: str) -> str | None:
        """The JSON text of the value if the step is done; using a name twice is an error."""

    def step_key(self, name: str) -> str:
        """A key that is the same in every run."""


class AsyncStepOwner(StepOwner, Protocol):
    """An owner on the event loop."""

    async def keep_step(self, name: str, value: str) -> None:
        """Save the value durably."""


class SyncStepOwner(StepOwner, Protocol):
    """An owner in a thread or child."""

    def keep_step(self, name: str, value: str) -> None:
        """Save the value durably."""


class _Block(Generic[T]):
    """What the two kinds of block have in common."""

    __slots__ = ("_owner", "_payload", "_value", "done", "key", "name")

    def __init__(self, owner: StepOwner, name: str, returns: Any) -> None:
        self.name = name
        self.done = False
        self.key = owner.step_key(name)
        self._payload: Payload[T] = payload_of(returns)
        self._value: T = _UNSET

    @property
    def value(self) -> T:
        """What the block has set, or had set in the run that did it; a value that JSON can hold."""
        if self._value is _UNSET:
            raise InvalidArgument(f"the step {self.name!r} has no value yet: set step.value first")
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._value = value

    def _look_up(self, text: str | None) -> None:
        if text is not None:
            self.done, self._value = True, self._payload.load(text)

    def _text(self) -> str:
        return "null" if self._value is _UNSET else self._payload.dump(self._value)


class Step(_Block[T]):
    """The block `async with context.step(name) as step`.

    `step.done` says whether an earlier run has done it; `step.value` is then what it had set. A
    block that ends without an exception is done, durably; the value is None if it set none.
    `step.key` is the same in every run: for effects outside the database.
    """

    __slots__ = ()
    _owner: AsyncStepOwner

    def __init__(self, owner: AsyncStepOwner, name: str, returns: Any) -> None:
        super().__init__(owner, name, returns)
        self._owner = owner

    async def __aenter__(self) -> Self:
        self._look_up(self._owner.begin_step(self.name))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None and not self.done:
            await self._owner.keep_step(self.name, self._text())
            self.done = True


class SyncStep(_Block[T]):
    """The block `with context.step(name) as step`; as `Step`, without await."""

    __slots__ = ()
    _owner: SyncStepOwner

    def __init__(self, owner: SyncStepOwner, name: str, returns: Any) -> None:
        super().__init__(owner, name, returns)
        self._owner = owner

    def __enter__(self) -> Self:
        self._look_up(self._owner.begin_step(self.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None and not self.done:
            self._owner.keep_step(self.name, self._text())
            self.done = True


def payload_of(type_: Any) -> Payload[Any]:
    """The codec of a step's value.

    Raises:
        InvalidArgument: pydantic cannot handle the type.
    """
    try:
        hash(type_)
    except TypeError:
        return _payload_of.__wrapped__(type_)
    return _payload_of(type_)


def returned_by(function: Callable[..., object]) -> Any:
    """The type of a step's value: what its function is annotated to return, awaited; else Any."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return function
    code = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        hint = get_type_hints(code, include_extras=True).get("return", Any)
    except (NameError, AttributeError, TypeError) as error:
        raise InvalidArgument(
            f"the annotations of {function!r} cannot be resolved ({error}): give returns="
        ) from error
    if get_origin(hint) in _AWAITABLES:
        return get_args(hint)[-1]
    return Any if isinstance(hint, TypeVar) else hint


# A memo of a pure function, not state: making a codec costs as much as a hundred uses of it.
@functools.lru_cache(maxsize=512)
def _payload_of(type_: Any) -> Payload[Any]:
    try:
        return Payload(type_)
    except TypeError as error:
        raise InvalidArgument(f"a step's value cannot be of this type: {error}") from error
