"""Databases with a backlog: so many rows in every place, under statistics of a given age."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database, Server, new_database

from perdure.store.database import Database as Store

FEW = 4
LIVE, DEAD = 1, 2
# Tables that grow with the tasks; none may be read through.
GROWING = ("tasks", "outcomes", "ready", "waiting", "leases", "progress", "mail", "edges",
           "attempts", "audit")  # fmt: skip
_TYPES = '[{"name": "a", "queue": "q", "priority": 5}, {"name": "b", "queue": "q", "priority": 2}]'
# Of number n: 4n is ready, 4n + 1 waits, 4n + 2 has ended, 4n + 3 runs; every second one that waits
# is due. Only the ready have their row in tasks, and the first of the others: those that are met.
_FILL = """
    set session_replication_role = replica;
    insert into perdure.tasks (id, name)
    select 4 * n + k, case when n %% 3 = 0 then 'b' else 'a' end
    from generate_series(%(low)s::bigint, %(high)s) as n, generate_series(0, 3) as k
    where k = 0 or n <= 5000;
    insert into perdure.ready (lane, priority, task_id)
    select l.id, y.priority, 4 * n from generate_series(%(low)s::bigint, %(high)s) as n
    join perdure.lanes as l on l.name = case when n %% 3 = 0 then 'b' else 'a' end
    join perdure.task_types as y on y.name = l.name;
    insert into perdure.waiting (task_id, reason, due_at, wait_key)
    select 4 * n + 1, 'retry',
        case n %% 2 when 0 then timestamptz '2020-01-01' else '9000-01-01' end + n * interval '1 s',
        case when n %% 10 = 1 then n::text end
    from generate_series(%(low)s::bigint, %(high)s) as n;
    insert into perdure.outcomes (task_id, attempt, state)
    select 4 * n + 2, 1, case when n %% 10 = 0 then 'failed' else 'completed' end
    from generate_series(%(low)s::bigint, %(high)s) as n;
    insert into perdure.leases (id, worker_id, task_ids)
    select gen_random_uuid(),
        case when n / 64 < 2 then 2 when n / 64 < 8 then 1 else n / 64 %% 50 + 3 end,
        array_agg(4 * n + 3 order by n)
    from generate_series(%(low)s::bigint, %(high)s) as n group by n / 64;
    insert into perdure.progress (task_id, attempt, failures)
    select 4 * n + k, 1, 1
    from generate_series(%(low)s::bigint, %(high)s) as n, generate_series(0, 3) as k
    where n %% 10 = 0;
    insert into perdure.attempts (task_id, attempt, kind)
    select p.task_id, 1, 'failure' from perdure.progress as p
    where p.task_id between 4 * %(low)s and 4 * %(high)s + 3;
    insert into perdure.mail (task_id, wait_key, kind, body, keep_until)
    select case n %% 20 when 0 then 4 * n + 3 end, case n %% 20 when 10 then n::text end,
        case n %% 20 when 0 then 'follower' else 'proceed' end, '{}', 'infinity'
    from generate_series(%(low)s::bigint, %(high)s) as n where n %% 10 = 0;
    insert into perdure.edges (task_id, after_id)
    select 4 * n + 1, 4 * n + 3 from generate_series(%(low)s::bigint, %(high)s) as n
    where n %% 10 = 1;
    update perdure.waiting as w set blockers = 1
    from perdure.edges as e where e.task_id = w.task_id and w.blockers = 0;
    insert into perdure.audit (action, task_id)
    select 'proceed', 4 * n from generate_series(%(low)s::bigint, %(high)s) as n where n %% 10 = 0;
    insert into perdure.workers (id, name, host, pid, version, lease_seconds, heartbeat_at)
    select distinct l.worker_id, 'w', 'h', 1, '1', case l.worker_id when 2 then 3600 else 1e9 end,
        case l.worker_id when 2 then timestamptz '2020-01-01' else clock_timestamp() end
    from perdure.leases as l on conflict do nothing;
    select setval('perdure.tasks_id_seq', 4 * %(high)s + 4);
    reset session_replication_role
"""


class Backlog(NamedTuple):
    """A database, and how many rows it has in every place."""

    database: Database
    rows: int


class Backlogs:
    """Makes databases with a backlog; closing the stack drops what has been made."""

    def __init__(self, server: Server, template: str, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._stale: dict[int, Database] = {}
        self._seed = self._clone(template)
        for table in GROWING:
            ranges = self._seed.rows(
                "select relid::text from pg_partition_tree(%s::regclass) where isleaf",
                [f"{self._seed.schema}.{table}"],
            )
            for (name,) in ranges:
                self._seed.execute(f"alter table {name} set (autovacuum_enabled = off)")
        self._seed.execute("select perdure.register_types(%s::jsonb)", [_TYPES])
        self._seed.execute(
            "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
            " values (%s, 'w', 'h', 1, '1', 3600)", [LIVE],
        )  # fmt: skip
        self._seed.close()

    @contextmanager
    def aged(self, rows: int, age: str) -> Iterator[Database]:
        """A database with `rows` in every place; nobody else refreshes its statistics.

        empty: never analysed; fresh: just now; stale: when there were few rows where there are
        many, or many where there are none.
        """
        source = self._grown(rows) if rows else self._grown(10_000) if age == "stale" else None
        with new_database(self._server, (source or self._seed).name) as database:
            if age == "fresh":
                database.execute("analyze")
            elif age == "empty" and rows:
                forget_statistics(database)
            elif age == "stale" and not rows:
                database.execute("analyze")
                for table in GROWING:
                    database.execute(f"delete from perdure.{table}")
                    database.execute(f"vacuum perdure.{table}")
            yield database

    def _grown(self, rows: int) -> Database:
        """Analysed with a few rows, grown since; nothing stays connected."""
        if rows not in self._stale:
            database = self._stale[rows] = self._clone(self._seed.name)
            fill(database, 1, FEW)
            database.execute("analyze")
            fill(database, FEW + 1, rows)
            database.close()
        return self._stale[rows]

    def _clone(self, source: str) -> Database:
        return self._stack.enter_context(new_database(self._server, source))


def fill(database: Database, low: int, high: int) -> None:
    """Add the numbers from `low` to `high` to every place, past the triggers."""
    for statement in _FILL.split(";"):
        database.execute(statement, {"low": low, "high": high})


def forget_statistics(database: Database) -> None:
    """Make the tables look as if nobody had ever analysed them."""
    database.execute(
        "delete from pg_statistic where starelid in"
        " (select oid from pg_class where relnamespace = 'perdure'::regnamespace)"
    )
    database.execute(
        "update pg_class set relpages = 0, reltuples = -1"
        " where relnamespace = 'perdure'::regnamespace and relkind in ('r', 'p', 'i')"
    )


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
