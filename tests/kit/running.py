"""A worker inside the test's own event loop, and questions about its tasks that wait."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row
from tests.kit.databases import Database
from tests.kit.fleet import CALM, PATIENCE, QUICK

from perdure.run.options import Options
from perdure.run.worker import Worker
from perdure.service import TaskService
from perdure.store.database import Session

Asked: TypeAlias = psycopg.AsyncConnection[dict[str, Any]]


class Running:
    """A worker that runs, and its database, asked without blocking the loop."""

    def __init__(self, database: Database, service: TaskService, worker: Worker) -> None:
        self.database = database
        self.service = service
        self.worker = worker
        self._idle: list[Asked] = []
        self._kept = True

    async def ask(self, text: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a statement as dictionaries."""
        connection = await self._connected()
        try:
            cursor = await connection.execute(text.encode(), parameters or None)
            # Rows of no columns are rows, too.
            rows = [] if cursor.description is None else await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        if self._kept:
            self._idle.append(connection)
        else:
            await connection.close()
        return rows

    async def _connected(self) -> Asked:
        """A connection of nobody else: a new one costs more than what most tests ask."""
        while self._idle:
            connection = self._idle.pop()
            heard = select.poll()
            heard.register(connection.fileno(), select.POLLIN)
            if not heard.poll(0):
                return connection
            # The server has ended it: it says nothing else unasked.
            await connection.close()
        return await psycopg.AsyncConnection.connect(
            self.database.dsn, autocommit=True, row_factory=dict_row, prepare_threshold=None
        )

    async def aclose(self) -> None:
        """Close the connections of what was asked; there may be more questions."""
        self._kept = False
        while self._idle:
            await self._idle.pop().close()

    async def enqueue(self, name: str, metadata: str = "{}", **options: object) -> int:
        """Call perdure.enqueue; options are its arguments."""
        values = {"name": name, "metadata": metadata, **options}
        arguments = ", ".join(f"{key} => %s" for key in values)
        rows = await self.ask(f"select task_id from perdure.enqueue({arguments})", *values.values())
        return int(rows[0]["task_id"])

    async def task(self, task_id: int) -> dict[str, Any]:
        """The row of perdure.task."""
        return (await self.ask("select * from perdure.task(%s::bigint)", task_id))[0]

    async def state(self, task_id: int, *states: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the task is in one of these states; its row then."""

        async def asked() -> dict[str, Any] | None:
            row = await self.task(task_id)
            return row if row["state"] in states else None

        row: dict[str, Any] = await self.until(asked, timeout=timeout)
        return row

    async def ended(self, task_id: int, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until the task has ended; its row then."""
        return await self.state(task_id, "completed", "failed", "cancelled", timeout=timeout)

    async def until(self, question: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Ask (a function or a coroutine function) until the answer is true; the answer."""
        end = time.monotonic() + timeout
        while True:
            answer = question()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout} s: {question}")
            await asyncio.sleep(0.01)

    async def pause(self, queue: str) -> None:
        """Pause a queue, and wait until the worker has heard of it: from then on it claims none."""
        await self.ask("select perdure.pause_queue(%s)", queue)
        self.worker.beat_now()
        await self.until(lambda: queue in self.worker._news._paused)

    async def past(self, task_id: int) -> None:
        """Make a waiting task due now, by moving its time, and let the worker know."""
        await self.ask(
            "update perdure.waiting set due_at = clock_timestamp() - interval '1 second'"
            " where task_id = %s::bigint and due_at is not null", task_id,
        )  # fmt: skip
        self.worker.beat_now()


def cut_off(session: Session) -> None:
    """Take the connection away from the worker; the server does not notice while it is at work."""
    with socket.socket(fileno=os.dup(session._connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def running(
    database: Database, service: TaskService, *, options: Options | None = None, **settings: object
) -> AsyncIterator[Running]:
    """Run a worker of the service on the test's database; settings with `__` for the dot.

    Its lease is that of CALM unless one is said.
    """
    given = {**CALM, **settings}
    values = QUICK | {key.replace("__", "."): value for key, value in given.items()}
    service.override({**values, "dsn": database.dsn})
    async with (
        service.worker(options) as worker,
        aclosing(Running(database, service, worker)) as made,
    ):
        yield made
