"""What a run may do in a child process: the worker writes; transactions are the child's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from perdure.declare.kind import Answer, Enqueued, NewTask
from perdure.run.bus import Bus
from perdure.run.events import LifespanFailed
from perdure.run.slots import Threads
from perdure.store import binding
from perdure.store.commit import committed, committed_sync
from perdure.store.database import Database
from perdure.store.faults import left_if_read_only
from perdure.store.operations import Added, Operation, inputs
from perdure.store.perform import perform, perform_sync
from perdure.tasks.places import Claimed, InputRow, Saved
from perdure.tasks.policies import RetryDefaults

if TYPE_CHECKING:
    import psycopg

    from perdure.declare.kind import CallersConnection

T = TypeVar("T")

OperationOf: TypeAlias = Callable[[NewTask[Any, Any]], Operation[Added]]


class Ask(Protocol):
    """Has the worker do something, and waits for its answer."""

    def __call__(self, what: str, **body: object) -> Any:
        """Errors that the worker met with are raised here."""


class _Port:
    """What takes no connection of the child's own."""

    def __init__(
        self, ask: Ask, database: Database, operation_of: OperationOf, task_id: int
    ) -> None:
        self._ask = ask
        self._task_id = task_id
        self._database = database
        self._operation_of = operation_of

    @property
    def retry_defaults(self) -> RetryDefaults:
        """As RunPort."""
        document = self._ask("retry_defaults")
        delays = document.pop("scheduler_retry_delays")
        return RetryDefaults(
            scheduler_retry_delays=None if delays is None else tuple(delays), **document
        )

    @property
    def deadline_passed(self) -> bool:
        """As RunPort."""
        return bool(self._ask("deadline_passed"))

    def save_soon(self, saved: Saved) -> None:
        """As RunPort."""
        self._ask("save_soon", saved=list(saved))

    def report(self, progress: str) -> None:
        """As RunPort."""
        self._ask("report", progress=progress)

    def _fence(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the worker has sent to fence a write here, as the statement takes it."""
        self._database.timeline.check(params["timeline"])
        return {name: value for name, value in params.items() if name != "timeline"}


class SyncPort(_Port):
    """For plain handlers, as SyncRunPort says."""

    def save(self, saved: Saved, explicit: bool) -> None:
        """As RunPort."""
        self._ask("save", saved=list(saved), explicit=explicit)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """As RunPort."""
        fence = self._ask("fence")
        with self._database.sync_lent() as connection, connection.transaction():
            with left_if_read_only(connection):
                self._run_on(connection, "fence", fence)
            yield connection

    def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """As RunPort."""
        self._run_on(on, "checkpoint", self._ask("checkpoint", saved=list(saved)))

    def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """As RunPort."""
        self._run_on(on, "complete", self._ask("complete", result=result, saved=list(saved)))

    def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """As RunPort."""
        if on is None:
            with committed_sync(self._database) as connection:
                return self.enqueue(task, connection)
        operation = self._operation_of(task)
        self._run_on(on, "fence", self._ask("fence"))
        rows = binding.execute_sync(on, self._database, operation.statement, operation.params)
        task_id, answer = operation.read(rows)
        return Enqueued(task_id, Answer(answer))

    def inputs(self) -> Sequence[InputRow]:
        """As RunPort."""
        return perform_sync(self._database, inputs(self._task_id))

    def _run_on(self, on: object, name: str, params: dict[str, Any]) -> None:
        binding.execute_sync(on, self._database, name, self._fence(params))


class AsyncPort(_Port):
    """For async handlers, as RunPort says; what waits for the worker does so in a thread."""

    def __init__(
        self, ask: Ask, database: Database, operation_of: OperationOf, claimed: Claimed, bus: Bus
    ) -> None:
        super().__init__(ask, database, operation_of, claimed.task_id)
        self._name = claimed.name
        self._bus = bus
        self._threads = Threads()

    async def save(self, saved: Saved, explicit: bool) -> None:
        """As RunPort."""
        await self._wait("save", saved=list(saved), explicit=explicit)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """As RunPort."""
        fence = await self._wait("fence")
        async with self._database.lent() as connection, connection.transaction():
            with left_if_read_only(connection):
                await self._run_on(connection, "fence", fence)
            yield connection

    async def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """As RunPort."""
        await self._run_on(on, "checkpoint", await self._wait("checkpoint", saved=list(saved)))

    async def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """As RunPort."""
        params = await self._wait("complete", result=result, saved=list(saved))
        await self._run_on(on, "complete", params)

    async def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """As RunPort."""
        if on is None:
            async with committed(self._database) as connection:
                return await self.enqueue(task, connection)
        operation = self._operation_of(task)
        await self._run_on(on, "fence", await self._wait("fence"))
        rows = await binding.execute(on, self._database, operation.statement, operation.params)
        task_id, answer = operation.read(rows)
        return Enqueued(task_id, Answer(answer))

    async def inputs(self) -> Sequence[InputRow]:
        """As RunPort."""
        return await perform(self._database, inputs(self._task_id))

    async def now(self) -> float:
        """As RunPort."""
        return float(await self._wait("now"))

    def has_raised(self, phase: str, error: Exception) -> None:
        """As RunPort."""
        self._bus.emit(LifespanFailed(lifespan=self._name, phase=phase, error=error))

    async def in_thread(self, function: Callable[[], T], /) -> T:
        """As RunPort."""
        return await self._threads.run(function)

    async def _wait(self, what: str, **body: object) -> Any:
        return await asyncio.to_thread(self._ask, what, **body)

    async def _run_on(self, on: object, name: str, params: dict[str, Any]) -> None:
        await binding.execute(on, self._database, name, self._fence(params))
