"""Waiting for what a task becomes: pauses, the typed result, changes worth telling."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from perdure.client.arguments import seconds
from perdure.client.requests import Task
from perdure.errors import InvalidPayload, TaskCancelled, TaskFailed, TaskNotFound
from perdure.store.views import ENDED, TaskSummary
from perdure.tasks.codec import Payload

R = TypeVar("R")

PAUSE_MIN_SECONDS: Final = 0.02
PAUSE_MAX_SECONDS: Final = 0.5
PAUSE_FACTOR: Final = 1.5


class Patience:
    """Growing pauses between two looks, within a time that may run out.

    `timeout` is in seconds, or a timedelta; None: for ever.
    """

    def __init__(self, timeout: float | timedelta | None = None) -> None:
        length = None if timeout is None else seconds("timeout", timeout)
        self._length = length
        self._end = None if length is None else time.monotonic() + length
        self._pause = PAUSE_MIN_SECONDS

    def reset(self) -> None:
        """Something happened: look again soon."""
        self._pause = PAUSE_MIN_SECONDS

    async def wait(self, what: str) -> None:
        """Pause; TimeoutError says `what` has not come if the time has run out."""
        await asyncio.sleep(self._next(what))

    def wait_sync(self, what: str) -> None:
        """The same in a thread."""
        time.sleep(self._next(what))

    def _next(self, what: str) -> float:
        pause = self._pause
        self._pause = min(pause * PAUSE_FACTOR, PAUSE_MAX_SECONDS)
        if self._end is None:
            return pause
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{what} within {self._length:g} s; it goes on, ask again")
        return min(pause, left)


class Ended(Generic[R]):
    """The value of a task that has completed; its own class, because None is a value, too."""

    __slots__ = ("value",)

    def __init__(self, value: R) -> None:
        self.value = value


def read_result(
    task_id: int, task: Task, found: tuple[str, str | None, str | None] | None
) -> Ended[Any] | None:
    """The typed result, None while the task has not ended.

    Raises:
        TaskNotFound, TaskFailed, TaskCancelled: there is no result.
        InvalidPayload: the result does not fit the kind's type.
    """
    if found is None:
        raise TaskNotFound(
            f"there is no task {task_id}: removed by retention, never there, or not yours to see"
        )
    state, result, error = found
    if state not in ENDED:
        return None
    payloads = None if isinstance(task, str) else task.payloads
    if state == "completed":
        return Ended(_value(None if payloads is None else payloads.result, result))
    record = None if error is None else json.loads(error)
    if state == "cancelled":
        raise TaskCancelled(task_id, record)
    raise TaskFailed(task_id, record, _error(None if payloads is None else payloads.error, record))


class Changes:
    """Which of the tasks that a watch sees are worth telling."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[str, Any]] = {}
        self._live: set[int] = set()

    def of(self, seen: Sequence[TaskSummary]) -> Iterator[TaskSummary]:
        """Those whose state or progress is another than at the last look."""
        self._live = {task.id for task in seen if not task.ended}
        for task in seen:
            now = (task.state, task.progress)
            if self._told.get(task.id) != now:
                self._told[task.id] = now
                yield task

    @property
    def over(self) -> bool:
        """Whether all that were seen last have ended."""
        return not self._live


def _value(payload: Payload[Any] | None, text: str | None) -> Any:
    if payload is None:
        return None if text is None else json.loads(text)
    if text is not None:
        return payload.load(text)
    try:
        return payload.load("null")
    except InvalidPayload:
        raise InvalidPayload(
            "no result is stored: it was erased, or its task keeps none (keep_results_for(0))"
        ) from None


def _error(payload: Payload[Any] | None, record: dict[str, Any] | None) -> Any:
    given = None if record is None else record.get("error")
    if payload is None or payload.is_none or given is None:
        return given
    try:
        return payload.load(json.dumps(given))
    except InvalidPayload:
        return given  # an error of an older version is still worth more than none
