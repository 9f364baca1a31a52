"""Workers whose handlers do more than nothing, and a service for the command line.

`python -m benchmarks.handlers saving|soon|changed|plain|asleep`; like all measured programs they
speak JSON lines: see `benchmarks.tally`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from pydantic import BaseModel

from benchmarks.tally import Tally, tell
from perdure import TaskContext, TaskKind, TaskService
from perdure.declare.builder import ServiceBuilder


class Request(BaseModel):
    """What is asked; nothing is looked at here."""

    n: int = 0
    data: str = ""


class State(BaseModel):
    """A checkpoint of about 180 bytes."""

    n: int = 0
    data: str = "x" * 160


class Report(BaseModel):
    """A typed result, which is stored."""

    ok: bool


SETTINGS = {"perdure": {"uvloop": True, "batch_size": "default"}}
"""What the workers of this module are told, for the record."""

noop = TaskKind("noop", Request, execution_metadata=State, result=Report)
saving = TaskKind("saving", execution_metadata=State)
asleep = TaskKind("asleep")

_idle = TaskService.builder().configure_logging(level="warning")


@_idle.task(noop)
async def _nothing(_context: TaskContext[Request, State]) -> Report:
    return Report(ok=True)


service = _idle.build()
"""As a user's module has it: `perdure worker -A benchmarks.handlers:service`."""


def _saving(builder: ServiceBuilder[TaskService]) -> None:
    """One task that saves durably, again and again, for BENCH_SECONDS."""
    seconds = float(os.environ.get("BENCH_SECONDS", "1"))

    @builder.task(saving)
    async def run(context: TaskContext[None, State]) -> None:
        await context.checkpoint()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            context.execution_metadata.n += 1
            await context.checkpoint()
            count += 1
        tell({"saves": count, "seconds": time.perf_counter() - began})


def _counting(builder: ServiceBuilder[TaskService], what: str) -> None:
    """No-op tasks: `soon` saves with the next write, `changed` leaves it to the end."""
    tally = Tally()

    @builder.task(noop)
    async def run(context: TaskContext[Request, State]) -> Report:
        tally.add()
        if what != "plain":
            context.execution_metadata.n += 1
        if what == "soon":
            context.checkpoint_soon()
        return Report(ok=True)


def _asleep(builder: ServiceBuilder[TaskService]) -> None:
    """Tasks that keep their slot for as long as the worker lives; no-op tasks wait behind them."""

    @builder.task(asleep)
    async def run(_context: TaskContext[None, None]) -> None:
        tell({"asleep": True})
        await asyncio.Event().wait()

    @builder.task(noop)
    async def nothing(_context: TaskContext[Request, State]) -> Report:
        return Report(ok=True)


def main() -> None:
    """A worker until SIGTERM."""
    builder = TaskService.builder().configure_logging(level="warning")
    match sys.argv[1]:
        case "saving":
            _saving(builder)
        case "asleep":
            _asleep(builder)
        case what:
            _counting(builder, what)
    builder.build().run()


if __name__ == "__main__":
    main()
