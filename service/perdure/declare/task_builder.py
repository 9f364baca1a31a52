"""TaskBuilder: one task, said word by word; what is wrong is kept until `build()`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import NoneType
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar, cast, overload

from perdure.declare import handlers
from perdure.declare.annotations import Types, types_of
from perdure.declare.collecting import Collecting
from perdure.declare.context import TaskContext
from perdure.declare.definition import (
    Handler,
    MaxInstances,
    TaskDefinition,
    UniqueKey,
    WhenFull,
)
from perdure.declare.kind import TaskKind
from perdure.declare.lifespans import Lifespan
from perdure.declare.machine import StateMachine
from perdure.declare.registry import Registry
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import RegistrationError
from perdure.tasks.checkpoints import Upgrade
from perdure.tasks.codec import Payload
from perdure.tasks.outcomes import Outcome, seconds_of
from perdure.tasks.policies import Backoff, RetryPolicy, Timeouts, UniquePolicy

M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
M2 = TypeVar("M2")
X2 = TypeVar("X2")
R2 = TypeVar("R2")
E2 = TypeVar("E2")
V1 = TypeVar("V1")
V2 = TypeVar("V2")
V3 = TypeVar("V3")
R_co = TypeVar("R_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)

Returned: TypeAlias = R_co | Outcome[R_co, E_co]
"""What a handler returns: its result, or an outcome."""


class AsyncHandler(Protocol[M, X, R_co, E_co]):
    """An object whose `execute` is a coroutine function."""

    def execute(self, context: TaskContext[M, X], /) -> Awaitable[Returned[R_co, E_co]]:
        """Do the work of one run."""


class SyncHandler(Protocol[M, X, R_co, E_co]):
    """An object whose `execute` is a plain function."""

    def execute(self, context: SyncTaskContext[M, X], /) -> Returned[R_co, E_co]:
        """Do the work of one run, in a thread or a child."""


AnyHandler: TypeAlias = (
    Callable[[TaskContext[M, X]], Awaitable[Returned[R, E]]]
    | Callable[[SyncTaskContext[M, X]], Returned[R, E]]
    | AsyncHandler[M, X, R, E]
    | SyncHandler[M, X, R, E]
)
"""A function of the context, async or not, or an object whose `execute` is one."""

ErrorClasses: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
"""A class of exceptions, or several."""
_TYPES: Final = ("metadata", "execution_metadata", "result", "error")


async def _missing(_context: object) -> None:
    """Stands for a handler that was not given; such a definition is never used."""


class TaskBuilder(Generic[M, X, R, E]):
    """What `add_task` hands to its function: a name or a kind, a handler, and what else is to hold.

    Types come from the kind or from `with_*`, else from the handler's annotations; where those say
    nothing either, any JSON will do, and there is no execution metadata.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._said: dict[str, Any] = {}
        self._types: dict[str, Any] = {}
        self._found: handlers.Found | None = None
        self._machine: StateMachine[Any, Any, Any, Any, Any] | None = None
        self._refused = False
        self._isolated = False

    def named(self, name: str) -> Self:
        """The name that producers enqueue it by."""
        self._said["name"] = name
        return self

    def of(self, kind: TaskKind[M2, X2, R2, E2]) -> TaskBuilder[M2, X2, R2, E2]:
        """Name and types of a kind; TypeError for a name, which goes to `named`."""
        if not isinstance(kind, TaskKind):
            raise TypeError(f"of({kind!r}): give a TaskKind; a name goes to .named()")
        self._said["name"] = kind.name
        self._types.update({what: getattr(kind, what) for what in _TYPES})
        return cast("TaskBuilder[M2, X2, R2, E2]", self)

    def with_metadata(self, type_: type[M2]) -> TaskBuilder[M2, X, R, E]:
        """The type of what is asked; an object in JSON."""
        self._types["metadata"] = type_
        return cast("TaskBuilder[M2, X, R, E]", self)

    def with_execution_metadata(
        self,
        type_: type[X2],
        *,
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
        save_on_stop: bool = True,
    ) -> TaskBuilder[M, X2, R, E]:
        """The type of the checkpoint; an object in JSON, made with its defaults for the first run.

        `upgrades[n]` turns the JSON object of version n into that of n + 1; all from 1 to
        `version - 1` are needed. Without `save_on_stop` a stopped run keeps what it saved last,
        not what it has in memory.
        """
        self._types["execution_metadata"] = type_
        self._said |= {
            "version": version,
            "upgrades": dict(upgrades or {}),
            "save_on_stop": save_on_stop,
        }
        return cast("TaskBuilder[M, X2, R, E]", self)

    def with_result(self, type_: type[R2]) -> TaskBuilder[M, X, R2, E]:
        """The type of the result."""
        self._types["result"] = type_
        return cast("TaskBuilder[M, X, R2, E]", self)

    def with_error(self, type_: type[E2]) -> TaskBuilder[M, X, R, E2]:
        """The type of the error that the handler may return."""
        self._types["error"] = type_
        return cast("TaskBuilder[M, X, R, E2]", self)

    def handled_by(self, handler: AnyHandler[M, X, R, E] | StateMachine[M, X, Any, R, E]) -> Self:
        """A function of the context, an object with `execute(context)`, or a state machine."""
        self._refused = True
        with self._collecting:
            if isinstance(handler, StateMachine):
                self._machine = handler
                self._found = handler.found()
            else:
                self._found = handlers.handled_by(handler)
        return self

    @overload
    def made_by(self, factory: Callable[[], AnyHandler[M, X, R, E]], /) -> Self: ...

    @overload
    def made_by(
        self, factory: Callable[[V1], AnyHandler[M, X, R, E]], one: Lifespan[V1], /
    ) -> Self: ...

    @overload
    def made_by(
        self,
        factory: Callable[[V1, V2], AnyHandler[M, X, R, E]],
        one: Lifespan[V1],
        two: Lifespan[V2],
        /,
    ) -> Self: ...

    @overload
    def made_by(
        self,
        factory: Callable[[V1, V2, V3], AnyHandler[M, X, R, E]],
        one: Lifespan[V1],
        two: Lifespan[V2],
        three: Lifespan[V3],
        /,
    ) -> Self: ...

    def made_by(self, factory: Callable[..., Any], /, *lifespans: Lifespan[Any]) -> Self:
        """A class, or a function, that makes a handler for each run.

        It is called with the values of the lifespans. What it makes is read from its annotation;
        without one, and without lifespans, it is called once, at once.
        """
        self._refused = True
        with self._collecting:
            self._found = handlers.made_by(factory, *lifespans)
        return self

    def isolated(self) -> Self:
        """Run it in a child process of its own, which can be killed."""
        self._isolated = True
        return self

    def with_retry(
        self,
        *,
        max_retries: int | None = None,
        backoff: Backoff | None = None,
        jitter: float | None = None,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses = (),
    ) -> Self:
        """How failures are retried; what is left out comes from the settings.

        `max_retries` is 0 or more, or UNLIMITED; `jitter` 0 to 1. Of thrown failures only
        instances of `retry_on` are retried (None: all), and none of `give_up_on`.
        """
        with self._collecting:
            self._said["retry"] = RetryPolicy(
                max_retries=max_retries,
                backoff=backoff,
                jitter=jitter,
                retry_on=None if retry_on is None else _tuple(retry_on),
                give_up_on=_tuple(give_up_on),
            )
        return self

    def with_retry_policy(self, policy: RetryPolicy) -> Self:
        """As `with_retry`, for a policy that several tasks share."""
        if not isinstance(policy, RetryPolicy):
            raise TypeError(f"with_retry_policy({policy!r}): give a RetryPolicy")
        self._said["retry"] = policy
        return self

    def with_timeout(
        self, *, soft: float | timedelta | None = None, hard: float | timedelta | None = None
    ) -> Self:
        """Seconds, or timedeltas, per run: at `soft` it is asked to stop, at `hard` broken off."""
        with self._collecting:
            self._said["timeouts"] = Timeouts(
                soft=None if soft is None else seconds_of(soft),
                hard=None if hard is None else seconds_of(hard),
            )
        return self

    def with_stop_grace(self, grace: float | timedelta) -> Self:
        """Seconds between the request to stop and the end by force; default: the setting."""
        with self._collecting:
            self._said["stop_grace"] = seconds_of(grace)
        return self

    def on_queue(self, name: str, *, priority: int | None = None) -> Self:
        """Where its tasks go unless the enqueue says otherwise; priority 0 (first) to 9."""
        self._said["queue"] = name
        return self if priority is None else self.with_priority(priority)

    def with_priority(self, priority: int) -> Self:
        """Its priority unless the enqueue says otherwise: 0 (first) to 9, 5 by default."""
        self._said["priority"] = priority
        return self

    def requires(self, *constraints: str) -> Self:
        """Run it only on workers for which these constraints hold."""
        self._said["requires"] = (*self._said.get("requires", ()), *constraints)
        return self

    def with_unique_key(
        self, function: Callable[[M], str], *, policy: UniquePolicy = "keep"
    ) -> Self:
        """How clients that know this definition derive the key of a task from its metadata."""
        self._said["unique_key"] = UniqueKey(function=function, policy=policy)
        return self

    def with_max_instances(
        self, n: int, *, key: str | None = None, when_full: WhenFull = "queue"
    ) -> Self:
        """At most `n` of its tasks, 1 to 10,000, run or are ready at once in the whole schema.

        With `key`, a dotted field of the metadata, at most `n` of each value of that field; one
        that is missing is the value null. `when_full` says what becomes of one more: `queue` (it
        waits for its turn, by id), `skip` (it ends as cancelled), or `cancel_previous` (the oldest
        is cancelled instead). A smaller `n` stops nothing that runs.
        """
        self._said["max_instances"] = MaxInstances(n=n, key=key, when_full=when_full)
        return self

    def with_aliases(self, *names: str) -> Self:
        """Other names of it, such as earlier ones: tasks enqueued under them run as well."""
        self._said["aliases"] = (*self._said.get("aliases", ()), *names)
        return self

    def keep_results_for(self, length: float | timedelta) -> Self:
        """Seconds, or a timedelta, that its tasks stay after any end, instead of `[retention]`.

        0: no result is stored, and `[retention]` holds.
        """
        with self._collecting:
            self._said["keep_results"] = seconds_of(length)
        return self

    def on_exhausted(self, task_name: str) -> Self:
        """The task to enqueue when this one has failed for good."""
        self._said["on_exhausted"] = task_name
        return self

    def described_as(self, text: str) -> Self:
        """What it does, for people."""
        self._said["description"] = text
        return self

    def finish(self) -> TaskDefinition | None:
        """For the runtime: the definition, None without a name.

        What else is wrong has something in its place. Called once, at the end; `problems` is
        complete then.
        """
        payloads = self._payloads()
        if self._machine is not None:
            self.problems += self._machine.problems(payloads["execution_metadata"].type_)
        handler = Handler(mode="async", make=lambda: _missing)
        if self._found is not None:
            handler = replace(self._found.handler, isolated=self._isolated)
        elif not self._refused:
            self.problems.append("it has no handler: call .handled_by(...) or .made_by(...)")
        if "name" not in self._said:
            self.problems.append("it has no name: call .named(...) or .of(kind)")
            return None
        return TaskDefinition(**self._said, **payloads, handler=handler)

    def _payloads(self) -> dict[str, Any]:
        types = Types()
        if self._found is not None:
            handler = self._found.handler
            try:
                types = types_of(*self._found.codes)
            except TypeError as error:
                # Nobody needs the annotations where everything has been said.
                if not set(_TYPES) <= self._types.keys():
                    self.problems.append(f"{handler.label}: {error}")
            if types.contexts - {handler.mode}:
                right = "TaskContext" if handler.mode == "async" else "SyncTaskContext"
                form = "async" if handler.mode == "async" else "not async"
                self.problems.append(f"{handler.label} is {form}: it must take a {right}")
        said = types._asdict() | self._types
        payloads: dict[str, Any] = {}
        for what in _TYPES:
            try:
                payloads[what] = Payload(said[what])
            except TypeError as error:
                self.problems.append(f"{what}: {error}")
                payloads[what] = Payload(NoneType)
        return payloads

    @property
    def label(self) -> str:
        """For the runtime: what messages call it, its name or else its handler's."""
        if "name" in self._said:
            return f"task {self._said['name']!r}"
        return f"task of {self._found.handler.label}" if self._found else "a task"

    @property
    def _collecting(self) -> Collecting:
        return Collecting(self.problems)


def declare(
    function: Callable[[TaskBuilder[Any, Any, Any, Any]], object],
) -> tuple[TaskDefinition | None, list[str]]:
    """Let a function say what a task is; the definition, and what is wrong with it so far."""
    builder: TaskBuilder[Any, Any, Any, Any] = TaskBuilder()
    with Collecting(builder.problems):
        function(builder)
    definition = builder.finish()
    return definition, [f"{builder.label}: {text}" for text in builder.problems]


def define(function: Callable[[TaskBuilder[Any, Any, Any, Any]], object]) -> TaskDefinition:
    """A finished definition: `define(lambda task: task.named("x").handled_by(f))`.

    Raises:
        RegistrationError: everything that is wrong with it.
    """
    definition, problems = declare(function)
    if definition is None:
        raise RegistrationError(problems)
    Registry([definition], problems)
    return definition


def _tuple(classes: ErrorClasses) -> tuple[type[BaseException], ...]:
    return tuple(classes) if isinstance(classes, (tuple, list)) else (classes,)
