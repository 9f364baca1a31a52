"""What a run may do in a thread: what waits is done on the event loop, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.declare.kind import Answer, Enqueued, NewTask
from perdure.run.port import FencedRun
from perdure.store import binding
from perdure.store.faults import left_if_read_only
from perdure.tasks.places import InputRow, Saved
from perdure.tasks.policies import RetryDefaults

if TYPE_CHECKING:
    import psycopg

    from perdure.declare.kind import CallersConnection

T = TypeVar("T")


class ThreadPort:
    """The same abilities for a thread: what waits is done on the event loop, and waited for."""

    def __init__(self, run: FencedRun, loop: asyncio.AbstractEventLoop) -> None:
        self._fenced = run
        self._loop = loop

    @property
    def retry_defaults(self) -> RetryDefaults:
        """As RunPort."""
        return self._fenced.retry_defaults

    @property
    def deadline_passed(self) -> bool:
        """As RunPort."""
        return self._fenced.deadline_passed

    def save_soon(self, saved: Saved) -> None:
        """As RunPort."""
        self._fenced.check_size(saved)  # an error on the loop would reach nobody
        self._loop.call_soon_threadsafe(self._fenced.save_soon, saved)

    def report(self, progress: str) -> None:
        """As RunPort."""
        self._loop.call_soon_threadsafe(self._fenced.report, progress)

    def save(self, saved: Saved, explicit: bool) -> None:
        """As RunPort."""
        self._wait(self._fenced.save(saved, explicit))

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """As RunPort."""
        self._wait(self._fenced.separate())
        with self._fenced.tools.database.sync_lent() as connection, connection.transaction():
            with left_if_read_only(connection):
                self._run_on(connection, "fence", {})
            yield connection

    def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """As RunPort."""
        self._wait(self._fenced.saves_itself())
        self._run_on(on, "checkpoint", self._fenced.checkpoint_params(saved))

    def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """As RunPort."""
        self._fenced.check_result(result)
        self._wait(self._fenced.saves_itself())
        self._run_on(on, "complete", self._fenced.complete_params(result, saved))

    def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """As RunPort."""
        if on is None:
            return self._wait(self._fenced.enqueue(task, None))
        operation = self._fenced.tools.operation_of(task)
        self._wait(self._fenced.separate())
        self._run_on(on, "fence", {})
        database = self._fenced.tools.database
        rows = binding.execute_sync(on, database, operation.statement, operation.params)
        task_id, answer = operation.read(rows)
        return Enqueued(task_id, Answer(answer))

    def inputs(self) -> Sequence[InputRow]:
        """As RunPort."""
        return self._wait(self._fenced.inputs())

    def _run_on(self, on: object, name: str, params: dict[str, object]) -> None:
        self._fenced.check_timeline()
        fence = {"lease": self._fenced.lease, "task": self._fenced.claimed.task_id}
        binding.execute_sync(on, self._fenced.tools.database, name, {**fence, **params})

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
