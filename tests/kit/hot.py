"""A worker whose settings change while it runs, and a task that waits to be told how to end."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure

APPLICATION = "tests.kit.hot:service"


class Text(BaseModel):
    """A checkpoint."""

    text: str = ""


class Asked(BaseModel):
    """Metadata: what to do once it is let go."""

    how: str = ""


async def where(_context: TaskContext[Asked, None]) -> dict[str, int]:
    """In which process this is, and how much address space that may use."""
    return {"process": os.getpid(), "space": resource.getrlimit(resource.RLIMIT_AS)[0]}


service: Any = (
    TaskService.builder().add_task(lambda task: task.named("where").handled_by(where)).build()
)


class Hot:
    """A running worker, and its settings as they are said now."""

    def __init__(self, values: dict[str, object]) -> None:
        self.claims: list[int] = []
        """How many tasks each claim has brought."""
        self._values = values
        self._held: set[int] = set()
        self._go = asyncio.Event()
        self._changed = asyncio.Event()
        builder = TaskService.builder()
        builder.task("held")(self._run)
        builder.add_task(service.registry["where"])
        self._service: TaskService = builder.build()
        self.running: Running

    @asynccontextmanager
    async def started(self, database: Database) -> AsyncIterator[None]:
        """The worker, for the life of the block."""
        options = Options(application=APPLICATION)
        values: dict[str, Any] = {
            key.replace(".", "__"): value for key, value in self._values.items()
        }
        async with running(database, self._service, options=options, **values) as self.running:
            self.worker._bus.on("tasks.claimed", lambda event: self.claims.append(event.count))
            try:
                yield
            finally:
                self.let_go()
                self.set(execution__shutdown_grace="1s")

    @property
    def worker(self) -> Any:
        """With its insides."""
        return self.running.worker

    def set(self, **values: object) -> None:
        """Reload with other values; settings with `__` for the dot."""
        self._values |= {key.replace("__", "."): value for key, value in values.items()}
        self._service.override({**self._values, "dsn": self.running.database.dsn})
        self.worker.reload(self._service.settings)

    async def hold(self, how: str = "", count: int = 1) -> list[int]:
        """Tasks that run, and wait until they are let go."""
        text = f'{{"how": "{how}"}}'
        tasks = [await self.running.enqueue("held", text) for _ in range(count)]
        async with asyncio.timeout(PATIENCE):
            while not self._held >= set(tasks):
                self._changed.clear()
                await self._changed.wait()
        return tasks

    def let_go(self) -> None:
        """Let those end that wait."""
        self._go.set()
        self._go = asyncio.Event()

    async def _run(self, context: TaskContext[Asked, Text]) -> str | Failure[str]:
        go = self._go
        self._held.add(context.task_id)
        self._changed.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                if context.metadata.how != "stubborn":
                    raise
        long = "x" * 4_000
        match context.metadata.how:
            case "return":
                return Failure("no")
            case "raise":
                raise ArithmeticError(long)
            case "checkpoint":
                context.execution_metadata.text = long
                await context.checkpoint()
        return long
