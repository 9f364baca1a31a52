"""A gate before the commit of what ends or leaves a run, so that a test can stand in between."""

from __future__ import annotations

from uuid import uuid4

from tests.kit.databases import Database
from tests.kit.stepping import pause, waits_for_a_lock

ORDERS = ("RrOo", "ROro", "ROor", "ORro", "ORor", "OoRr")
"""Orders of a run being recorded (R) and committed (r), another's statement (O) and commit (o)."""


class Gate:
    """While it is closed, what workers record about runs waits, uncommitted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(
            """
            create function gate() returns trigger language plpgsql as $$
            begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
            create constraint trigger gate after insert on perdure.outcomes
                deferrable initially deferred for each row execute function gate();
            create constraint trigger gate after insert on perdure.attempts
                deferrable initially deferred for each row execute function gate()
            """
        )

    def close(self) -> None:
        """Let nothing through from now on."""
        self._database.value("select pg_advisory_lock(1)")

    def open(self) -> None:
        """Let go what waits here."""
        assert self._database.value("select pg_advisory_unlock(1)")

    async def reached(self) -> None:
        """Wait until something waits here."""
        await waits_for_a_lock(self._database, "advisory")

    async def left(self, task_id: int) -> None:
        """Wait until the task is held by no lease."""
        text = "select from perdure.leases where %s::bigint = any (task_ids)"
        while self._database.rows(text, [task_id]):
            await pause()


def lose(database: Database, task_id: int) -> None:
    """Give a ready task to a worker that had begun it and has been dead for an hour."""
    worker = uuid4().int >> 66
    moved = database.execute(
        """
        with gone as (delete from perdure.ready where task_id = %(task)s returning task_id),
        dead as (
            insert into perdure.workers
                (id, name, host, pid, version, lease_seconds, running, heartbeat_at)
            values (%(worker)s, 'dead', 'h', 1, '0', 1, array[%(task)s::bigint],
                now() - interval '1 hour'))
        insert into perdure.leases (id, worker_id, task_ids, claimed_at)
        select gen_random_uuid(), %(worker)s, array[task_id], now() - interval '2 hours' from gone
        """,
        {"task": task_id, "worker": worker},
    )
    assert moved == 1, f"task {task_id} is not ready"
