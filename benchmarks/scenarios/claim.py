"""S6: one claim, plan and statement, while the tables are full of what this worker may not have.

1,000,000 tasks of the future, or ready ones in another queue, or of names that this worker lacks,
or that wait for one of two instances of their name, while what is claimed holds instances too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import psycopg

from benchmarks.harness import Bench, Check, Row, median
from benchmarks.measure import percentile
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer
from perdure.client.opening import open_database
from perdure.store import queue, upkeep, workers
from perdure.store.database import Session
from perdure.store.queue import Settling
from perdure.store.workers import Registration
from perdure.tasks.places import Claimed, Ended, Move, Saved
from perdure.tasks.plan import Lane, Positions, plan, served

PEERS = ()
TASKS = 1_000_000
CHUNK = 100_000
CLAIMS = 300
SLOTS = 64
FOREIGN: Mapping[str, Any] = {
    "name": "foreign", "queue": "default", "priority": 5, "requires": [], "schemas": {},
}  # fmt: skip
LIMITS: Sequence[Mapping[str, Any]] = (
    {**FOREIGN, "name": "limited", "max_instances": 2, "instances_of": "limited"},
    {**FOREIGN, "name": "noop", "max_instances": 2 * SLOTS, "instances_of": "noop"},
)
LIMITED = "limits in use"
_FILL = (
    b"select %(name)s, %(queue)s, jsonb_build_object('n', n, 'data', repeat('x', 160)),"
    b" now() + n * %(step)s::interval from generate_series(1, %(count)s::integer) as n"
)
FILL = b"insert into perdure.tasks (name, queue, metadata, run_at) " + _FILL
ADD = FILL.replace(b"now() + n * %(step)s::interval", b"null::timestamptz")
BALLAST: Mapping[str, Sequence[Mapping[str, str]]] = {
    "nothing": [],
    "future": [{"name": "noop", "queue": "default", "step": "1 hour"}],
    "another queue": [{"name": "noop", "queue": "other", "step": "0"}],
    # Half of a name that another worker has, half of one that nobody knows.
    "other names": [
        {"name": "foreign", "queue": "default", "step": "0"},
        {"name": "unknown", "queue": "default", "step": "0"},
    ],
    LIMITED: [{"name": "limited", "queue": "default", "step": "0"}],
}


@dataclass
class Done:
    """A plain success, as `finish` takes it."""

    lease: str
    task_id: int
    attempt: int = 1
    result: str = '{"ok": true}'
    saved: Saved | None = None
    started_at: float = field(default_factory=time.time)


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """Milliseconds, p99: the worst of all cases and sizes of claims."""
    ours = peer("perdure")
    found: dict[str, dict[int, list[list[float]]]] = {}
    for what, ballast in BALLAST.items():
        with bench.database(ours) as dsn:
            _fill(bench, dsn, what, ballast)
            for _ in range(bench.runs):
                for size in (0, 1, SLOTS):
                    timed = asyncio.run(
                        _claims(dsn, size, bench.tasks(CLAIMS), limited=what == LIMITED)
                    )
                    found.setdefault(what, {}).setdefault(size, []).append(timed)
        told = {n: round(percentile([*chain(*runs)], 99), 2) for n, runs in found[what].items()}
        bench.say(f"  {what}: p99 {told} ms, by how many tasks it finds")
    cases = {
        what: max(median([percentile(run, 99) for run in runs]) for runs in sizes.values())
        for what, sizes in found.items()
        if what != "nothing"
    }
    worst = max(cases, key=lambda what: cases[what])
    size = max(found[worst], key=lambda n: median([percentile(r, 99) for r in found[worst][n]]))
    return [
        Row(
            row="S6", benchmark="claim", unit="ms, p99",
            runs=[percentile(run, 99) for run in found[worst][size]],
            checks=[
                Check(f"ms, p99, {what}", value, 5.0, at_most=True)
                for what, value in cases.items()
            ],
            versions=bench.versions(),
            settings={"tasks": TASKS, "claims": CLAIMS, "slots": SLOTS, **bench.settings()},
            details={
                "p50_and_p99_ms_by_tasks_found": {
                    what: {
                        n: [round(percentile([*chain(*runs)], q), 2) for q in (50, 99)]
                        for n, runs in sizes.items()
                    }
                    for what, sizes in found.items()
                },
            },
        )
    ]  # fmt: skip


def _fill(bench: Bench, dsn: str, what: str, ballast: Sequence[Mapping[str, str]]) -> None:
    """Insert what the claims have to pass by; the lanes of what is known are made before."""
    database = open_database(dsn)
    session = database.sync_session()
    workers.register_types(session, [FOREIGN, *(LIMITS if what == LIMITED else ())])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ADD, {"name": "noop", "queue": "other", "count": 1})
        upkeep.relane(session, -1, 1_000)
        for kind in ballast:
            left = bench.tasks(TASKS) // len(ballast)
            while left > 0:
                connection.execute(FILL, {**kind, "count": min(left, CHUNK)})
                left -= CHUNK
        peer("perdure").settle(connection)
        connection.execute("vacuum analyze perdure.waiting")
    session.close()


async def _claims(dsn: str, size: int, count: int, *, limited: bool) -> list[float]:
    """Milliseconds of each claim by a worker with all slots free, which finds `size` tasks."""
    database = open_database(dsn)
    beat = database.sync_session()
    registration = Registration.of_this_process(
        lease_seconds=3_600.0, queues=("default",), names=("noop",), slots=SLOTS
    )
    workers.register(beat, registration)
    session = await database.session()
    lanes = served(
        await workers.lanes(session, ["noop"]), names={"noop"}, queues={"default"}, satisfied=()
    )
    positions, timed = Positions(), []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for turn in range(count):
            if size:
                connection.execute(ADD, {"name": "noop", "queue": "default", "count": size})
            left = size
            while left or not size:
                began = time.perf_counter()
                claimed = await _claim(session, registration.id, lanes, positions, turn)
                timed.append((time.perf_counter() - began) * 1e3)
                if claimed:
                    await _finish(session, registration.id, claimed, limited=limited)
                left -= len(claimed)
                if not size:
                    break
    await session.close()
    workers.deregister(beat, registration.id)
    beat.close()
    return timed


async def _finish(
    session: Session, worker: int, claimed: Sequence[Claimed], *, limited: bool
) -> None:
    """Plain successes, but for those that hold an instance: their ends hand it over."""
    if not limited:
        await queue.finish(session, worker, [Done(task.lease, task.task_id) for task in claimed])
        return
    move = Move(to=Ended(state="completed", result='{"ok": true}'), attempt=1)
    ends = [Settling(task.lease, task.task_id, time.time(), move) for task in claimed]
    await queue.settle(session, worker, sorted(ends, key=_place))


def _place(ending: Settling) -> tuple[str, int]:
    return ending.lease, ending.task_id


async def _claim(
    session: Session, worker: int, lanes: tuple[Lane, ...], positions: Positions, turn: int
) -> list[Claimed]:
    """Plan, claim and learn from it, as a worker's enqueuer does."""
    picks = plan(lanes, positions, free=SLOTS, queue_free={}, now=time.monotonic(), turn=turn)
    claimed = await queue.claim(session, worker, picks, SLOTS)
    taken = [(task.lane, task.priority, task.task_id) for task in claimed]
    positions.observe(picks, taken, time.monotonic())
    return claimed
