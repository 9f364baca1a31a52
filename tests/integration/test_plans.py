"""Plans of the hot statements: the same indexes whatever the statistics say, reads as asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database, Server, new_database
from tests.kit.plans import Plan, explain, explain_nested, prepare

from perdure.store.database import Database as Store
from perdure.store.queue import array_literal

ROWS, FEW = 10_000, 600
ASKED = 128
SHARE = 96
LIVE, DEAD = 1, 2
TABLES = ("tasks_default", "tasks_0", "outcomes_default", "outcomes_0", "ready", "waiting",
          "leases", "progress", "mail", "edges", "attempts")  # fmt: skip
TYPES = '[{"name": "a", "queue": "q", "priority": 5}, {"name": "b", "queue": "q", "priority": 2}]'
WORKERS = """
    insert into perdure.workers (id, name, host, pid, version, lease_seconds, heartbeat_at) values
        (1, 'live', 'h', 1, '1', 3600, now()), (2, 'dead', 'h', 2, '1', 10, '2020-01-01')
"""
# Ready in two lanes; waiting, every second one due; ended; held by two workers; some with progress.
FILL = """
    insert into perdure.tasks (name, run_at)
    select n, case n when 'later' then clock_timestamp() + interval '1 hour' end
    from unnest('{a,a,b,later,ended,held}'::text[]) as n, generate_series(1, %(rows)s::integer / 2);
    update perdure.waiting set due_at = clock_timestamp() - interval '1 ms' * (task_id %% 1000)
    where task_id %% 2 = 0;
    with gone as (
        delete from perdure.ready using perdure.tasks as t
        where t.id = task_id and t.name = 'ended' returning task_id)
    insert into perdure.outcomes (task_id, attempt, state, started_at)
    select task_id, 1, 'completed', now() from gone;
    with gone as (
        delete from perdure.ready using perdure.tasks as t
        where t.id = task_id and t.name = 'held' returning task_id),
    numbered as (select task_id, (row_number() over (order by task_id) - 1) / 64 as n from gone)
    insert into perdure.leases (id, worker_id, task_ids)
    select gen_random_uuid(), case when n < 2 then 2 else 1 end, array_agg(task_id order by task_id)
    from numbered group by n;
    insert into perdure.progress (task_id, attempt, failures)
    select id, 1, 1 from perdure.tasks where id %% 3 = 0 on conflict do nothing;
    update perdure.workers as w set running = array(
        select unnest(task_ids) from perdure.leases as l where l.worker_id = w.id limit 64)
"""
# Every switch that can give the claim's plan another form.
SWITCHES = (("seqscan",), ("indexscan",), ("bitmapscan",), ("tidscan",), ("nestloop",),
            ("hashjoin", "mergejoin"), ("material", "memoize"))  # fmt: skip

Databases: TypeAlias = Mapping[tuple[int, str], Database]
every_age = pytest.mark.parametrize(
    "rows, age", list(itertools.product((0, ROWS), ("empty", "stale", "fresh")))
)
every_session = pytest.mark.parametrize(
    "own, mode", list(itertools.product((True, False), ("custom", "generic")))
)


@pytest.fixture(scope="module")
def databases(server: Server, template: str) -> Iterator[Databases]:
    """Databases by number of rows and age of their statistics, which nobody else refreshes.

    Stale: those of a few rows where there are many, those of many where there are none.
    """
    with ExitStack() as stack:

        def clone(source: str) -> Database:
            return stack.enter_context(new_database(server, source))

        seed = clone(template)
        for table in TABLES:
            seed.execute(f"alter table perdure.{table} set (autovacuum_enabled = off)")
        seed.execute("select perdure.register_types(%s::jsonb)", [TYPES])
        seed.execute(WORKERS)
        seed.close()
        made = {(0, "empty"): clone(seed.name), (0, "fresh"): clone(seed.name)}
        made[0, "fresh"].execute("analyze")
        for rows in (FEW, ROWS):
            made[rows, "stale"] = clone(seed.name)
            fill(made[rows, "stale"], 4)
            made[rows, "stale"].execute("analyze")
            fill(made[rows, "stale"], rows)
        made[FEW, "fresh"] = clone(seed.name)
        fill(made[FEW, "fresh"], FEW)
        made[FEW, "fresh"].execute("analyze")
        filled = clone(seed.name)
        fill(filled, ROWS)
        filled.close()
        made[ROWS, "empty"] = clone(filled.name)
        made[ROWS, "fresh"] = clone(filled.name)
        made[ROWS, "fresh"].execute("analyze")
        made[0, "stale"] = clone(filled.name)
        made[0, "stale"].execute("analyze")
        for table in TABLES:
            made[0, "stale"].execute(f"delete from perdure.{table}")
            made[0, "stale"].execute(f"vacuum perdure.{table}")
        yield made


def fill(database: Database, rows: int) -> None:
    for statement in FILL.split(";"):
        database.execute(statement, {"rows": rows})


@contextmanager
def session(
    database: Database, *, own: bool, mode: str
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A session as the runtime opens it, or as it comes through a pooler, without options."""
    store = Store({key: str(value) for key, value in conninfo_to_dict(database.dsn).items()})
    store.pooled = not own
    with psycopg.connect(store.conninfo(own=own), autocommit=True) as connection:
        connection.execute(f"set plan_cache_mode = force_{mode}_plan".encode())
        yield connection


def claim_of(database: Database) -> dict[str, Any]:
    """A claim that asks for less than its picks would give together."""
    lanes = dict(database.rows("select name, id from perdure.lanes"))
    return {
        "worker": LIVE, "lanes": array_literal((lanes["a"], lanes["b"])), "priorities": "{5,2}",
        "after": "{0,0}", "shares": f"{{{SHARE},{SHARE}}}", "at_most": ASKED,
        "leases": array_literal((UUID(int=1), UUID(int=2))), "body_bytes": 2048,
    }  # fmt: skip


def finish_of(database: Database) -> dict[str, Any]:
    """The successes of two whole leases."""
    held = database.rows(
        "select id, unnest(task_ids) from perdure.leases where id in"
        " (select id from perdure.leases where worker_id = %s limit 2)", [LIVE],
    )  # fmt: skip
    leases = {lease: n for n, lease in enumerate(dict.fromkeys(lease for lease, _ in held), 1)}
    return {
        "worker": LIVE, "leases": array_literal(leases),
        "lease": array_literal(leases[lease] for lease, _ in held),
        "task": array_literal(task for _, task in held),
        "attempt": array_literal(1 for _ in held), "started": array_literal(1 for _ in held),
        "result": "[" + ",".join("{}" for _ in held) + "]",
    }  # fmt: skip


def check_nothing_is_scanned(plans: list[Plan]) -> None:
    for plan, table in itertools.product(plans, ("tasks", "outcomes", "ready", "waiting")):
        assert plan.scans(table) <= {
            "tasks_pkey", "outcomes_pkey", "ready_order", "waiting_due", "Tid Scan"
        }, (table, plan.text)  # fmt: skip


@pytest.mark.conformance("C8")
@every_age
@every_session
def test_a_claim_reads_what_it_asks_for_by_the_order_of_ready(
    databases: Databases, rows: int, age: str, own: bool, mode: str
) -> None:
    database = databases[rows, age]
    with session(database, own=own, mode=mode) as connection:
        plan = explain(connection, "claim", claim_of(database))
    check_nothing_is_scanned([plan])
    assert plan.rows == (ASKED if rows else 0)
    assert plan.read("ready") == plan.read("tasks") == plan.rows
    assert plan.subplan("picked").buffers <= 4 * plan.rows + 100
    assert plan.buffers <= 12 * plan.rows + 100
    if rows:
        assert plan.scans("ready") == {"ready_order", "Tid Scan"}
        assert plan.scans("tasks") == {"tasks_pkey"}
        assert plan.scans("progress") == {"progress_pkey"}


@every_age
@every_session
def test_plain_successes_are_written_without_reading_tasks_or_outcomes(
    databases: Databases, rows: int, age: str, own: bool, mode: str
) -> None:
    database = databases[rows, age]
    with session(database, own=own, mode=mode) as connection:
        plan = explain(connection, "finish_plain", finish_of(database))
    for table in ("tasks", "outcomes", "ready", "waiting", "progress"):
        assert plan.scans(table) == set()
    assert plan.buffers <= 6 * ASKED + 100


@every_age
@every_session
def test_promotion_reads_what_is_due_in_the_order_of_time(
    databases: Databases, rows: int, age: str, own: bool, mode: str
) -> None:
    with session(databases[rows, age], own=own, mode=mode) as connection:
        plans = explain_nested(connection, "promote", {"at_most": ASKED})
    check_nothing_is_scanned(plans)
    if rows:
        taken = next(plan for plan in plans if "with due as" in plan.text)
        placed = next(plan for plan in plans if "with placed as" in plan.text)
        assert taken.scans("waiting") == {"waiting_due", "Tid Scan"}
        assert taken.read("waiting") == ASKED
        assert placed.scans("tasks") == {"tasks_pkey"}
        assert placed.read("tasks") == ASKED
        assert plans[-1].buffers <= 32 * ASKED + 500


@every_age
@every_session
def test_recovery_reads_the_leases_and_the_tasks_that_they_hold(
    databases: Databases, rows: int, age: str, own: bool, mode: str
) -> None:
    database = databases[rows, age]
    held = database.value(
        "select sum(cardinality(task_ids)) from perdure.leases where worker_id = %s", [DEAD]
    )
    with session(database, own=own, mode=mode) as connection:
        plans = explain_nested(connection, "recover", {"reported_only": False})
    check_nothing_is_scanned(plans)
    if rows:
        placed = [plan for plan in plans if "with placed as" in plan.text]
        assert sum(plan.read("tasks") for plan in placed) == held
        assert all(plan.scans("tasks") == {"tasks_pkey"} for plan in placed)
        assert all(plan.scans("progress") <= {"progress_pkey"} for plan in plans)
        assert plans[-1].buffers <= 30 * ASKED + 1100


@pytest.mark.conformance("C8")
@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("age", ["stale", "fresh"])
def test_a_claim_takes_its_picks_in_order_and_no_more_whatever_the_planner_may_use(
    databases: Databases, age: str, mode: str
) -> None:
    database = databases[FEW, age]
    values = claim_of(database)
    first = {
        name: [row[0] for row in database.rows(
            "select r.task_id from perdure.ready as r join perdure.lanes as l on l.id = r.lane"
            " where l.name = %s order by 1 limit %s", [name, count],
        )]
        for name, count in (("a", SHARE), ("b", ASKED - SHARE))
    }  # fmt: skip
    with session(database, own=False, mode=mode) as connection:
        connection.execute(b"set jit = off")  # it would compile every plan that costs so much
        execute = prepare(connection, "claim", values, database.schema)
        for states in itertools.product(("on", "off"), repeat=len(SWITCHES)):
            with connection.transaction(force_rollback=True):
                for group, state in zip(SWITCHES, states, strict=True):
                    for switch in group:
                        connection.execute(f"set local enable_{switch} = {state}".encode())
                connection.execute(b"discard plans")
                rows = connection.execute(execute).fetchall()
            assert len(rows) == ASKED, states
            taken = {name: sorted(row[3] for row in rows if row[4] == name) for name in first}
            assert taken == first, states
            assert Counter(row[0] for row in rows) == {1: 64, 2: 64}
