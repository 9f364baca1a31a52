"""Awa on its queue storage: heartbeats with a rescuing leader, its progress as the checkpoint."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

from awa import AsyncClient, Job
from tests.faults.peers.adapter import (
    BEAT_SECONDS,
    CONCURRENCY,
    LEASE_SECONDS,
    RETRIES,
    Finishing,
    System,
    die,
    own_connections,
    own_program,
    write_effects,
)

QUEUE = "default"
TIMES = {
    "heartbeat_interval_ms": int(BEAT_SECONDS * 1000),
    "heartbeat_staleness_ms": int(LEASE_SECONDS * 1000),
    "heartbeat_rescue_interval_ms": 500,
    "leader_election_interval_ms": 500,
}
ENDED = "('completed', 'failed', 'cancelled')"


@dataclass
class Request:
    """Its payload, whose type it knows."""

    n: int
    steps: int


async def install(dsn: str) -> None:
    """Its migrations, and its queue storage."""
    async with AsyncClient(dsn) as client:
        await client.migrate()
        await client.install_queue_storage()


SYSTEM = System(
    name="awa",
    command=own_program("awa"),
    packages=("awa-pg",),
    settings={
        "max_workers": CONCURRENCY,
        **TIMES,
        "max_attempts": RETRIES + 1,
        "back-off and deadline": "its own",
        "effects": "the handler's own connection; steps kept by update_metadata, flush_progress",
    },
    prepare=lambda dsn: asyncio.run(install(dsn)),
    finishing=Finishing(b"COMMIT", after=b"WITH completed("),
    enqueue="select awa.insert_job_compat(%(kind)s, 'default', %(payload)s::jsonb,"
    f" p_max_attempts => {RETRIES + 1}::smallint)",
    left=f"select (args ->> 'n')::int from awa.jobs where state::text not in {ENDED}",
    failed="select (args ->> 'n')::int from awa.jobs where state in ('failed', 'cancelled')",
    not_promised={
        "duplicated": "its job lifecycle says that handlers must tolerate duplicate execution",
    },
)


async def main() -> None:
    """A worker until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with AsyncClient(os.environ["PERDURE_DSN"]) as client, own_connections() as pool:

        @client.task(Request, kind="effect", queue=QUEUE)  # type: ignore[untyped-decorator]
        async def effect(job: Job[Request]) -> None:
            kept = (job.progress or {}).get("metadata") or {}

            async def save(done: int) -> None:
                job.update_metadata({"done": done})
                await job.flush_progress()

            asked = job.args
            several = asked.steps > 1
            await write_effects(
                pool, asked.n, asked.steps, kept.get("done", 0), save if several else None
            )

        @client.task(Request, kind="poison", queue=QUEUE)  # type: ignore[untyped-decorator]
        async def poison(job: Job[Request]) -> None:
            die(job.args.n)

        await client.start([(QUEUE, CONCURRENCY)], **TIMES)
        await stopped.wait()
        await client.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
