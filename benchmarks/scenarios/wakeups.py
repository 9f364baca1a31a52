"""S11: commits per second of sixteen enqueuers with wake-ups on, against off.

`idle`: a worker that waits for these tasks and takes them as they come. `busy`: one whose slots are
all taken, so that they wait. On and off differ in one setting of that worker, nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from benchmarks.handlers import SETTINGS
from benchmarks.harness import Bench, Check, Program, Row, median
from benchmarks.measure import pgbench, wait_until
from benchmarks.peers import peer
from benchmarks.peers.adapter import PAYLOAD, Peer

PEERS = ()
CLIENTS = 16
SECONDS = 5.0
SLOTS = 8
CALM_SECONDS = 1.0
SCRIPT = f"""select * from perdure.enqueue('noop', '{{"n": 1, "data": "{PAYLOAD}"}}');"""
OCCUPY = b"insert into perdure.tasks (name) select 'asleep' from generate_series(1, %s::integer)"
BUSY = {"PERDURE_EXECUTION__CONCURRENCY": str(SLOTS), "PERDURE_EXECUTION__STOP_GRACE": "0s"}


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """The worse of both workers: the median of the runs' ratios."""
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(bench.runs):
        for worker in ("idle", "busy"):
            # In turn: whoever comes first meets another machine than who comes second.
            for wakeups in (("off", "auto"), ("auto", "off"))[number % 2]:
                with bench.database(peer("perdure")) as dsn:
                    rate = _rate(bench, dsn, worker, wakeups)
                rates.setdefault((worker, wakeups), []).append(rate)
                bench.say(f"  {worker} worker, wake-ups {wakeups}: {rate:,.0f} commits/s")
    ratios = {
        worker: [
            on / off for on, off in zip(rates[worker, "auto"], rates[worker, "off"], strict=True)
        ]
        for worker in ("idle", "busy")
    }
    worse = min(ratios, key=lambda worker: median(ratios[worker]))
    return [
        Row(
            row="S11", benchmark="wakeups", unit="of the commits/s without", runs=ratios[worse],
            checks=[
                Check(f"of the commits/s without, {worker} worker", median(values), 0.95)
                for worker, values in ratios.items()
            ],
            versions=bench.versions(),
            settings={"clients": CLIENTS, "seconds": SECONDS, **SETTINGS},
            details={
                "commits_per_second": {
                    f"{worker}, wake-ups {wakeups}": round(median(values))
                    for (worker, wakeups), values in rates.items()
                }
            },
        )
    ]  # fmt: skip


def _rate(bench: Bench, dsn: str, worker: str, wakeups: str) -> float:
    """Commits per second beside one such worker."""
    ours = peer("perdure")
    busy = worker == "busy"
    environment = {"PERDURE_SCHEDULING__WAKEUPS": wakeups, **(BUSY if busy else {})}
    command = ours.command("work")
    if busy:
        command = [command[0], "-m", "benchmarks.handlers", "asleep"]
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        Program(command, dsn, **environment) as program,
    ):
        if busy:
            connection.execute(OCCUPY, [SLOTS])
            wait_until("all slots are taken", lambda: len(program.lines) >= SLOTS)
        else:
            connection.execute(ours.insert_sql.encode(), ['{"n": 0, "data": ""}'])
            wait_until("it takes a task", lambda: program.first is not None)
        connection.execute("checkpoint")
        time.sleep(bench.seconds(CALM_SECONDS))
        return pgbench(bench, dsn, SCRIPT, clients=CLIENTS, seconds=bench.seconds(SECONDS))
