"""Procrastinate with the periodic task of its page on stalled jobs, and a retry strategy."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from procrastinate import App, PsycopgConnector, RetryStrategy
from tests.faults.peers.adapter import (
    BEAT_SECONDS,
    CONCURRENCY,
    LEASE_SECONDS,
    RETRIES,
    RETRY_SECONDS,
    Finishing,
    System,
    die,
    own_connections,
    own_program,
    write_effects,
)

STALLED = "retry_stalled_jobs"
EVERY_SECOND = "* * * * * */1"


async def install(dsn: str) -> None:
    """Its own schema."""
    app = App(connector=PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


SYSTEM = System(
    name="procrastinate",
    command=own_program("procrastinate"),
    packages=("procrastinate", "psycopg"),
    settings={
        "concurrency": CONCURRENCY,
        "update_heartbeat_interval": f"{BEAT_SECONDS} s",
        "stalled_worker_timeout": f"{LEASE_SECONDS} s",
        "fetch_job_polling_interval": "1 s",
        STALLED: f"a periodic task, every second ({EVERY_SECOND}),"
        f" seconds_since_heartbeat {LEASE_SECONDS}",
        "retry": f"RetryStrategy(max_attempts={RETRIES}, wait={RETRY_SECONDS})",
        "effects": "the handler's own connection",
    },
    prepare=lambda dsn: asyncio.run(install(dsn)),
    finishing=Finishing(b"COMMIT", after=b"procrastinate_finish_job"),
    enqueue="insert into procrastinate_jobs (queue_name, task_name, args)"
    " values ('default', %(kind)s, %(payload)s::jsonb)",
    left="select (args ->> 'n')::int from procrastinate_jobs"
    " where status in ('todo', 'doing') and task_name in ('effect', 'poison')",
    failed="select (args ->> 'n')::int from procrastinate_jobs"
    " where status in ('failed', 'cancelled', 'aborted') and task_name in ('effect', 'poison')",
    not_promised={
        "duplicated": "a stalled job is run again, its effects are the task's",
        "poison": "its task for stalled jobs retries without a bound",
    },
)


async def main() -> None:
    """A worker until SIGTERM."""
    app = App(connector=PsycopgConnector(conninfo=os.environ["PERDURE_DSN"]))
    retry = RetryStrategy(max_attempts=RETRIES, wait=RETRY_SECONDS)
    async with own_connections() as pool:

        @app.task(name="effect", retry=retry)  # type: ignore[untyped-decorator]
        async def effect(n: int, steps: int) -> None:
            await write_effects(pool, n, steps)

        @app.task(name="poison", retry=retry)  # type: ignore[untyped-decorator]
        async def poison(n: int, steps: int) -> None:
            die(n)

        @app.periodic(cron=EVERY_SECOND)  # type: ignore[untyped-decorator]
        @app.task(queueing_lock=STALLED, pass_context=True)  # type: ignore[untyped-decorator]
        async def retry_stalled_jobs(context: Any, timestamp: int) -> None:
            stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=LEASE_SECONDS)
            for job in stalled:
                await app.job_manager.retry_job(job)

        async with app.open_async():
            await app.run_worker_async(
                concurrency=CONCURRENCY,
                update_heartbeat_interval=BEAT_SECONDS,
                stalled_worker_timeout=LEASE_SECONDS,
                fetch_job_polling_interval=1.0,
            )


if __name__ == "__main__":
    asyncio.run(main())
