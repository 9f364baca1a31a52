"""What an adapter is: how a system is installed, told to work, fed, and asked what is left."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

import psycopg
from psycopg_pool import AsyncConnectionPool
from tests.kit.ledger import note

# What every system is told where it can be told: see the settings in the output.
CONCURRENCY = 10
RETRIES = 5
RETRY_SECONDS = 1
LEASE_SECONDS = 2.0
BEAT_SECONDS = 0.5

SHORT_PAUSE = 0.01
LONG_PAUSE = 0.15
INSERT = "insert into effects (n, step) values (%s, %s)"
POISON = -1
DEADLY = 9
"""The exit code of a process that the poison has killed."""


class Finishing(NamedTuple):
    """How a completion looks on the wire: a statement with `words`, after one with `after`."""

    words: bytes
    after: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """One system at the settings that its documentation names for reliable operation.

    `enqueue` takes %(kind)s, `effect` or `poison`, and %(payload)s, JSON text with `n` and `steps`.
    `left` and `failed` answer the numbers of tasks that have not ended, and that were given up.
    `not_promised`: outcome -> why nothing of the kind is promised.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    settings: Mapping[str, Any]
    prepare: Callable[[str], None]
    finishing: Finishing
    enqueue: str
    left: str
    failed: str
    environment: Mapping[str, str] = field(default_factory=dict)
    not_promised: Mapping[str, str] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """The versions of what does the work."""
        return {name: version(name) for name in self.packages}


def own_program(name: str) -> tuple[str, ...]:
    """The adapter's own module as the worker's program."""
    return (sys.executable, "-m", f"tests.faults.peers.{name}")


def pause_of(steps: int) -> float:
    """Seconds before each step of a task, and after its last."""
    return SHORT_PAUSE if steps == 1 else LONG_PAUSE


@asynccontextmanager
async def own_connections() -> AsyncIterator[AsyncConnectionPool[psycopg.AsyncConnection[Any]]]:
    """The handlers' own connections: checked before use, as the pool's documentation advises."""
    async with AsyncConnectionPool(
        os.environ["PERDURE_DSN"], min_size=1, max_size=CONCURRENCY, open=False,
        kwargs={"autocommit": True}, check=AsyncConnectionPool.check_connection,
    ) as pool:  # fmt: skip
        yield pool


async def write_effects(
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]],
    n: int,
    steps: int,
    done: int = 0,
    save: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """The work of a peer's handler: a row for each step; `save` keeps how many are done."""
    note("start", n)
    for step in range(done, steps):
        await asyncio.sleep(pause_of(steps))
        async with pool.connection() as connection:
            await connection.execute(INSERT, (n, step))
        if save is not None:
            await save(step + 1)
    await asyncio.sleep(pause_of(steps))
    note("end", n)


def die(n: int) -> None:
    """The poison: the process is gone."""
    note("poison", n)
    os._exit(DEADLY)
