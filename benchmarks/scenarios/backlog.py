"""S5: what a task costs with a backlog of 1,000,000, against one of 10,000.

In both cases the backlog is kept as it is by an inserter while the worker drains, so that both meet
the same company; only the CPU of the worker and of its own server processes counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from benchmarks.harness import Bench, Check, Program, Row, load, median
from benchmarks.measure import backends_cpu, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import Peer

PEERS = ()
LARGE = 1_000_000
SMALL = 10_000
TASKS = 150_000
WARM = 30_000
INSERT = (
    b"insert into perdure.tasks (name, metadata)"
    b" select 'noop', jsonb_build_object('n', n, 'data', repeat('x', 160))"
    b" from generate_series(1, %s::integer) as n"
)


class Cost(NamedTuple):
    """CPU microseconds per task, and the speed meanwhile."""

    worker: float
    backends: float
    rate: float

    @property
    def all(self) -> float:
        """Of worker and server together."""
        return self.worker + self.backends


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """CPU microseconds per task with the large backlog, and their ratio."""
    ours = peer("perdure")
    found: dict[int, list[Cost]] = {SMALL: [], LARGE: []}
    with bench.database(ours, "bench_small") as small, bench.database(ours, "bench_large") as large:
        for dsn, backlog in ((small, SMALL), (large, LARGE)):
            load(bench, ours, dsn, bench.tasks(backlog))
        for _ in range(bench.runs):
            for dsn, backlog in ((small, SMALL), (large, LARGE)):
                cost = _cost(bench, dsn, bench.tasks(backlog))
                found[backlog].append(cost)
                bench.say(f"  {backlog:,}: {cost.all:.1f} us, {cost.rate:,.0f} tasks/s")
    ratio = median([
        with_.all / without.all
        for with_, without in zip(found[LARGE], found[SMALL], strict=True)
    ])  # fmt: skip
    return [
        Row(
            row="S5", benchmark="backlog", unit="CPU us per task",
            runs=[cost.all for cost in found[LARGE]],
            checks=[Check("cost, times that with 10,000", ratio, 1.1, at_most=True)],
            versions=bench.versions(),
            settings={"backlogs": [SMALL, LARGE], "tasks": TASKS, **bench.settings()},
            details={
                f"with_{backlog}": {
                    "worker_cpu_us_per_task": round(median([cost.worker for cost in costs]), 1),
                    "server_cpu_us_per_task": round(median([cost.backends for cost in costs]), 1),
                    "tasks_per_second": round(median([cost.rate for cost in costs])),
                }
                for backlog, costs in found.items()
            },
        )
    ]  # fmt: skip


class _Inserter:
    """Keeps the backlog of one worker at its size."""

    def __init__(self, connection: psycopg.Connection[Any], program: Program, backlog: int) -> None:
        row = connection.execute("select count(*) from perdure.ready").fetchone()
        self._connection = connection
        self._program = program
        self._backlog = backlog
        self._put = row[0] if row else 0
        self._portion = max(100, min(5_000, backlog // 2))

    def drained(self, count: int) -> bool:
        """Whether so many are done; inserts what has gone meanwhile."""
        done = int(self._program.last["count"])
        if self._program.process.poll() is not None:
            raise RuntimeError("the worker has ended by itself")
        if self._put - done <= self._backlog - self._portion:
            self._connection.execute(INSERT, [self._portion], prepare=True)
            self._put += self._portion
        return done >= count


def _cost(bench: Bench, dsn: str, backlog: int) -> Cost:
    """The cost of some tasks in the middle of a drain."""
    tasks, warm = bench.tasks(TASKS), bench.tasks(WARM)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("checkpoint")
        with Program(peer("perdure").command("work"), dsn) as program:
            inserter = _Inserter(connection, program, backlog)
            begun = _moment(connection, program, inserter, warm)
            ended = _moment(connection, program, inserter, begun[0] + tasks)
    done, seconds, worker, backends = (b - a for a, b in zip(begun, ended, strict=True))
    return Cost(worker / done * 1e6, backends / done * 1e6, done / seconds)


def _moment(
    connection: psycopg.Connection[Any], program: Program, inserter: _Inserter, count: int
) -> tuple[int, float, float, float]:
    """Tasks, time, CPU of worker and backends, once so many are done and it has told anew."""
    wait_until("tasks are done", lambda: inserter.drained(count), 300)
    told = program.last
    wait_until("it tells", lambda: inserter.drained(0) and program.last is not told)
    told = program.last
    return int(told["count"]), time.time(), float(told["cpu"]), backends_cpu(connection)
