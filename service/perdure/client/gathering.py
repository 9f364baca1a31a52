"""Enqueues that come at the same moment go in shared commits.

A commit costs the server about as much for one task as for a hundred. Whoever comes while a batch
is on its way waits for the next, so one caller pays nothing for the company it does not have.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from perdure.errors import (
    DatabaseUnavailable,
    NotPermitted,
    PerdureError,
    SchemaMismatch,
    UnknownOutcome,
)
from perdure.store import operations
from perdure.store.database import Database
from perdure.store.operations import Added, Entry
from perdure.store.perform import perform

Waiting: TypeAlias = tuple[Entry, str, "asyncio.Future[Added]"]

BATCH_TASKS_MAX: Final = 500
BATCH_SIZE_MAX: Final = 4 * 2**20
"""Characters of JSON text in one batch; a larger entry goes alone."""
PLAIN_FLUSHES_MAX: Final = 2
KEYED_FLUSHES_MAX: Final = 3


class Gatherer:
    """The enqueues of one client, on one event loop.

    Those with a unique key are kept apart: they may have to wait for a stranger's commit, and can
    be repeated when a reply is lost, but for those that append, which go without the others.
    """

    def __init__(self, database: Database) -> None:
        self._plain = _Line(database, PLAIN_FLUSHES_MAX)
        self._keyed = _Line(database, KEYED_FLUSHES_MAX)

    async def add(self, entry: Entry) -> Added:
        """Enqueue; returns when it is committed. Errors as `perform`."""
        line = self._plain if entry.unique_key is None else self._keyed
        return await line.add(entry)

    async def close(self) -> None:
        """Wait until everything that was handed in is answered."""
        await self._plain.close()
        await self._keyed.close()


class _Line:
    def __init__(self, database: Database, flushes_max: int) -> None:
        self._database = database
        self._flushes_max = flushes_max
        self._waiting: deque[Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent: Counter[str] = Counter()
        """The keys of what is on its way."""
        self._flushing = 0
        self._starting = False

    async def add(self, entry: Entry) -> Added:
        future: asyncio.Future[Added] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, operations.as_json(entry), future))
        if not self._starting and self._flushing < self._flushes_max:
            # Whoever enqueues before the new task has its first turn is in its batch.
            self._starting = True
            self._flushing += 1
            flush = asyncio.create_task(self._flush())
            self._tasks.add(flush)
            flush.add_done_callback(self._tasks.discard)
        return await future

    async def close(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _flush(self) -> None:
        self._starting = False
        try:
            while batch := self._take():
                keys = Counter(entry.unique_key for entry, _, _ in batch if entry.unique_key)
                self._sent += keys
                try:
                    await self._send(batch)
                finally:
                    self._sent -= keys
                    _refuse(batch, UnknownOutcome("the client was stopped in the middle of it"))
        finally:
            # In the turn that found nothing: whoever comes later must find a flush to start.
            self._flushing -= 1

    def _take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size = 0
        keys = set(self._sent)
        while self._waiting and len(batch) < BATCH_TASKS_MAX:
            entry, text, _ = self._waiting[0]
            size += len(text)
            if batch and size > BATCH_SIZE_MAX:
                break
            # A key knows its latest request alone: were both to come again, the first made another,
            # or undid the second. Who has sent the key goes on with this when that is answered.
            if entry.unique_policy in {"replace", "update"} and entry.unique_key in keys:
                break
            if batch and entry.is_known_again is not batch[0][0].is_known_again:
                break
            waiting = self._waiting.popleft()
            if not waiting[2].done():  # its caller may have gone away
                batch.append(waiting)
                keys.add(entry.unique_key or "")
        return batch

    async def _send(self, batch: Sequence[Waiting]) -> None:
        try:
            if len(batch) == 1:
                answers = [await perform(self._database, operations.enqueue(batch[0][0]))]
            else:
                document = f"[{','.join(text for _, text, _ in batch)}]"
                operation = operations.enqueue_many(
                    document, known_again=batch[0][0].is_known_again
                )
                answers = await perform(self._database, operation)
        except PerdureError as error:
            if len(batch) == 1 or isinstance(error, _FOR_ALL):
                _refuse(batch, error)
                return
            # Somebody's entry is bad: one by one, only that one fails.
            for waiting in batch:
                await self._send([waiting])
            return
        for (_, _, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


_FOR_ALL: Final = (DatabaseUnavailable, UnknownOutcome, NotPermitted, SchemaMismatch)


def _refuse(batch: Sequence[Waiting], error: PerdureError) -> None:
    for _, _, future in batch:
        if not future.done():
            # An exception of its own for each: they are raised, and grow tracebacks, apart.
            own = error if len(batch) == 1 else type(error)(*error.args)
            own.__cause__ = error.__cause__
            future.set_exception(own)
