"""S13: durable checkpoints of one task against bare UPDATE commits; what coalesced ones cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import psycopg
from typing_extensions import override

from benchmarks.handlers import SETTINGS, State
from benchmarks.harness import Bench, Check, Drained, Program, Row, drain, load, median
from benchmarks.peers.adapter import Peer
from benchmarks.peers.perdure import Perdure

PEERS = ()
SECONDS = 4.0
TASKS = 20_000
KINDS = ("plain", "soon", "changed")
BARE = (
    (
        b"create table bare (id bigint primary key, version integer not null, attempt integer not"
        b" null, started_at timestamptz, execution_metadata jsonb) with (fillfactor = 80)"
    ),
    b"insert into bare values (1, 1, 1, now(), '{}')",
)
UPDATE = b"update bare set version = 1, execution_metadata = %s::jsonb where id = 1"


class Handlers(Perdure):
    """Ours, with a worker whose handlers do something: see `benchmarks.handlers`."""

    def __init__(self, what: str) -> None:
        self.what = what

    @override
    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        if what == "work":
            return [sys.executable, "-m", "benchmarks.handlers", self.what]
        return super().command(what, defaults=defaults)


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """Commits per second, and the part of a drain's speed that coalesced checkpoints cost."""
    ours: list[float] = []
    bare: list[float] = []
    drained: dict[str, list[Drained]] = {kind: [] for kind in KINDS}
    for _ in range(bench.runs):
        with bench.database(Handlers("saving")) as dsn:
            bare.append(_bare(dsn, bench.seconds(SECONDS)))
            ours.append(_saving(dsn, bench.seconds(SECONDS)))
        bench.say(f"  checkpoints {ours[-1]:,.0f}/s, bare UPDATE {bare[-1]:,.0f}/s")
        for kind in KINDS:
            of, tasks = Handlers(kind), bench.tasks(TASKS)
            with bench.database(of) as dsn:
                load(bench, of, dsn, tasks)
                drained[kind].append(drain(bench, of, dsn, tasks))
            bench.say(f"  {kind}: {drained[kind][-1].rate:,.0f} tasks/s")
    cost = {
        kind: 1 - median([
            with_.rate / without.rate
            for with_, without in zip(drained[kind], drained["plain"], strict=True)
        ])
        for kind in KINDS[1:]
    }  # fmt: skip
    ratio = median([a / b for a, b in zip(ours, bare, strict=True)])
    return [
        Row(
            row="S13", benchmark="checkpoints", unit="checkpoints/s", runs=ours,
            checks=[
                Check("of bare UPDATE commits", ratio, 0.8),
                Check("of a drain's speed, checkpoint_soon()", cost["soon"], 0.05, at_most=True),
            ],
            versions=bench.versions(),
            settings={"seconds": SECONDS, "tasks": TASKS, **SETTINGS},
            details={
                "bare_update_commits_per_second": round(median(bare)),
                "drain_tasks_per_second": {
                    kind: round(median([one.rate for one in of])) for kind, of in drained.items()
                },
                "drain_cpu_us_per_task": {
                    kind: round(median([one.cpu_us for one in of]), 1)
                    for kind, of in drained.items()
                },
                "handlers": "plain: does nothing; soon: changes its checkpoint and calls"
                " checkpoint_soon(); changed: changes it, and it is saved with the end",
            },
        )
    ]  # fmt: skip


def _bare(dsn: str, seconds: float) -> float:
    """UPDATE commits per second of one row by one synchronous connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in BARE:
            connection.execute(statement)
        state, count = State(), 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            state.n += 1
            connection.execute(UPDATE, [state.model_dump_json()], prepare=True)
            count += 1
        return count / (time.perf_counter() - began)


def _saving(dsn: str, seconds: float) -> float:
    """Calls of `await context.checkpoint()` per second, one after the other."""
    command = Handlers("saving").command("work")
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        Program(command, dsn, BENCH_SECONDS=str(seconds)) as program,
    ):
        connection.execute("insert into perdure.tasks (name) values ('saving')")
        while not program.lines:
            if program.process.poll() is not None:
                raise RuntimeError("the worker has ended by itself")
            time.sleep(0.05)
        done = program.lines[-1]
    return float(done["saves"]) / float(done["seconds"])
