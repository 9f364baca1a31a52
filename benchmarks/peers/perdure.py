"""Perdure itself, as a user would write it: typed metadata and result, the result stored."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from benchmarks.peers.adapter import PAYLOAD, ROOT, Peer
from benchmarks.tally import Tally, tell
from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import NewTask, TaskKind
from perdure.run.options import Options
from perdure.service import TaskService
from perdure.store.migrate import migrate


class Request(BaseModel):
    """Typed metadata."""

    n: int
    data: str


class Report(BaseModel):
    """A typed result, which is stored."""

    ok: bool


BATCH_SIZE = 1000
noop = TaskKind("noop", Request, result=Report)


class Perdure(Peer):
    """Ours: uvloop and larger batches; `defaults` has nothing configured but the DSN."""

    name = "perdure"
    left_sql = (
        "select exists (select from perdure.ready) or exists (select from perdure.leases"
        " where task_ids <> '{}')"
    )
    insert_sql = "insert into perdure.tasks (name, metadata) values ('noop', %s::jsonb)"
    tables = ("perdure.tasks", "perdure.ready", "perdure.outcomes", "perdure.leases")

    def versions(self) -> Mapping[str, str]:
        """Ours, with the commit where there is one, and the driver's."""
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        try:
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            told = "no commit"
        return {"perdure": f"{version('perdure')} ({told})", "psycopg": version("psycopg")}

    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told."""
        return {"uvloop": not defaults, "batch_size": "default" if defaults else BATCH_SIZE}

    def prepare(self, dsn: str) -> None:
        """Migrate, and let a worker start once, so that its name is known."""
        migrate(dsn)
        environment = {**os.environ, "PERDURE_DSN": dsn}
        subprocess.run(
            self.python("register"), env=environment, cwd=ROOT, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """This module."""
        return self.python(what, defaults=defaults)


PEER = Perdure()


def work(options: Options) -> None:
    """A worker, until SIGTERM or the end of its burst."""
    if "defaults" in sys.argv:
        sys.modules["uvloop"] = None  # type: ignore[assignment]  # as if it were not installed
    builder = TaskService.builder().configure_logging(level="warning")
    if "defaults" not in sys.argv:
        builder.configure_scheduling(batch_size=BATCH_SIZE)
    tally = Tally()

    @builder.task(noop)
    async def run(context: TaskContext[Request, None]) -> Report:
        tally.add(context.metadata.n)
        return Report(ok=True)

    builder.build().run(options)


def requests(count: int) -> Iterator[Request]:
    """So many payloads."""
    return (Request(n=number, data=PAYLOAD) for number in range(count))


async def load() -> None:
    """The bulk APIs: `copy` (a count), and `enqueue_many` (ids and answers)."""
    count, how = int(os.environ["BENCH_TASKS"]), os.environ.get("BENCH_HOW", "copy")
    async with TaskClient(os.environ["PERDURE_DSN"]) as client:
        began = time.perf_counter()
        if how == "copy":
            await client.copy(noop, requests(count))
        else:
            await client.enqueue_many(NewTask(noop, request) for request in requests(count))
        tell({"seconds": time.perf_counter() - began, "tasks": count})


def alone() -> None:
    """One caller, one call after the other: what the synchronous client is for."""
    seconds = float(os.environ["BENCH_SECONDS"])
    with SyncTaskClient(os.environ["PERDURE_DSN"]) as client:
        request = Request(n=1, data=PAYLOAD)
        client.enqueue(noop, request)
        began, done = time.perf_counter(), 0
        while (now := time.perf_counter()) < began + seconds:
            client.enqueue(noop, request)
            done += 1
        tell({"seconds": now - began, "tasks": done})


async def together() -> None:
    """Many callers of one client, each one call after the other."""
    seconds, callers = float(os.environ["BENCH_SECONDS"]), int(os.environ["BENCH_CALLERS"])
    async with TaskClient(os.environ["PERDURE_DSN"]) as client:
        request = Request(n=1, data=PAYLOAD)
        await client.enqueue(noop, request)
        ended = time.perf_counter() + seconds
        began = time.perf_counter()

        async def call() -> int:
            done = 0
            while time.perf_counter() < ended:
                await client.enqueue(noop, request)
                done += 1
            return done

        counts = await asyncio.gather(*(call() for _ in range(callers)))
        tell({"seconds": time.perf_counter() - began, "tasks": sum(counts)})


def _run(program: Coroutine[Any, Any, None]) -> None:
    """As the programs of the peers: on uvloop."""
    import uvloop  # noqa: PLC0415  # S16 runs this module without it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program)


if __name__ == "__main__":
    match sys.argv[1]:
        case "work":
            work(Options())
        case "register":
            work(Options(burst=True))
        case "load":
            _run(load())
        case "one" if os.environ["BENCH_CALLERS"] == "1":
            alone()
        case _:
            _run(together())
