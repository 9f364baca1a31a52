"""The short form of a task, `@builder.task(...)`, said word by word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from perdure.declare.kind import TaskKind
from perdure.declare.task_builder import TaskBuilder
from perdure.tasks.policies import RetryPolicy, Timeouts


def said_shortly(
    kind: TaskKind[Any, Any, Any, Any] | str,
    handler: object,
    *,
    queue: str | None,
    priority: int | None,
    retry: RetryPolicy | int | None,
    timeout: Timeouts | timedelta | float | None,
    requires: tuple[str, ...],
    isolated: bool,
) -> Callable[[TaskBuilder[Any, Any, Any, Any]], None]:
    """What `add_task` is given for it."""

    def said(task: TaskBuilder[Any, Any, Any, Any]) -> None:
        _ = task.named(kind) if isinstance(kind, str) else task.of(kind)
        task.handled_by(cast("Any", handler))
        if isinstance(requires, str):
            raise TypeError(f"requires={requires!r}: give a tuple of names")
        task.requires(*requires)
        _ = task.isolated() if isolated else task
        _ = task if queue is None else task.on_queue(queue)
        _ = task if priority is None else task.with_priority(priority)
        _say_retry(task, retry)
        _say_timeout(task, timeout)

    return said


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
