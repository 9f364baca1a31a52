"""Listeners: functions that are told of events by a dotted name, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

Listener: TypeAlias = Callable[[Any], object]
"""A plain function of an event, which has its fields as attributes; it must not block."""

EVENTS: Final = frozenset(
    (
        *("worker.started", "worker.stopping", "worker.stopped"),
        *("task.started", "task.completed", "task.failed", "task.cancelled", "task.retrying"),
        *("task.suspended", "task.interrupted", "task.lost", "lifespan.failed"),
        *("schedule.fired", "schedule.missed", "schedule.skipped", "schedule.broken"),
        *("queue.paused", "queue.resumed", "constraint.changed", "tasks.unserved"),
    )
)


def listener_problems(event: str, fn: object) -> Iterator[str]:
    """What is wrong with a listener for an event."""
    if event not in EVENTS:
        near = get_close_matches(str(event), sorted(EVENTS), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(EVENTS))}"
        yield f"there is no event {event!r}; {hint}"
    elif not callable(fn):
        yield f"the listener for {event!r} is not a function: {fn!r}"
