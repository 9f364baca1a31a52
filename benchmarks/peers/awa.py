"""Awa: a Rust core with Python handlers, 2,048 at once, receipts without deadlines, its COPY."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psycopg
from awa import AsyncClient, Job
from typing_extensions import override

from benchmarks.peers.adapter import PAYLOAD, Peer
from benchmarks.tally import Tally, tell

QUEUE = "default"
LOAD = 5_000
# Its pages: permits for the latency of a durable completion, claims as compact batches where no
# deadline is asked for (heartbeats still find what has died), and one flusher a process. The queue
# stays one: parts of it gain little and keep no order.
WORKERS = {"name": QUEUE, "max_workers": 2_048, "deadline_duration_ms": 0}
ENVIRONMENT = {"AWA_COMPLETION_SHARDS": "1"}


@dataclass
class Noop:
    """Its payload, whose type it knows."""

    n: int
    data: str


class Awa(Peer):
    """On its queue storage, as a fresh installation has it; `defaults`: its own 10 at once."""

    name = "awa"
    # It numbers tasks without gaps and counts those that have ended: nothing else is as cheap.
    left_sql = (
        "select (select case when is_called then last_value else 0 end from awa.job_id_seq)"
        " > (select coalesce(sum(completed_count), 0) from awa.receipt_completion_batches)"
        " + (select count(*) from awa.done_entries)"
        " + (select coalesce(sum(pruned_completed_count + pruned_failed_count), 0)"
        " from awa.queue_terminal_rollups)"
    )
    insert_sql = "select awa.insert_job_compat('noop', 'default', %s::jsonb)"

    def versions(self) -> Mapping[str, str]:
        """Its version; its driver is inside."""
        return {"awa": version("awa-pg")}

    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told."""
        return {} if defaults else {**WORKERS, **ENVIRONMENT, "uvloop": True}

    def prepare(self, dsn: str) -> None:
        """Its migrations, and its queue storage made active before the first task comes."""

        async def install() -> None:
            async with AsyncClient(dsn) as client:
                await client.migrate()
                await client.install_queue_storage()

        asyncio.run(install())

    @override
    def settle(self, connection: psycopg.Connection[Any]) -> None:
        """All of its hundreds of tables: its plans hang on what is known of empty ones, too."""
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")

    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """This module."""
        return self.python(what, defaults=defaults)


PEER = Awa()


async def work() -> None:
    """A worker until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    tally = Tally()
    async with AsyncClient(os.environ["PERDURE_DSN"]) as client:

        @client.task(Noop, kind="noop", queue=QUEUE)  # type: ignore[untyped-decorator]
        async def run(job: Job[Noop]) -> None:
            tally.add(job.args.n)

        await client.start(None if "defaults" in sys.argv else [WORKERS])
        await stopped.wait()
        await client.shutdown()


async def load() -> None:
    """Lists of 5,000 by its direct COPY, its fastest documented way."""
    count = int(os.environ["BENCH_TASKS"])
    async with AsyncClient(os.environ["PERDURE_DSN"]) as client:
        began = time.perf_counter()
        for start in range(0, count, LOAD):
            some = range(start, min(start + LOAD, count))
            await client.enqueue_many_copy([Noop(n, PAYLOAD) for n in some], kind="noop")
        tell({"seconds": time.perf_counter() - began, "tasks": count})


async def one() -> None:
    """One call after the other, by so many callers of one client and its ten connections."""
    seconds, callers = float(os.environ["BENCH_SECONDS"]), int(os.environ["BENCH_CALLERS"])
    async with AsyncClient(os.environ["PERDURE_DSN"]) as client:
        # Its first calls make the queue's sequences; callers who do so at once get an error.
        await client.insert(Noop(1, PAYLOAD), kind="noop")
        began = time.perf_counter()
        ended = began + seconds

        async def call() -> int:
            done = 0
            while time.perf_counter() < ended:
                await client.insert(Noop(1, PAYLOAD), kind="noop")
                done += 1
            return done

        counts = await asyncio.gather(*(call() for _ in range(callers)))
        tell({"seconds": time.perf_counter() - began, "tasks": sum(counts)})


if __name__ == "__main__":
    if "defaults" not in sys.argv:
        import uvloop

        os.environ.update(ENVIRONMENT)
        uvloop.install()
    asyncio.run({"work": work, "load": load, "one": one}[sys.argv[1]]())
