"""What a run may write, and how: every write is fenced by its lease; on the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from perdure.declare.kind import Answer, Enqueued, NewTask
from perdure.declare.lifespans import Lifespan
from perdure.declare.registry import Registry
from perdure.errors import DatabaseUnavailable, LeaseLost, TooLarge
from perdure.run.bus import Bus
from perdure.run.children import Children
from perdure.run.completer import Completer
from perdure.run.events import LifespanFailed
from perdure.run.holdings import Holdings
from perdure.run.slots import Threads
from perdure.settings import Settings
from perdure.store import binding, queue
from perdure.store.commit import committed
from perdure.store.database import Database, Session
from perdure.store.faults import is_refusal, left_if_read_only, translated
from perdure.store.operations import Added, Operation, inputs
from perdure.store.perform import perform
from perdure.store.queue import Saving, Settling, move_document, saved_document
from perdure.tasks.codec import excess
from perdure.tasks.outcomes import seconds_of
from perdure.tasks.places import Claimed, Ended, InputRow, LeaseId, Move, Saved
from perdure.tasks.policies import RetryDefaults

if TYPE_CHECKING:
    import psycopg

    from perdure.declare.kind import CallersConnection

REPORT_SECONDS = 1.0
"""Progress is written at most this often."""
SEPARATE_TRIES = 3

T = TypeVar("T")


class OwnLease:
    """The lease that a run asks for itself. Its id is made once: asking again is harmless."""

    __slots__ = ("asking", "id", "unanswered")

    def __init__(self) -> None:
        self.id: LeaseId = str(uuid4())
        self.asking = asyncio.Lock()
        self.unanswered: dict[int, float] = {}
        """Sessions that were asked and have not answered: it may be there, or come yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every run of one worker shares."""

    registry: Registry
    database: Database
    holdings: Holdings
    completer: Completer
    threads: Threads
    children: Children
    bus: Bus
    rng: random.Random
    settings: Callable[[], Settings]
    worker_id: Callable[[], int]
    queue_of: Callable[[int], str]
    operation_of: Callable[[NewTask[Any, Any]], Operation[Added]]
    application: str | None
    lifespans: Mapping[Lifespan[Any], Any]
    cancelled: set[int]
    """Tasks that were cancelled while they wait for a slot; the beat's news are kept here."""

    def retry_defaults(self) -> RetryDefaults:
        """The settings' part of the retry rules, as they are now."""
        execution, scheduling = self.settings().execution, self.settings().scheduling
        delays = scheduling.scheduler_retry_delays
        return RetryDefaults(
            max_retry_count=execution.max_retry_count,
            scheduler_retry_count=scheduling.scheduler_retry_count,
            scheduler_retry_delays=(
                None if delays is None else tuple(seconds_of(delay) for delay in delays)
            ),
        )


class FencedRun:
    """The part of a run that writes; the port of handlers on the event loop.

    `lease` changes once, when the run is about to write in a caller's transaction: then it gets a
    lease of its own, so that no open transaction stands in its neighbours' way.
    """

    __slots__ = ("_last_report", "_own", "_reported", "_separating", "_wrote", "attempt",
                 "claimed", "lease", "progress", "started", "task_id", "timeline",
                 "tools")  # fmt: skip

    def __init__(self, claimed: Claimed, tools: Tools) -> None:
        self.claimed = claimed
        self.task_id = claimed.task_id
        self.tools = tools
        self.lease: LeaseId = claimed.lease
        self.attempt = claimed.attempt + 1
        self.started = 0.0
        self.progress: str | None = None
        """The last report as JSON text, if the completer does not have it yet."""
        self.timeline = tools.database.timeline.number
        self._wrote = claimed.execution_metadata is not None or claimed.steps is not None
        self._own = False
        self._reported: float | None = None
        self._last_report: str | None = None
        self._separating: OwnLease | None = None

    @property
    def rewound(self) -> bool:
        """Whether a standby has taken over that may lack what this run has written, or has read."""
        return self._wrote and self.tools.database.timeline.moved(self.timeline)

    @property
    def started_at(self) -> float:
        """When the handler was called, by the database's clock: seconds of the epoch."""
        return self.started + self.tools.holdings.clock_offset

    @property
    def retry_defaults(self) -> RetryDefaults:
        """As RunPort."""
        return self.tools.retry_defaults()

    @property
    def deadline_passed(self) -> bool:
        """As RunPort."""
        at = self.claimed.deadline_at
        return at is not None and at <= self.tools.holdings.now()

    def save_soon(self, saved: Saved) -> None:
        """As RunPort."""
        self.check_size(saved)
        self.tools.completer.save_soon(self._saving(saved), self)

    def report(self, progress: str) -> None:
        """As RunPort: the first at once, later ones with a pause between; the last with the end."""
        due = self.progress is None
        self.progress = self._last_report = progress
        if not due:
            return
        now = time.monotonic()
        wait = 0.0 if self._reported is None else self._reported + REPORT_SECONDS - now
        if wait <= 0:
            self._write_progress()
        else:
            asyncio.get_running_loop().call_later(wait, self._write_progress)

    def _write_progress(self) -> None:
        if self.progress is not None and self.task_id in self.tools.holdings.running:
            self._reported = time.monotonic()
            progress, self.progress = self.progress, None
            self.tools.completer.save_soon(self._saving(None)._replace(progress=progress), self)

    async def save(self, saved: Saved, explicit: bool) -> None:
        """As RunPort."""
        self.check_size(saved)
        with translated():
            saving = self._saving(saved)._replace(explicit=explicit)
            held = await self.tools.completer.save(saving, self)
        if not held:
            raise self._lost()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """As RunPort. What the handler's own statements raise leaves as the driver raised it."""
        await self.separate()
        async with self.tools.database.lent() as connection, connection.transaction():
            with left_if_read_only(connection):
                await self._run_on(connection, "fence", {})
            yield connection

    async def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """As RunPort."""
        await self.saves_itself()
        await self._run_on(on, "checkpoint", self.checkpoint_params(saved))

    async def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """As RunPort."""
        self.check_result(result)
        await self.saves_itself()
        await self._run_on(on, "complete", self.complete_params(result, saved))

    async def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """As RunPort."""
        operation = self.tools.operation_of(task)
        if on is not None:
            await self.separate()
            await self._run_on(on, "fence", {})
            rows = await binding.execute(
                on, self.tools.database, operation.statement, operation.params
            )
        else:
            self._writes()
            async with committed(self.tools.database) as connection:
                await self._run_on(connection, "fence", {})
                rows = await binding.execute(
                    connection, self.tools.database, operation.statement, operation.params
                )
        task_id, answer = operation.read(rows)
        return Enqueued(task_id, Answer(answer))

    @property
    def moving(self) -> bool:
        """Whether a lease of its own is just being asked for, and may hold the task already."""
        return self._separating is not None and self._separating.asking.locked()

    async def saves_itself(self) -> None:
        """Have a lease of one's own for a checkpoint that the completer's must not follow; errors
        as `separate`."""
        await self.separate()
        await self.tools.completer.overtake(self)

    async def separate(self) -> None:
        """Have a lease of one's own, once.

        Raises:
            LeaseLost: the lease does not hold the task any more.
            DatabaseUnavailable: the database does not answer.
        """
        self._writes()
        if self._separating is None:
            self._separating = OwnLease()
        asked, holdings = self._separating, self.tools.holdings
        async with asked.asking:
            if self._own:
                return
            holdings.expects(asked.id)
            holder = None
            try:
                holder = await self._ask_for(asked)
            finally:
                holdings.separated(self.task_id, self.lease, asked.id, holder, asked.unanswered)
            self.lease = holder
            self._own = True

    async def _ask_for(self, asked: OwnLease) -> LeaseId:
        for _ in range(SEPARATE_TRIES - 1):
            with suppress(DatabaseUnavailable):
                return await self._ask_once_for(asked)
        return await self._ask_once_for(asked)

    async def _ask_once_for(self, asked: OwnLease) -> LeaseId:
        async with self.tools.database.connection() as connection:
            session, sent = Session(self.tools.database, connection), time.monotonic()
            try:
                return await queue.separate(session, self.lease, self.task_id, asked.id)
            except BaseException as error:
                if not is_refusal(error):
                    # It will be ended: nobody else may have it.
                    asked.unanswered[session.backend_pid] = sent
                    connection.pgconn.finish()
                raise

    async def inputs(self) -> Sequence[InputRow]:
        """As RunPort."""
        return await perform(self.tools.database, inputs(self.task_id))

    async def now(self) -> float:
        """As RunPort."""
        return time.monotonic() + self.tools.holdings.clock_offset

    def has_raised(self, phase: str, error: Exception) -> None:
        """As RunPort."""
        self.tools.bus.emit(LifespanFailed(lifespan=self.claimed.name, phase=phase, error=error))

    async def in_thread(self, function: Callable[[], T], /) -> T:
        """As RunPort."""
        return await self.tools.threads.run(function)

    async def _run_on(self, on: object, name: str, params: dict[str, object]) -> None:
        self.check_timeline()
        fence = {"lease": self.lease, "task": self.task_id}
        await binding.execute(on, self.tools.database, name, {**fence, **params})

    def check_timeline(self) -> None:
        """LeaseLost for a run that must not go on from what it believes to be written."""
        if self._wrote:
            self.tools.database.timeline.check(self.timeline)

    def checkpoint_params(self, saved: Saved) -> dict[str, object]:
        """What the statement `checkpoint` takes besides lease and task; TooLarge beyond a limit."""
        self.check_size(saved)
        return {
            "attempt": self.attempt,
            "started_at": self.started_at,
            "saved": saved_document(saved),
        }

    def complete_params(self, result: str, saved: Saved) -> dict[str, object]:
        """What the statement `complete` takes besides lease and task; TooLarge beyond a limit."""
        self.check_size(saved)
        goal = Ended(state="completed", result=self.tools.registry[self.claimed.name].kept(result))
        move = Move(to=goal, attempt=self.attempt, saved=saved, explicit=True)
        # Also one that the completer has: it may come too late.
        settling = Settling(self.lease, self.task_id, self.started_at, move, self._last_report)
        return {"worker": self.tools.worker_id(), "move": move_document(settling)}

    def check_result(self, result: str) -> None:
        """TooLarge for a result beyond its limit."""
        most = self.tools.settings().limits.result_bytes
        if size := excess(most, result):
            raise TooLarge(
                f"the result has {size} bytes, limits.result_bytes is {most}: "
                "store it elsewhere and return a reference"
            )

    def check_size(self, saved: Saved) -> None:
        """TooLarge for execution metadata and steps beyond their limit."""
        most = self.tools.settings().limits.checkpoint_bytes
        texts = [text for text in (saved.execution_metadata, saved.steps) if text is not None]
        if size := excess(most, *texts):
            raise TooLarge(
                f"the execution metadata and steps have {size} bytes, "
                f"limits.checkpoint_bytes is {most}: store less, or elsewhere"
            )

    def _saving(self, saved: Saved | None) -> Saving:
        if saved is not None:
            self._writes()
        return Saving(
            self.lease, self.task_id, self.attempt, self.started_at, saved, alone=self._own
        )

    def _writes(self) -> None:
        """From the first time on it counts which server has taken what was written."""
        if not self._wrote:
            self._wrote, self.timeline = True, self.tools.database.timeline.number

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"the lease no longer holds task {self.task_id}: another worker has it now"
        )
