"""TaskDefinition: all that is known about a task of one name, once it has been declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from perdure.declare.lifespans import Lifespan
from perdure.tasks.checkpoints import Upgrade
from perdure.tasks.codec import Payload
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.policies import RetryPolicy, Timeouts, UniquePolicy

Mode: TypeAlias = Literal["async", "sync"]
WhenFull: TypeAlias = Literal["queue", "skip", "cancel_previous"]
"""What becomes of a task of a limited name that is one too many."""

OUTCOMES: Final = (Success, Failure, Retry, Suspended, Cancelled)


def outcome_of(returned: object) -> Outcome[Any, Any]:
    """What a handler returned, as an outcome: anything that is none is the result of a success."""
    return returned if isinstance(returned, OUTCOMES) else Success(returned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Who does the work.

    `make()` gives what one run calls with its context, and whose value is awaited where `mode` is
    `async`: the same function each time, or the `execute` of an object made for the run.
    `isolated`: in a child process of its own. `label` is for messages: module and qualified name.
    `lifespans` are those whose values its factory is given.
    """

    mode: Mode
    make: Callable[[], Callable[[Any], Any]]
    isolated: bool = False
    label: str = "handler"
    lifespans: tuple[Lifespan[Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKey:
    """How clients with the registry derive the key of a task that is enqueued without one."""

    function: Callable[[Any], str]
    policy: UniquePolicy = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxInstances:
    """How many tasks of a name run at once in the whole schema: `n`, for each value of the metadata
    field `key` (dotted) if there is one; `when_full` says what becomes of one more."""

    n: int
    key: str | None = None
    when_full: WhenFull = "queue"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskDefinition:
    """A task as it was declared; made by the builder or by `define`.

    `version` is that of the execution metadata, `upgrades[n]` turns a JSON object of version n
    into n + 1. `queue` and `priority` None: `default` and 5. `stop_grace` is in seconds, None: the
    setting. `on_exhausted` names the task that is enqueued when this one fails for good.
    `keep_results`: seconds for which its tasks stay after their end instead of the settings, 0: no
    result is stored.
    `singleton`: it does not end, runs beside the slots, and each worker enqueues it at its start.
    """

    name: str
    handler: Handler
    aliases: tuple[str, ...] = ()
    metadata: Payload[Any]
    execution_metadata: Payload[Any]
    result: Payload[Any]
    error: Payload[Any]
    version: int = 1
    upgrades: Mapping[int, Upgrade] = field(default_factory=lambda: MappingProxyType({}))
    save_on_stop: bool = True
    queue: str | None = None
    priority: int | None = None
    requires: tuple[str, ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    stop_grace: float | None = None
    unique_key: UniqueKey | None = None
    max_instances: MaxInstances | None = None
    keep_results: float | None = None
    on_exhausted: str | None = None
    description: str | None = None
    singleton: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)

    def kept(self, result: str) -> str:
        """What is stored of a result, as JSON text."""
        return "null" if self.keep_results == 0 else result
