"""TaskDefinition: all that is known about a task of one name, once it has been declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from perdure.tasks.checkpoints import Upgrade
from perdure.tasks.codec import Payload
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.policies import RetryPolicy, Timeouts

Mode: TypeAlias = Literal["async", "sync"]
UniquePolicy: TypeAlias = Literal["keep", "replace"]


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
    """

    mode: Mode
    make: Callable[[], Callable[[Any], Any]]
    isolated: bool = False
    label: str = "handler"


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKey:
    """How clients with the registry derive the key of a task that is enqueued without one."""

    function: Callable[[Any], str]
    policy: UniquePolicy = "keep"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskDefinition:
    """A task as it was declared; made by the builder or by `define`.

    `version` is that of the execution metadata, `upgrades[n]` turns a JSON object of version n
    into n + 1. `queue` and `priority` None: `default` and 5. `stop_grace` is in seconds, None: the
    setting. `on_exhausted` names the task that is enqueued when this one fails for good.
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
    on_exhausted: str | None = None
    description: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)
