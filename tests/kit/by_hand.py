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
