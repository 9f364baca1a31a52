"""ServiceBuilder: what `TaskService.builder()` gives; settings, tasks, listeners of a service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar, cast, overload

from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import TaskKind
from perdure.declare.registry import Registry
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import Returned, TaskBuilder, declare
from perdure.tasks.policies import RetryPolicy, Timeouts

S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., object])
M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")

Listener: TypeAlias = Callable[[Any], object]

EVENTS: Final = frozenset(
    (
        *("worker.started", "worker.stopping", "worker.stopped"),
        *("task.started", "task.completed", "task.failed", "task.cancelled", "task.retrying"),
        *("task.suspended", "task.interrupted", "task.lost"),
        *("queue.paused", "queue.resumed"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Everything that a program has declared: what a service is wired from.

    `settings` are the program's own defaults by dotted key, such as `execution.concurrency`;
    `listeners` are pairs of a dotted event name and a function.
    """

    registry: Registry
    settings: Mapping[str, object]
    listeners: tuple[tuple[str, Listener], ...]


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

    The values of `configure_*` are the program's defaults, by the names of the settings' keys:
    TOML, environment and command line beat them. They are checked when the service is wired.
    """

    def __init__(self, wire: Callable[[Declared], S]) -> None:
        self._wire = wire
        self._definitions: list[TaskDefinition] = []
        self._problems: list[str] = []
        self._settings: dict[str, object] = {}
        self._listeners: list[tuple[str, Listener]] = []

    def configure_persistence(self, **values: object) -> Self:
        """`[persistence]`, and `dsn`."""
        return self._configure("persistence", values)

    def configure_scheduling(self, **values: object) -> Self:
        """`[scheduling]`."""
        return self._configure("scheduling", values)

    def configure_execution(self, **values: object) -> Self:
        """`[execution]`."""
        return self._configure("execution", values)

    def configure_retention(self, **values: object) -> Self:
        """`[retention]`."""
        return self._configure("retention", values)

    def configure_limits(self, **values: object) -> Self:
        """`[limits]`."""
        return self._configure("limits", values)

    def configure_logging(self, **values: object) -> Self:
        """`[logging]`."""
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
        a timedelta. With a name instead of a kind the types come from the annotations.
        """

        def decorate(handler: F) -> F:
            def said(task: TaskBuilder[Any, Any, Any, Any]) -> None:
                _ = task.named(kind) if isinstance(kind, str) else task.of(kind)
                task.handled_by(cast("Any", handler)).requires(*requires)
                _ = task.isolated() if isolated else task
                _ = task if queue is None else task.on_queue(queue)
                _ = task if priority is None else task.with_priority(priority)
                _say_retry(task, retry)
                _say_timeout(task, timeout)

            self.add_task(said)
            return handler

        return decorate

    def on(self, event: str, fn: Listener) -> Self:
        """Call a plain function with each event of a dotted name, such as `task.completed`.

        In this process only, after the fact is durable, at most once; whatever it raises is logged.
        """
        if event not in EVENTS:
            near = get_close_matches(event, sorted(EVENTS), 1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(EVENTS))}"
            )
            self._problems.append(f"there is no event {event!r}; {hint}")
        elif not callable(fn):
            self._problems.append(f"the listener for {event!r} is not a function: {fn!r}")
        self._listeners.append((event, fn))
        return self

    def build(self) -> S:
        """Check everything, and wire the service.

        Raises:
            RegistrationError: every mistake in tasks and listeners.
            ConfigurationError: what is wrong with the settings.
        """
        declared = Declared(
            registry=Registry(self._definitions, self._problems),
            settings=MappingProxyType(dict(self._settings)),
            listeners=tuple(self._listeners),
        )
        return self._wire(declared)

    def _configure(self, group: str, values: Mapping[str, object]) -> Self:
        for key, value in values.items():
            self._settings["dsn" if key == "dsn" else f"{group}.{key}"] = value
        return self


def _say_retry(task: TaskBuilder[Any, Any, Any, Any], retry: RetryPolicy | int | None) -> None:
    match retry:
        case None:
            pass
        case RetryPolicy():
            task.with_retry_policy(retry)
        case _:
            task.with_retry(max_retries=retry)


def _say_timeout(
    task: TaskBuilder[Any, Any, Any, Any], timeout: Timeouts | timedelta | float | None
) -> None:
    match timeout:
        case None:
            pass
        case Timeouts():
            task.with_timeout(soft=timeout.soft, hard=timeout.hard)
        case _:
            task.with_timeout(hard=timeout)
