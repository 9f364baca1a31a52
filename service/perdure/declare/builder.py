"""ServiceBuilder: what `TaskService.builder()` gives; settings, tasks, listeners of a service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar, cast, overload

from typing_extensions import Unpack

from perdure.declare.constraints import Constraint, Probe, TimeWindow, constraint, doubts
from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import TaskKind
from perdure.declare.lifespans import (
    Lifespan,
    LifespanFactory,
    interval_of,
    lifespan_of,
    problems_between,
)
from perdure.declare.listeners import Listener, listener_problems
from perdure.declare.new_schedule import NewSchedule, ScheduleOptions
from perdure.declare.registry import Registry
from perdure.declare.schedules import OnHandler, Schedules
from perdure.declare.short_form import said_shortly
from perdure.declare.singletons import SingletonFactory, singleton_definition
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import Returned, TaskBuilder, declare
from perdure.errors import RegistrationError
from perdure.tasks.policies import RetryPolicy, Timeouts
from perdure.tasks.triggers import Trigger

S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Everything that a program has declared: what a service is wired from.

    `settings` are the program's own defaults by dotted key, such as `execution.concurrency`;
    `listeners` are pairs of a dotted event name and a function. `schedules` are put whenever a
    worker starts; `lifespans` are entered before it claims, in order; `constraints` are what it
    judges; `doubts` say what is allowed, but looks like a mistake.
    """

    registry: Registry
    settings: Mapping[str, object]
    listeners: tuple[tuple[str, Listener], ...]
    schedules: tuple[NewSchedule, ...] = ()
    lifespans: tuple[Lifespan[Any], ...] = ()
    constraints: tuple[Constraint, ...] = ()
    doubts: tuple[str, ...] = ()


class KindDecorator(Protocol[M, X, R, E]):
    """Takes a handler that fits a kind, and gives it back."""

    @overload
    def __call__(
        self, handler: Callable[[TaskContext[M, X]], Coroutine[Any, Any, Returned[R, E]]], /
    ) -> Callable[[TaskContext[M, X]], Coroutine[Any, Any, Returned[R, E]]]: ...

    @overload
    def __call__(
        self, handler: Callable[[SyncTaskContext[M, X]], Returned[R, E]], /
    ) -> Callable[[SyncTaskContext[M, X]], Returned[R, E]]: ...


class ServiceBuilder(Generic[S]):
    """Collects declarations; `build()` checks them all and hands them to `wire`.

    The values of `configure_*` are the program's defaults, by the names of the settings' keys, such
    as `configure_execution(concurrency=20, stop_grace="5s")`: TOML, environment and command line
    beat them. They are checked when the service is wired.
    """

    def __init__(self, wire: Callable[[Declared], S]) -> None:
        self._wire = wire
        self._definitions: list[TaskDefinition] = []
        self._problems: list[str] = []
        self._settings: dict[str, object] = {}
        self._listeners: list[tuple[str, Listener]] = []
        self._schedules = Schedules()
        self._lifespans: list[Lifespan[Any]] = []
        self._constraints: dict[str, Constraint] = {}

    def configure_persistence(self, **values: object) -> Self:
        """Defaults of `[persistence]`, and of `dsn`, by the names of its keys."""
        return self._configure("persistence", values)

    def configure_scheduling(self, **values: object) -> Self:
        """Defaults of `[scheduling]`, by the names of its keys."""
        return self._configure("scheduling", values)

    def configure_execution(self, **values: object) -> Self:
        """Defaults of `[execution]`, by the names of its keys."""
        return self._configure("execution", values)

    def configure_retention(self, **values: object) -> Self:
        """Defaults of `[retention]`, by the names of its keys."""
        return self._configure("retention", values)

    def configure_limits(self, **values: object) -> Self:
        """Defaults of `[limits]`, by the names of its keys."""
        return self._configure("limits", values)

    def configure_logging(self, **values: object) -> Self:
        """Defaults of `[logging]`, by the names of its keys."""
        return self._configure("logging", values)

    def add_task(
        self,
        task: TaskDefinition | Callable[[TaskBuilder[Any, Any, Any, Any]], object],
    ) -> Self:
        """A finished definition, or a function that says one on the builder it is given."""
        if isinstance(task, TaskDefinition):
            self._definitions.append(task)
            return self
        definition, problems = declare(task)
        self._problems += problems
        if definition is not None:
            self._definitions.append(definition)
        return self

    @overload
    def task(
        self,
        kind: TaskKind[M, X, R, E],
        *,
        queue: str | None = None,
        priority: int | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: Timeouts | timedelta | float | None = None,
        requires: tuple[str, ...] = (),
        isolated: bool = False,
    ) -> KindDecorator[M, X, R, E]: ...

    @overload
    def task(
        self,
        kind: str,
        *,
        queue: str | None = None,
        priority: int | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: Timeouts | timedelta | float | None = None,
        requires: tuple[str, ...] = (),
        isolated: bool = False,
    ) -> Callable[[F], F]: ...

    def task(
        self,
        kind: TaskKind[Any, Any, Any, Any] | str,
        *,
        queue: str | None = None,
        priority: int | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: Timeouts | timedelta | float | None = None,
        requires: tuple[str, ...] = (),
        isolated: bool = False,
    ) -> Any:
        """The short form, as a decorator of the handler, which it gives back unchanged.

        `retry` is a policy or a number of retries, `timeout` a pair or the hard one, in seconds or
        a timedelta; `requires` are names of constraints, `isolated` runs it in a child process.
        With a name instead of a kind the types come from the annotations.
        """

        def decorate(handler: F) -> F:
            self.add_task(
                said_shortly(
                    kind,
                    handler,
                    queue=queue,
                    priority=priority,
                    retry=retry,
                    timeout=timeout,
                    requires=requires,
                    isolated=isolated,
                )
            )
            if isinstance(kind, str | TaskKind):  # else it is a problem
                self._schedules.handles(handler, kind if isinstance(kind, str) else kind.name)
            return handler

        return decorate

    @overload
    def add_schedule(
        self,
        key: str,
        task: TaskKind[None, Any, Any, Any] | str,
        trigger: Trigger,
        metadata: None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Self: ...

    @overload
    def add_schedule(
        self,
        key: str,
        task: TaskKind[M, Any, Any, Any],
        trigger: Trigger,
        metadata: M,
        **options: Unpack[ScheduleOptions],
    ) -> Self: ...

    @overload
    def add_schedule(
        self,
        key: str,
        task: str,
        trigger: Trigger,
        metadata: Any,
        **options: Unpack[ScheduleOptions],
    ) -> Self: ...

    def add_schedule(
        self, key: str, task: Any, trigger: Trigger, metadata: Any = None, **options: Any
    ) -> Self:
        """Have tasks made at the instants of a trigger: Every, Cron or Once.

        Each worker puts it at its start, as `TaskClient.put_schedule` with the policy `update`: one
        that is there keeps its phase and its pause. One that the program declares no more keeps
        firing until `delete_schedule`; `perdure doctor` names it.

        Args:
            key: the schedule's name.
            task: a kind or name of a task of this service.
            trigger: when.
            metadata: what each of its tasks is asked.
            options: timing and what else its tasks have; see `ScheduleOptions`.
        """
        said = cast("ScheduleOptions", options)
        self._schedules.add(NewSchedule(key, task, trigger, metadata, said))
        return self

    def schedule(
        self,
        trigger: Trigger,
        *,
        key: str | None = None,
        metadata: Any = None,
        **options: Unpack[ScheduleOptions],
    ) -> Callable[[F], F]:
        """As `add_schedule`, above or below the `@builder.task` of a handler; gives it back.

        `key` is the task's name where nothing else is said.
        """

        def decorate(handler: F) -> F:
            new = NewSchedule(key or "", "", trigger, metadata, options)
            self._schedules.add(OnHandler(handler, new))
            return handler

        return decorate

    def add_lifespan(
        self, name: str, factory: LifespanFactory[T], tick: float | timedelta | None = None
    ) -> Lifespan[T]:
        """A value that each worker process sets up before it claims, and cleans up at its end.

        `factory` is called without arguments: a generator function with one yield, or whatever
        gives a context manager, async or not. They are entered in this order and left in reverse,
        once the last handler has ended; a setup that fails ends the worker. The value is the
        `.value` of what this returns, which `made_by` takes as well.

        With `tick`, seconds or a timedelta, `tick()` of the value is called every so often, or the
        generator goes on to its next yield; never twice at once, and what it raises is logged.
        """
        lifespan = lifespan_of(name, factory, tick, self._problems)
        self._lifespans.append(lifespan)
        return lifespan

    @overload
    def lifespan(self, factory: LifespanFactory[T], /) -> Lifespan[T]: ...

    @overload
    def lifespan(
        self, /, *, name: str | None = None, tick: float | timedelta | None = None
    ) -> Callable[[LifespanFactory[T]], Lifespan[T]]: ...

    def lifespan(
        self,
        factory: LifespanFactory[Any] | None = None,
        /,
        *,
        name: str | None = None,
        tick: float | timedelta | None = None,
    ) -> Any:
        """`add_lifespan` as a decorator: the function's name becomes the lifespan."""

        def decorate(factory: LifespanFactory[Any]) -> Lifespan[Any]:
            return self.add_lifespan(name or str(getattr(factory, "__name__", "")), factory, tick)

        return decorate if factory is None else decorate(factory)

    def add_singleton(
        self, name: str, factory: SingletonFactory, tick: float | timedelta | None = None
    ) -> Self:
        """What one process at most holds at any time, of all that share the schema.

        It is a task that does not end, `singleton:<name>`: each worker enqueues it at its start and
        may run it, beside its slots; when the holder stops or dies, another takes over. `factory`
        is as that of a lifespan, and may take the task's context; it is entered by the holder, and
        left when it stops.

        With `tick`, seconds or a timedelta, it ticks as a lifespan does, on a grid by the
        database's clock that outlives its holders: an instant is saved before its tick begins, so
        that none comes twice, and a take-over loses at most the one that was under way.
        """
        try:
            definition = singleton_definition(name, factory, interval_of(tick))
        except (TypeError, ValueError) as error:
            self._problems.append(f"the singleton {name!r}: {error}")
        else:
            self._definitions.append(definition)
        return self

    def on(self, event: str, fn: Listener) -> Self:
        """Call a plain function with each event of a dotted name, such as `task.completed`.

        In this process only, after the fact is durable, at most once; whatever it raises is logged.
        """
        self._problems += listener_problems(event, fn)
        self._listeners.append((event, fn))
        return self

    def add_constraint(
        self,
        name: str,
        probe: Probe | TimeWindow,
        *,
        every: float | timedelta = 10.0,
        debounce: float | timedelta = 5.0,
    ) -> Self:
        """Judge a constraint in each worker, so that it takes tasks that require it.

        `probe` is `Reachable`, `DiskFree`, `TimeWindow`, or a function or coroutine function of
        nothing: True, or it does not hold; nor does it if the probe raises or takes longer than
        `every`. It is asked at the start, and every so many seconds; what is believed changes when
        it has said the same for `debounce` seconds. Both may be timedeltas.
        """
        try:
            declared = constraint(name, probe, every=every, debounce=debounce)
        except RegistrationError as error:
            self._problems += error.problems
            return self
        if name in self._constraints:
            self._problems.append(f"constraint {name!r} is declared twice")
        self._constraints[name] = declared
        return self

    def build(self) -> S:
        """Check everything, and wire the service.

        Raises:
            RegistrationError: every mistake in tasks, schedules and listeners.
            ConfigurationError: what is wrong with the settings.
        """
        problems = [*self._problems]
        schedules = self._schedules.checked(self._definitions, problems)
        problems += problems_between(self._lifespans, (d.handler for d in self._definitions))
        declared = Declared(
            registry=Registry(self._definitions, problems),
            settings=MappingProxyType(dict(self._settings)),
            listeners=tuple(self._listeners),
            schedules=schedules,
            lifespans=tuple(self._lifespans),
            constraints=tuple(self._constraints.values()),
            doubts=tuple(doubts(self._required(schedules), self._constraints)),
        )
        return self._wire(declared)

    def _required(self, schedules: tuple[NewSchedule, ...]) -> Iterator[tuple[str, str]]:
        """Who requires a constraint, and which."""
        for definition in self._definitions:
            yield from ((f"task {definition.name!r}", name) for name in definition.requires)
        for schedule in schedules:
            names = schedule.options.get("requires") or ()
            yield from ((f"schedule {schedule.key!r}", name) for name in names)

    def _configure(self, group: str, values: Mapping[str, object]) -> Self:
        for key, value in values.items():
            self._settings["dsn" if key == "dsn" else f"{group}.{key}"] = value
        return self
