"""SyncTaskClient: what TaskClient is, for synchronous programs; threads may share one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from typing_extensions import Unpack

from perdure.client import requests
from perdure.client.arguments import several
from perdure.client.opening import open_database
from perdure.client.requests import CopyOptions, SearchOptions, Task, UniqueKeyOf
from perdure.client.results import Changes, Ended, Patience, read_result
from perdure.client.sync_operator import SyncOperator
from perdure.client.sync_schedules import SyncScheduler
from perdure.declare.kind import Answer, Enqueued, EnqueueOptions, NewTask, TaskKind
from perdure.errors import InvalidArgument
from perdure.settings import Settings
from perdure.store import operations
from perdure.store.database import Database
from perdure.store.perform import copy_in_sync, perform_all_sync
from perdure.store.views import (
    HistoryEntry,
    TaskSummary,
    TaskView,
)

if TYPE_CHECKING:
    from perdure.client.search import SyncTaskSearch
    from perdure.declare.kind import CallersConnection

A = TypeVar("A")
M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")


class SyncTaskHandle(Generic[R]):
    """A task that was enqueued: `id`, what the enqueue did (`answer`), and its result to come."""

    __slots__ = ("_client", "_task", "answer", "id")

    def __init__(self, client: SyncTaskClient, task: Task, enqueued: Enqueued) -> None:
        self._client = client
        self._task = task
        self.id = enqueued.id
        self.answer: Answer = enqueued.answer

    def result(self, timeout: float | timedelta | None = None) -> R:
        """Wait until the task has completed: its result; see `SyncTaskClient.result`."""
        return cast("R", self._client.result(self.id, self._task, timeout=timeout))

    def __repr__(self) -> str:
        return f"SyncTaskHandle(id={self.id}, answer={self.answer.value!r})"


class SyncTaskClient(SyncScheduler, SyncOperator):
    """Enqueues tasks, waits for them and operates them, from threads.

    Args:
        dsn: PostgreSQL to use; else PERDURE_DSN and its kin, as `settings.load` says.
        schema_name: schema of the installation; default: the setting, which is `perdure`.
        settings: settings to use instead of loading them.
        database: a database to use instead of one of its own; it is not closed here.
        unique_key_of: what gives tasks without a key theirs, and its policy; `service.client` has
            that of its definitions.

    Every method that changes something takes part in the caller's transaction where `on=` is given:
    a psycopg Connection or a SQLAlchemy Session or Connection. Every method may
    raise DatabaseUnavailable (it did not take effect), UnknownOutcome (it may have), NotPermitted,
    InvalidArgument and TooLarge.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        schema_name: str | None = None,
        settings: Settings | None = None,
        database: Database | None = None,
        unique_key_of: UniqueKeyOf | None = None,
    ) -> None:
        self._owns = database is None
        super().__init__(database or open_database(dsn, schema_name, settings))
        self._unique_key_of = unique_key_of

    @classmethod
    def over(cls, database: Database, unique_key_of: UniqueKeyOf | None = None) -> Self:
        """For the runtime: a client on somebody's database, with the rule of a registry."""
        return cls(database=database, unique_key_of=unique_key_of)

    def __enter__(self) -> Self:
        self._database.sync_pool()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections if they are this client's."""
        if self._owns:
            self._database.close_sync()

    @overload
    def enqueue(
        self,
        task: TaskKind[None, X, R, Any],
        metadata: None = None,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[X]],
    ) -> SyncTaskHandle[R]: ...

    @overload
    def enqueue(
        self,
        task: TaskKind[M, X, R, Any],
        metadata: M,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[X]],
    ) -> SyncTaskHandle[R]: ...

    @overload
    def enqueue(
        self,
        task: str,
        metadata: Any = None,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[Any]],
    ) -> SyncTaskHandle[Any]: ...

    def enqueue(
        self, task: Any, metadata: Any = None, *, on: Any = None, **options: Any
    ) -> SyncTaskHandle[Any]:
        """Enqueue one task; it exists when this returns, or when the transaction of `on` commits.

        A reply that is lost is asked for
        again only with a `unique_key`; without one it is UnknownOutcome.

        Raises:
            QueueFull: the queue has reached its `max_depth`.
            UnencodableValue: the metadata is not of the kind's type.
        """
        entry = requests.entry_of(NewTask(task, metadata, **options), self._unique_key_of)
        added = self._do(operations.enqueue(entry), on)
        return SyncTaskHandle(self, task, requests.enqueued(added))

    def enqueue_many(
        self, tasks: Iterable[NewTask[Any, Any]], *, on: CallersConnection | None = None
    ) -> list[SyncTaskHandle[Any]]:
        """Enqueue all or none, in one transaction; handles in the order of the tasks.

        The texts of the tasks are built first, in memory, and go in documents of up to 10,000.

        Raises:
            InvalidArgument: names the first bad entry of its document by its position from 0.
        """
        kinds: list[Task] = []
        texts = requests.entry_texts(tasks, self._unique_key_of, kinds)
        documents = [document for document in operations.documents(texts) if document is not None]
        if on is None:
            answers = perform_all_sync(self._database, documents) if documents else []
        else:
            answers = [self._do(document, on) for document in documents]
        added = (requests.enqueued(one) for answer in answers for one in answer)
        return [SyncTaskHandle(self, kind, one) for kind, one in zip(kinds, added, strict=True)]

    def chain(
        self,
        *stages: NewTask[Any, Any] | Sequence[NewTask[Any, Any]],
        on: CallersConnection | None = None,
    ) -> list[SyncTaskHandle[Any]]:
        """Enqueue tasks that follow each other, all or none; handles in their order.

        Each stage, a task or several, begins when the one before it has completed: those before
        are added to `after` of each task, unless it says itself how it follows them.

        Raises:
            InvalidArgument: more than 10,000 tasks or 16 MiB, or what `enqueue_many` refuses.
        """
        return self.enqueue_many(requests.chained(stages), on=on)

    def copy(
        self,
        task: Task,
        metadata: Iterable[Any],
        **options: Unpack[CopyOptions],
    ) -> int:
        """Enqueue a task for each metadata by COPY: millions; a count, no ids, no unique keys.

        All or none. What the iterable raises leaves nothing behind.
        """
        row = requests.copy_row(task, options)
        return copy_in_sync(self._database, requests.blocks(map(row, metadata)))

    def result(
        self,
        id: int,
        kind: Task = "",
        *,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Wait until the task has completed: its result, typed by the kind, else plain JSON.

        Raises:
            TaskFailed, TaskCancelled: it ended otherwise.
            TaskNotFound: it is not there, or not this login's to see.
            TimeoutError: not yet, after `timeout` seconds; the task is left alone.
        """
        patience = Patience(timeout)
        while True:
            ended = read_result(id, kind, self._do(operations.result(id)))
            if isinstance(ended, Ended):
                return ended.value
            patience.wait_sync(f"task {id} has not ended")

    def get(self, id: int) -> TaskView | None:
        """Everything about a task; None for an unknown one."""
        return self._do(operations.task(id))

    def history(self, id: int) -> list[HistoryEntry]:
        """What happened to a task, in order of time; empty for an unknown one."""
        return self._do(operations.history(id))

    def search(self, **filters: Unpack[SearchOptions]) -> SyncTaskSearch:
        """Tasks that match: iterate (`for`) or take pages; newest first."""
        # Loaded late: SQLAlchemy, which a program that never searches does not need.
        from perdure.client.search import SyncTaskSearch, filters_of  # noqa: PLC0415

        return SyncTaskSearch(self._database, filters_of(filters))

    def watch(
        self,
        *,
        ids: Collection[int] | None = None,
        tag: str | None = None,
        unique_key: str | None = None,
    ) -> Iterator[TaskSummary]:
        """Yield tasks whose state or progress changed, first as they are; ends when all have ended.

        One of the three. States in between may be skipped, the last never.
        """
        if [ids, tag, unique_key].count(None) != 2:  # noqa: PLR2004
            raise InvalidArgument("watch takes one of ids, tag and unique_key")
        changes, patience = Changes(), Patience()
        while True:
            if ids is not None:
                seen = self._do(operations.watch(several("ids", ids, "ids")))
            else:
                search = self.search(tag=tag, unique_key=unique_key, order="asc")
                seen = list(search)
            for task in changes.of(seen):
                patience.reset()
                yield task
            if changes.over:
                return
            patience.wait_sync("the tasks have not ended")
