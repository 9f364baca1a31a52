"""Procrastinate: its asynchronous connector, 64 at once, its batch_defer."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from procrastinate import App, PsycopgConnector

from benchmarks.peers.adapter import PAYLOAD, Peer
from benchmarks.tally import Tally, tell

CONCURRENCY = 64
BATCH = 5_000


class Procrastinate(Peer):
    """As its documentation has it; one commit per task bounds it, whatever is configured."""

    name = "procrastinate"
    slow = True
    left_sql = "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))"
    insert_sql = (
        "insert into procrastinate_jobs (queue_name, task_name, args)"
        " values ('default', 'noop', %s::jsonb)"
    )
    tables = ("procrastinate_jobs", "procrastinate_events")

    def versions(self) -> Mapping[str, str]:
        """Its version and its driver's."""
        return {"procrastinate": version("procrastinate"), "psycopg": version("psycopg")}

    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told."""
        return {} if defaults else {"concurrency": CONCURRENCY, "uvloop": True}

    def prepare(self, dsn: str) -> None:
        """Its own schema."""

        async def install() -> None:
            app = App(connector=PsycopgConnector(conninfo=dsn))
            async with app.open_async():
                await app.schema_manager.apply_schema_async()

        asyncio.run(install())

    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """This module."""
        return self.python(what, defaults=defaults)


PEER = Procrastinate()


async def main() -> None:
    """Work, load, or enqueue one by one."""
    app = App(connector=PsycopgConnector(conninfo=os.environ["PERDURE_DSN"]))
    tally = Tally() if sys.argv[1] == "work" else None

    @app.task(name="noop", queue="default")  # type: ignore[untyped-decorator]
    async def noop(n: int, data: str) -> None:  # noqa: ARG001  (the payload has it)
        if tally is not None:
            tally.add(n)

    async with app.open_async():
        if sys.argv[1] == "work":
            options = {} if "defaults" in sys.argv else {"concurrency": CONCURRENCY}
            await app.run_worker_async(**options)
        elif sys.argv[1] == "load":
            count = int(os.environ["BENCH_TASKS"])
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                some = range(start, min(start + BATCH, count))
                await noop.batch_defer_async(*({"n": n, "data": PAYLOAD} for n in some))
            tell({"seconds": time.perf_counter() - began, "tasks": count})
        else:
            tell(await _one(noop))


async def _one(noop: Any) -> dict[str, Any]:
    seconds, callers = float(os.environ["BENCH_SECONDS"]), int(os.environ["BENCH_CALLERS"])
    began = time.perf_counter()

    async def call() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            await noop.defer_async(n=1, data=PAYLOAD)
            done += 1
        return done

    counts = await asyncio.gather(*(call() for _ in range(callers)))
    return {"seconds": time.perf_counter() - began, "tasks": sum(counts)}


if __name__ == "__main__":
    if "defaults" not in sys.argv:
        import uvloop

        uvloop.install()
    asyncio.run(main())
