"""Rows made by hand: a worker that nobody runs, tasks, and leases of its."""

from __future__ import annotations

from uuid import uuid4

from tests.kit.databases import Database

NOBODY = 4711


def worker(database: Database, *, lease_seconds: float = 10.0) -> int:
    """A registered worker that nobody runs."""
    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
        " values (%s, 'w', 'h', 1, '0', %s)",
        (NOBODY, lease_seconds),
    )
    return NOBODY


def task(database: Database, name: str = "a", metadata: str = "{}") -> int:
    """A ready task."""
    text = "insert into perdure.tasks (name, metadata) values (%s, %s) returning id"
    return int(database.value(text, (name, metadata)))


def lease(database: Database, *ids: int) -> str:
    """Claim these tasks for NOBODY."""
    own = str(uuid4())
    database.execute("delete from perdure.ready where task_id = any (%s)", (list(ids),))
    database.execute(
        "insert into perdure.leases (id, worker_id, task_ids) values (%s, %s, %s)",
        (own, NOBODY, list(ids)),
    )
    return own


_LEFT = (
    "attempts (task_id, attempt, kind) values (ID, 1, 'failure')",
    "progress (task_id) values (ID)",
    "mail (task_id, kind) values (ID, 'proceed')",
    "alarms (task_id, at, kind) values (ID, now() + interval '1 day', 'expire')",
    "inputs (task_id, after_id, position, label, rule) values (ID, 1, 0, 'a', 'run')",
    "instances (key, number, task_id) values ('a', 1, ID)",
)
"""What side tables may still know of a task that has ended."""


def leave(database: Database, task_id: int) -> None:
    """Rows in each side table, as an ended task may have them."""
    for row in _LEFT:
        database.execute(f"insert into perdure.{row}".replace("ID", str(task_id)))


def left(database: Database, task_id: int) -> list[str]:
    """Which tables still know something of a task."""
    tables = database.rows(
        "select c.relname, a.attname"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace = 'perdure'::regnamespace and c.relkind in ('r', 'p')"
        " and not c.relispartition and (c.relname, a.attname) <> ('fires', 'task_id')"
        " and (a.attname = 'task_id' or (c.relname, a.attname) = ('tasks', 'id'))"
    )
    asked = "select exists (select from perdure.{} where {} = %s)"
    return [
        table for table, column in tables
        if database.value(asked.format(table, column), (task_id,))
    ]  # fmt: skip
