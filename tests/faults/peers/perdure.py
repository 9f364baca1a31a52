"""Perdure as a user would write it: effects in the run's own transactions, the last one ends it."""

from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tests.faults.peers.adapter import (
    BEAT_SECONDS,
    CONCURRENCY,
    INSERT,
    LEASE_SECONDS,
    RETRIES,
    RETRY_SECONDS,
    Finishing,
    System,
    die,
    pause_of,
)
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.policies import Delays, RetryPolicy

SETTINGS = {
    "PERDURE_EXECUTION__CONCURRENCY": str(CONCURRENCY),
    "PERDURE_EXECUTION__LEASE_DURATION": f"{LEASE_SECONDS}s",
    "PERDURE_EXECUTION__BEAT_INTERVAL": f"{BEAT_SECONDS}s",
    "PERDURE_SCHEDULING__SWEEP_INTERVAL": "1s",
    "PERDURE_LOGGING__LEVEL": "warning",
}
PRODUCT, TREE = inspect.getfile(TaskService), Path(__file__).parents[3] / "service"
# Worker processes check it, too: they import this module.
assert Path(PRODUCT).is_relative_to(TREE), f"{PRODUCT} is not of this tree"
POLICY = RetryPolicy(max_retries=RETRIES, backoff=Delays([RETRY_SECONDS]))


class Request(BaseModel):
    """Metadata: which task, and in how many steps."""

    n: int
    steps: int = 1


class Done(BaseModel):
    """A checkpoint: steps whose rows are committed."""

    steps: int = 0


builder = TaskService.builder()


@builder.task("effect", retry=POLICY)
async def effect(context: TaskContext[Request, Done]) -> int:
    """A row for each step, with its checkpoint; the last one commits with the end of the task."""
    asked, done = context.metadata, context.execution_metadata
    note("start", asked.n)
    while done.steps < asked.steps - 1:
        await asyncio.sleep(pause_of(asked.steps))
        async with context.transaction() as connection:
            await connection.execute(INSERT, (asked.n, done.steps))
            done.steps += 1
    await asyncio.sleep(pause_of(asked.steps))
    async with context.transaction(result=asked.n) as connection:
        await connection.execute(INSERT, (asked.n, done.steps))
        await asyncio.sleep(pause_of(asked.steps))
    note("end", asked.n)
    return asked.n


@builder.task("poison", retry=POLICY)
async def poison(context: TaskContext[Request, None]) -> None:
    """Kill the process that runs it."""
    die(context.metadata.n)


service: Any = builder.build()


def install(dsn: str) -> None:
    """Its schema; a worker, which imports this module, too, does not pay for Alembic."""
    from perdure.store.migrate import migrate

    migrate(dsn)


SYSTEM = System(
    name="perdure",
    command=(
        sys.executable, "-m", "perdure", "worker", "-A", "tests.faults.peers.perdure:service",
    ),
    packages=("perdure", "psycopg"),
    settings={
        **{key.removeprefix("PERDURE_").lower().replace("__", "."): value
           for key, value in SETTINGS.items()},
        "retry": f"{RETRIES} retries, {RETRY_SECONDS} s apart",
        "effects": "context.transaction(), the last one with result=",
    },
    environment=SETTINGS,
    prepare=install,
    finishing=Finishing(b"COMMIT", after=b".complete("),
    enqueue="insert into perdure.tasks (name, metadata) values (%(kind)s, %(payload)s::jsonb)",
    left="select (t.metadata ->> 'n')::int from perdure.tasks as t"
    " where not exists (select from perdure.outcomes as o where o.task_id = t.id)",
    failed="select (t.metadata ->> 'n')::int from perdure.tasks as t"
    " join perdure.outcomes as o on o.task_id = t.id where o.state <> 'completed'",
)  # fmt: skip
