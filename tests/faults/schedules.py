"""A fleet that fires schedules while one worker is killed and one is frozen, judged by `select`."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.kit.databases import Database, migrated_database, own_server
from tests.kit.fleet import LEASE, Fleet, until

WORKERS, SCHEDULES = 3, 20
# Instants of each schedule that are in no row, or in more than one; and tasks that no fire names.
JUDGED = """
    with runs as (
        select f.schedule_key, f.fire_at, f.fate, f.count, f.task_id,
            lead(f.fire_at) over (partition by f.schedule_key order by f.fire_at) as following
        from perdure.fires as f
    )
    select 'not accounted for' as finding, r.schedule_key, r.fire_at from runs as r
    where r.following <> r.fire_at + r.count * interval '1 second'
    union all
    select 'fired without a task', r.schedule_key, r.fire_at from runs as r
    where r.fate = 'fired' and not exists (
        select from perdure.tasks as t
        where t.id = r.task_id and t.schedule_key = r.schedule_key and t.fire_at = r.fire_at)
    union all
    select 'made twice', t.schedule_key, t.fire_at from perdure.tasks as t
    group by t.schedule_key, t.fire_at having count(*) > 1
    union all
    select 'made without a fire', t.schedule_key, t.fire_at from perdure.tasks as t
    where not exists (select from perdure.fires as f where f.task_id = t.id)
"""
FATES = "select fate, sum(count)::bigint from perdure.fires group by 1"
LATE = """
    select percentile_cont(array[0.5, 0.99, 1]) within group (
        order by extract(epoch from t.created_at - f.fire_at)::float * 1000)
    from perdure.fires as f join perdure.tasks as t on t.id = f.task_id
"""


def storm(minutes: float) -> dict[str, Any]:
    """Fire 20 schedules of a second on three workers for so long, with a death and a freeze."""
    with TemporaryDirectory() as folder:
        server = own_server()
        server.start()
        try:
            with migrated_database(server) as database:
                return _judged(database, Path(folder), minutes * 60)
        finally:
            server.stop()


def _judged(database: Database, folder: Path, seconds: float) -> dict[str, Any]:
    with Fleet(database, "tests.kit.service:service", folder) as fleet:
        workers = [fleet.start() for _ in range(WORKERS)]
        until(lambda: database.value("select count(*) from perdure.workers") == WORKERS)
        database.execute(
            "select perdure.put_schedule('s' || n, 'short', every => '1 second',"
            " overlap => 'allow') from generate_series(1, %s::int) as n",
            [SCHEDULES],
        )
        began = time.monotonic()

        def wait(until_second: float) -> None:
            until(lambda: time.monotonic() - began > until_second, timeout=seconds + 60, every=0.1)

        wait(seconds * 0.25)
        workers[0].kill()
        wait(seconds * 0.5)
        workers[1].signal(signal.SIGSTOP)
        wait(seconds * 0.5 + 2 * LEASE)
        workers[1].signal(signal.SIGCONT)
        wait(seconds)
        database.execute(
            "select perdure.pause_schedule(key) from (select key from perdure.schedules) as s"
        )
        until(
            lambda: (
                not database.rows(
                    "select from perdure.tasks as t where not exists"
                    " (select from perdure.outcomes as o where o.task_id = t.id) limit 1"
                )
            )
        )
        findings = [f"{what}: {key} {at}" for what, key, at in database.rows(JUDGED)]
        late = [round(value, 1) for value in database.value(LATE)]
        return {
            "seconds": round(time.monotonic() - began, 1), "workers": WORKERS,
            "schedules": SCHEDULES, "fates": dict(database.rows(FATES)),
            "late_ms": dict(zip(("p50", "p99", "max"), late, strict=True)),
            "misplaced": len(database.rows("select from perdure.misplaced_tasks")),
            "findings": findings,
        }  # fmt: skip
