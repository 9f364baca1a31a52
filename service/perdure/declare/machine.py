"""StateMachine: a handler for each state of a task, and every state saved before the next runs."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import BaseModel
from typing_extensions import TypeVar

from perdure.declare import handlers
from perdure.declare.context import TaskContext
from perdure.declare.definition import OUTCOMES, Handler, Mode
from perdure.declare.memory import Memory
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import RegistrationError, StateMachineLoop
from perdure.tasks.checkpoints import STATES_PASSED
from perdure.tasks.codec import encode_json
from perdure.tasks.outcomes import End, Next, Outcome

T = TypeVar("T")
M = TypeVar("M", default=Any)
X = TypeVar("X", default=Any)
S = TypeVar("S", default=Any)
R = TypeVar("R", default=Any)
E = TypeVar("E", default=Any)

PASSED_MAX: Final = 20
"""How many states a task keeps that it has come to, for people: the last ones."""

Turn: TypeAlias = Next[S] | End[S, R, E]
AnyContext: TypeAlias = TaskContext[Any, Any] | SyncTaskContext[Any, Any]


class StateDecorator(Protocol[T, M, X, S, R, E]):
    """Takes the handler of a state, and gives it back."""

    @overload
    def __call__(
        self, handler: Callable[[T, TaskContext[M, X]], Coroutine[Any, Any, Turn[S, R, E]]], /
    ) -> Callable[[T, TaskContext[M, X]], Coroutine[Any, Any, Turn[S, R, E]]]: ...

    @overload
    def __call__(
        self, handler: Callable[[T, SyncTaskContext[M, X]], Turn[S, R, E]], /
    ) -> Callable[[T, SyncTaskContext[M, X]], Turn[S, R, E]]: ...


class StateMachine(Generic[M, X, S, R, E]):
    """A task that goes from state to state, each in the execution metadata, each with a handler.

    `field` of the execution metadata holds the state: one class, or a union of classes that a
    literal field tells apart. A handler takes (state, context) and returns `Next(state)`, which is
    saved, durably, before the next handler runs, or `End(state, outcome)`. All handlers are async,
    or none is. After a crash or a stop the handler of the state that was saved last runs again.

    For type checkers `StateMachine[M, X, S, R, E]` names metadata, execution metadata, the union of
    states, result and error; what is left out may be anything.

    Args:
        field: the name of the field.
        max_steps: how many handlers one run may call; one more fails it with StateMachineLoop.
    """

    def __init__(self, *, field: str = "state", max_steps: int = 1_000) -> None:
        self.field = field
        self.max_steps = max_steps
        self._handlers: dict[type, Callable[[Any, Any], Any]] = {}
        self._problems: list[str] = []
        self._given = False

    def on(self, state: type[T]) -> StateDecorator[T, M, X, S, R, E]:
        """Decorate the handler of a state, or of those derived from it that have none of their own.

        Raises:
            RegistrationError: the machine has been given to a task before.
        """
        if self._given:
            late = f"on({_named(state)}) comes after .handled_by(machine): say every state before"
            raise RegistrationError([late])

        def decorate(handler: Any) -> Any:
            first = self._handlers.setdefault(state, handler)
            if first is not handler:
                one, other = handlers.label_of(first), handlers.label_of(handler)
                self._problems.append(f"{_named(state)} is handled twice, by {one} and {other}")
            return handler

        return decorate

    def found(self) -> handlers.Found:
        """For the runtime: the handler that it is; no state may be added after this.

        Raises:
            TypeError: there is no handler, one is none, or some are async and some not.
        """
        self._given = True
        codes = []
        for handler in self._handlers.values():
            codes.append(handlers.code_of(handler))
            handlers.check(handler, codes[-1], ("the state", *handlers.CONTEXT))
        modes: set[Mode] = {handlers.mode_of(code) for code in codes}
        if len(modes) != 1:
            raise TypeError(
                "the handlers of a state machine are all async or all plain: these are mixed"
                if modes
                else "the state machine has no handlers: decorate them with @machine.on(State)"
            )
        mode = modes.pop()
        run: Callable[[Any], Any] = self._run if mode == "async" else self._run_sync
        label = f"the state machine over {', '.join(map(_named, self._handlers))}"
        return handlers.Found(Handler(mode=mode, make=lambda: run, label=label), *codes)

    def problems(self, execution_metadata: Any) -> Iterator[str]:
        """For the runtime: what is wrong with it for execution metadata of this type."""
        yield from self._problems
        if not isinstance(self.max_steps, int) or self.max_steps < 1:
            yield f"max_steps={self.max_steps!r}: 1 or more"
        fields = _fields_of(execution_metadata)
        if self.field not in fields:
            of = _named(execution_metadata)
            yield f"the execution metadata, {of}, has no field {self.field!r} for the state"
            return
        members = list(_members(fields[self.field]))
        odd = [member for member in members if not isinstance(member, type) or member in _NO_STATES]
        if odd:
            yield f"{self.field}: {', '.join(map(_named, odd))} is not a class of states"
            return
        used = {member: self._dispatched(member) for member in members}
        for member, by in used.items():
            if by is None:
                name = _named(member)
                yield f"the state {name} has no handler: decorate one with @machine.on({name})"
        for state in self._handlers:
            if state not in used.values():
                yield f"the handler of {_named(state)} is never called: {self.field} cannot be one"
        if len(members) > 1 and not _are_told_apart(members):
            yield (
                f"{self.field}: nothing tells its states apart once they are saved: give each a"
                ' field such as kind: Literal["waiting"] = "waiting"'
            )

    async def _run(self, context: TaskContext[Any, Any]) -> Outcome[Any, Any]:
        for _ in range(self.max_steps):
            handler, state = self._turn(context)
            outcome = self._enter(context, await handler(state, context))
            if outcome is not None:
                return outcome
            await context.checkpoint()
            context.stop.check()
        raise self._loop(context)

    def _run_sync(self, context: SyncTaskContext[Any, Any]) -> Outcome[Any, Any]:
        for _ in range(self.max_steps):
            handler, state = self._turn(context)
            outcome = self._enter(context, handler(state, context))
            if outcome is not None:
                return outcome
            context.checkpoint()
            context.stop.check()
        raise self._loop(context)

    def _turn(self, context: AnyContext) -> tuple[Callable[[Any, Any], Any], object]:
        """The state that the task is in, and its handler."""
        state = getattr(context.execution_metadata, self.field)
        _pass(context, state)
        return self._handlers[self._class_of(state)], state

    def _enter(self, context: AnyContext, turn: object) -> Outcome[Any, Any] | None:
        """Take the state that a handler has returned; the outcome if the run ends with it."""
        match turn:
            case Next(state):
                outcome = None
            case End(state, outcome) if isinstance(outcome, OUTCOMES):
                pass
            case End(_, outcome):
                raise TypeError(f"End(state, {outcome!r}): give one of the five outcomes")
            case _:
                raise TypeError(
                    f"the handler of a state returned {turn!r}, not Next(...) or End(...)"
                )
        self._class_of(state)
        setattr(context.execution_metadata, self.field, state)
        _pass(context, state, again=outcome is None)
        return outcome

    def _class_of(self, state: object) -> type:
        found = self._dispatched(type(state))
        if found is None:
            raise TypeError(
                f"{type(state).__name__} is no state of this machine: it has no handler"
            )
        return found

    def _dispatched(self, state: type) -> type | None:
        """The class whose handler is called for this one: itself, else its nearest base."""
        return next((base for base in state.__mro__ if base in self._handlers), None)

    def _loop(self, context: AnyContext) -> StateMachineLoop:
        state = type(getattr(context.execution_metadata, self.field)).__name__
        return StateMachineLoop(
            f"{self.max_steps} steps in one run, the last one to {state}: let it wait with"
            " End(state, Suspended(...)), or give the machine more max_steps"
        )


def _pass(context: AnyContext, state: object, *, again: bool = False) -> None:
    """Note, beside the checkpoint, that this run has come to a state; the oldest are forgotten."""
    memory: Memory[Any] = context.memory
    passed = json.loads(memory.steps.get(STATES_PASSED, "[]"))
    name = type(state).__name__
    if again or not passed or passed[-1][1] != name:
        passed = [*passed, [context.attempt, name]][-PASSED_MAX:]
        memory.keep_beside(STATES_PASSED, encode_json(passed))


_NO_STATES: Final = (type(None), object)


def _fields_of(type_: Any) -> Mapping[str, Any]:
    """The annotation of each field of a model or dataclass; empty for what has none."""
    if not isinstance(type_, type):
        return {}
    if issubclass(type_, BaseModel):
        return {name: field.annotation for name, field in type_.model_fields.items()}
    try:
        return get_type_hints(type_)
    except (NameError, TypeError, AttributeError):
        return {}


def _members(hint: Any) -> Iterator[Any]:
    """The classes of a union, whatever it is wrapped in."""
    if get_origin(hint) is Annotated:
        yield from _members(get_args(hint)[0])
    elif get_origin(hint) in {Union, types.UnionType}:
        for member in get_args(hint):
            yield from _members(member)
    elif hasattr(hint, "__value__"):  # type State = ..., of newer Pythons
        yield from _members(hint.__value__)
    else:
        yield hint


def _are_told_apart(members: list[type]) -> bool:
    """Whether a field that all have is a literal of its own in each."""
    fields = [_fields_of(member) for member in members]
    for name in fields[0]:
        hints = [each.get(name) for each in fields]
        values = [value for hint in hints for value in get_args(hint)]
        if all(get_origin(hint) is Literal for hint in hints) and len(set(values)) == len(values):
            return True
    return False


def _named(type_: Any) -> str:
    return getattr(type_, "__name__", None) or repr(type_)
