"""PgQueuer: asyncpg, batches of 1000, its enqueue of lists."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.adapter import Peer, payload
from benchmarks.tally import Tally, tell

BATCH = 1_000
LOAD = 5_000
CONNECTIONS = 10


class Queuer(Peer):
    """Its README's worker on asyncpg; `defaults`: its own batch of 10."""

    name = "pgqueuer"
    left_sql = "select exists (select from pgqueuer)"
    insert_sql = (
        "insert into pgqueuer (priority, status, entrypoint, payload)"
        " values (0, 'queued', 'noop', convert_to(%s, 'UTF8'))"
    )
    tables = ("pgqueuer",)

    def versions(self) -> Mapping[str, str]:
        """Its version and its driver's."""
        return {"pgqueuer": version("pgqueuer"), "asyncpg": version("asyncpg")}

    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told."""
        return {} if defaults else {"batch_size": BATCH, "driver": "asyncpg", "uvloop": True}

    def prepare(self, dsn: str) -> None:
        """Its schema, durable as it comes."""

        async def install() -> None:
            connection = await asyncpg.connect(dsn)
            await Queries(AsyncpgDriver(connection)).install()
            await connection.close()

        asyncio.run(install())

    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """This module."""
        return self.python(what, defaults=defaults)


PEER = Queuer()


async def work() -> None:
    """A worker until SIGTERM."""
    connection = await asyncpg.connect(os.environ["PERDURE_DSN"])
    queue = PgQueuer(AsyncpgDriver(connection))
    tally = Tally()
    told = os.environ.get("BENCH_PICKUPS") == "1"

    @queue.entrypoint("noop")  # type: ignore[untyped-decorator]
    async def run(job: Job) -> None:
        tally.add(_number(job) if told else None)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown.set)
    if "defaults" in sys.argv:
        await queue.run()
    else:
        await queue.run(dequeue_timeout=timedelta(seconds=5), batch_size=BATCH)


def _number(job: Job) -> int:
    text = (job.payload or b"").decode()
    return int(text.split('"n":')[1].split(",")[0])


async def load() -> None:
    """Lists of 5,000, its fastest documented way."""
    count = int(os.environ["BENCH_TASKS"])
    connection = await asyncpg.connect(os.environ["PERDURE_DSN"])
    queries = Queries(AsyncpgDriver(connection))
    began = time.perf_counter()
    for start in range(0, count, LOAD):
        some = range(start, min(start + LOAD, count))
        payloads: list[bytes | None] = [payload(number).encode() for number in some]
        await queries.enqueue(["noop"] * len(some), payloads, [0] * len(some))
    tell({"seconds": time.perf_counter() - began, "tasks": count})
    await connection.close()


async def one() -> None:
    """One call after the other: a connection for each caller, up to so many."""
    seconds, callers = float(os.environ["BENCH_SECONDS"]), int(os.environ["BENCH_CALLERS"])
    free: asyncio.LifoQueue[Queries] = asyncio.LifoQueue()
    connections = [
        await asyncpg.connect(os.environ["PERDURE_DSN"]) for _ in range(min(callers, CONNECTIONS))
    ]
    for connection in connections:
        free.put_nowait(Queries(AsyncpgDriver(connection)))
    body = payload(1).encode()
    began = time.perf_counter()
    ended = began + seconds

    async def call() -> int:
        done = 0
        while time.perf_counter() < ended:
            queries = await free.get()
            await queries.enqueue("noop", body)
            free.put_nowait(queries)
            done += 1
        return done

    counts = await asyncio.gather(*(call() for _ in range(callers)))
    tell({"seconds": time.perf_counter() - began, "tasks": sum(counts)})
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    if "defaults" not in sys.argv:
        import uvloop

        uvloop.install()
    asyncio.run({"work": work, "load": load, "one": one}[sys.argv[1]]())
