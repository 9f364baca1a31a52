"""Operator: what an asynchronous program does to tasks and queues that are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from perdure.client import requests
from perdure.client.arguments import seconds, texts
from perdure.client.executor import Executor
from perdure.client.requests import SignalOptions, UpdateOptions
from perdure.store import operations
from perdure.store.operations import NameKind
from perdure.store.views import BulkCancelled, ConstraintState, QueueState, WorkerState

if TYPE_CHECKING:
    from perdure.declare.kind import CallersConnection


class Operator(Executor):
    """Cancels, retries, proceeds, pauses: what operates, of `TaskClient`."""

    async def cancel(self, id: int, *, on: CallersConnection | None = None) -> str:
        """Cancel a task: cancelled, requested (it is running), ended, not_found."""
        return await self._do(operations.cancel(id), on)

    async def retry(
        self,
        id: int,
        *,
        patch: Mapping[str, Any] | None = None,
        execution_metadata: Any = None,
        with_dependents: bool = False,
        on: CallersConnection | None = None,
    ) -> str:
        """Run it again: retried, hastened, live, completed, key_taken, not_found.

        A merge patch, or a whole execution metadata, mends the checkpoint that it goes on from.
        `with_dependents`: all that ended because of it, in turn, wait for it again.
        """
        brought = requests.signal_of({"patch": patch, "execution_metadata": execution_metadata})
        operation = operations.retry(
            id, brought.patch, brought.execution_metadata, with_dependents=with_dependents
        )
        return await self._do(operation, on)

    async def update(
        self, id: int, *, on: CallersConnection | None = None, **changes: Unpack[UpdateOptions]
    ) -> str:
        """Change what was asked of a task: applied, applied_next_run, not_applied, not_found.

        What is left out stays, and so do its id, counters and checkpoint. One that runs goes on
        with what it began with: only a next run, if there is one, sees the change. What has ended
        is not changed.
        """
        return await self._do(operations.update(id, requests.change_of(changes)), on)

    async def run_now(self, id: int, *, on: CallersConnection | None = None) -> str:
        """Run a task that waits for a time at once: hastened, not_waiting, not_found."""
        return await self._do(operations.run_now(id), on)

    async def repeat(self, id: int, *, on: CallersConnection | None = None) -> int | None:
        """Enqueue a copy of a task: its id; None for an unknown task.

        Name, metadata, queue, priority, tags, requires and headers are copied, nothing else.
        """
        return await self._do(operations.repeat(id), on)

    async def erase(self, id: int, *, on: CallersConnection | None = None) -> str:
        """Remove what an ended task carried: erased, live, not_found.

        Metadata, execution metadata, steps, result and error; counters, times and state stay.
        """
        return await self._do(operations.erase(id), on)

    async def proceed(
        self, id: int, *, on: CallersConnection | None = None, **signal: Unpack[SignalOptions]
    ) -> str:
        """Let a suspended task go on: proceeded, scheduled, kept, repeated, ended, not_found."""
        return await self._do(operations.proceed(id, requests.signal_of(signal)), on)

    async def proceed_waiting(
        self,
        wait_key: str,
        *,
        keep_for: float | timedelta = 3600.0,
        on: CallersConnection | None = None,
        **signal: Unpack[SignalOptions],
    ) -> str:
        """Let the one task that is suspended with this key go on: as `proceed`, or ambiguous.

        Without one the signal is kept for `keep_for` (seconds); 0 keeps nothing: not_found.
        """
        kept = seconds("keep_for", keep_for)
        operation = operations.proceed_waiting(wait_key, requests.signal_of(signal), kept)
        return await self._do(operation, on)

    async def cancel_where(
        self,
        *,
        name: str | None = None,
        state: str | None = None,
        tag: str | None = None,
        unique_key: str | None = None,
        queue: str | None = None,
        dry_run: bool = False,
        on: CallersConnection | None = None,
    ) -> BulkCancelled:
        """Cancel all that match, in one transaction; at least one filter.

        `dry_run` changes nothing, and counts what would be cancelled.
        """
        operation = operations.cancel_where(
            name=name, state=state, tag=tag, unique_key=unique_key, queue=queue, dry_run=dry_run
        )
        return await self._do(operation, on)

    async def retry_where(
        self,
        *,
        name: str | None = None,
        state: str = "failed",
        since: datetime | None = None,
        error_type: str | None = None,
        dry_run: bool = False,
        on: CallersConnection | None = None,
    ) -> int:
        """Do what `retry` does for all failed (or cancelled) tasks that match; how many.

        `state` is failed or cancelled, `since` (with a time zone) the earliest end, `error_type`
        the class of the exception as `error["type"]` has it. Without filters: all failed ones.
        """
        operation = operations.retry_where(
            name=name, state=state, since=since, error_type=error_type, dry_run=dry_run
        )
        return await self._do(operation, on)

    async def reschedule_where(
        self,
        *,
        name: str | None = None,
        state: str | None = None,
        tag: str | None = None,
        unique_key: str | None = None,
        queue: str | None = None,
        delay: float | timedelta | None = None,
        run_at: datetime | None = None,
        dry_run: bool = False,
        on: CallersConnection | None = None,
    ) -> int:
        """Move the time of all pending, scheduled, retrying and blocked that match; how many.

        At least one filter, and `delay` (seconds) or `run_at` (with a time zone).
        """
        operation = operations.reschedule_where(
            name=name, state=state, tag=tag, unique_key=unique_key, queue=queue,
            delay=None if delay is None else seconds("delay", delay),
            run_at=run_at, dry_run=dry_run,
        )  # fmt: skip
        return await self._do(operation, on)

    async def prune(
        self,
        older_than: float | timedelta,
        *,
        states: Sequence[str] | None = None,
        dry_run: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> int:
        """Remove what ended longer ago than `older_than` (seconds), as retention does; how many.

        `states`: only completed, failed or cancelled ones; None is all of them. What lives, is
        followed by what lives, or holds a unique key stays. Not one transaction but many short
        ones; `told` is called with the count after each.
        """
        age, ended = seconds("older_than", older_than), texts("states", states)
        done = 0
        after: int | None = 0
        while after is not None:
            operation = operations.prune_after(
                age, ended, dry_run=dry_run, after=after, at_most=operations.PRUNE_LOOKS
            )
            pruned, after = await self._do(operation)
            done += pruned
            if told is not None:
                told(done)
        return done

    async def pause_queue(
        self, name: str, *, stop_running: bool = False, on: CallersConnection | None = None
    ) -> str:
        """Stop claims of a queue, `*` of all: paused or already_paused."""
        return await self._do(operations.pause_queue(name, stop_running=stop_running), on)

    async def resume_queue(self, name: str, *, on: CallersConnection | None = None) -> str:
        """Let a queue be claimed again: resumed or not_paused."""
        return await self._do(operations.resume_queue(name), on)

    async def set_queue(
        self,
        name: str,
        *,
        max_depth: int | None = operations.AS_IT_IS,
        concurrency: int | None = operations.AS_IT_IS,
        on: CallersConnection | None = None,
    ) -> str:
        """Bound a queue; None takes a bound away, what is not said stays as it is.

        `max_depth`: how many may be due or running before an enqueue raises QueueFull.
        `concurrency`: how many of its tasks each worker process runs at once, from its next beat
        on; nothing that runs is stopped.
        """
        operation = operations.set_queue(name, max_depth=max_depth, concurrency=concurrency)
        return await self._do(operation, on)

    async def set_constraint(
        self, name: str, satisfied: bool | None, *, on: CallersConnection | None = None
    ) -> str:
        """Say for the whole cluster whether a constraint holds: changed or unchanged.

        None takes the word back. Where a worker has a probe of that name, too, both must hold.
        """
        return await self._do(operations.set_constraint(name, satisfied), on)

    async def drain_worker(self, id: int, *, on: CallersConnection | None = None) -> str:
        """Let a worker process take no more tasks: draining, already_draining or not_found.

        From its next beat on; what it runs is interrupted and goes on elsewhere. The process lives
        on until it is stopped; only a new one takes tasks again.
        """
        return await self._do(operations.drain_worker(id), on)

    async def queue_depth(self, queue: str) -> int:
        """Tasks of a queue that are due or running."""
        return await self._do(operations.queue_depth(queue))

    async def queues(self) -> list[QueueState]:
        """Every queue that is used or set, by name."""
        return await self._do(operations.queue_states())

    async def constraints(self) -> list[ConstraintState]:
        """Every constraint that somebody requires, declares or satisfies, by name."""
        return await self._do(operations.constraint_states())

    async def names(self, kind: NameKind) -> list[str]:
        """The names of a kind (task, queue, constraint, schedule) that anybody uses, in order.

        Setting a constraint or pausing a queue works for any name: one that comes later is told of
        it. What is not among these is nobody's yet, or a typo.
        """
        requests.kind_of_names(kind)
        return await self._do(operations.known_names(kind))

    async def workers(self) -> list[WorkerState]:
        """Every worker process, by name."""
        return await self._do(operations.worker_states())
