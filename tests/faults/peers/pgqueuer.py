"""PgQueuer as its deployment checklist has it: heartbeats, restarts, retries in the database."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pgqueuer
from pgqueuer import AsyncpgDriver, DatabaseRetryEntrypointExecutor, PgQueuer, Queries
from pgqueuer.models import Job
from tests.faults.peers.adapter import (
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


async def install(dsn: str) -> None:
    """Its schema, durable as it comes."""
    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


SYSTEM = System(
    name="pgqueuer",
    command=own_program("pgqueuer"),
    packages=("pgqueuer", "asyncpg"),
    settings={
        "driver": "AsyncpgPoolDriver: less is run twice than with AsyncpgDriver",
        "heartbeat_timeout": f"{LEASE_SECONDS} s",
        "dequeue_timeout": "1 s",
        "max_concurrent_tasks": CONCURRENCY,
        "batch_size": CONCURRENCY // 2,
        "shutdown_on_listener_failure": True,
        "restart_on_failure": True,
        "restart_delay": "1 s",
        "executor": f"DatabaseRetryEntrypointExecutor, {RETRIES} attempts, {RETRY_SECONDS} s apart"
        " (backoff_multiplier 1), on_failure hold",
        "effects": "the handler's own connection",
    },
    prepare=lambda dsn: asyncio.run(install(dsn)),
    finishing=Finishing(b"WITH job_status AS"),
    enqueue="insert into pgqueuer (priority, status, entrypoint, payload)"
    " values (0, 'queued', %(kind)s, convert_to(%(payload)s, 'UTF8'))",
    left="select (convert_from(payload, 'UTF8')::json ->> 'n')::int from pgqueuer"
    " where status <> 'failed'",
    failed="select (convert_from(payload, 'UTF8')::json ->> 'n')::int from pgqueuer"
    " where status = 'failed'",
    not_promised={
        "duplicated": "delivery is at least once (ADR-0004)",
        "poison": "no dead-letter queue; its page on reliability shows a query to find such jobs",
    },
)


@asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    """A worker as `pgq run` wants it."""
    async with (
        asyncpg.create_pool(os.environ["PERDURE_DSN"], min_size=2, max_size=CONCURRENCY) as driven,
        own_connections() as pool,
    ):
        queue = PgQueuer.from_asyncpg_pool(driven)

        def retried(parameters: object) -> DatabaseRetryEntrypointExecutor:
            return DatabaseRetryEntrypointExecutor(
                parameters=parameters,
                max_attempts=RETRIES,
                initial_delay=timedelta(seconds=RETRY_SECONDS),
                backoff_multiplier=1.0,
            )

        said: Any = {"executor_factory": retried, "on_failure": "hold"}

        @queue.entrypoint("effect", **said)  # type: ignore[untyped-decorator]
        async def effect(job: Job) -> None:
            asked = json.loads(job.payload)
            await write_effects(pool, asked["n"], asked["steps"])

        @queue.entrypoint("poison", **said)  # type: ignore[untyped-decorator]
        async def poison(job: Job) -> None:
            die(json.loads(job.payload)["n"])

        yield queue


if __name__ == "__main__":
    asyncio.run(
        pgqueuer.run(
            worker,
            heartbeat_timeout=timedelta(seconds=LEASE_SECONDS),
            dequeue_timeout=timedelta(seconds=1),
            max_concurrent_tasks=CONCURRENCY,
            batch_size=CONCURRENCY // 2,
            shutdown_on_listener_failure=True,
            restart_on_failure=True,
            restart_delay=timedelta(seconds=1),
        )
    )
