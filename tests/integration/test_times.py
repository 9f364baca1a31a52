"""Times are those of the moment at which they are written, not of the start of a transaction."""

from __future__ import annotations

from uuid import uuid4

import psycopg
from tests.kit.by_hand import NOBODY, task, worker
from tests.kit.databases import Database

from perdure.store.schema import statement


def test_times_are_of_the_moment_however_old_their_transaction_is(database: Database) -> None:
    worker(database)
    task(database)
    claim = {
        "worker": NOBODY, "lanes": [0], "priorities": [5], "after": [-1], "shares": [1],
        "at_most": 1, "leases": [uuid4()], "body_bytes": 100,
    }  # fmt: skip
    with psycopg.connect(database.dsn) as connection:
        connection.execute("select now()")
        claimed = connection.execute(statement("claim", "perdure").encode(), claim)
        assert len(claimed.fetchall()) == 1
        connection.execute("select from perdure.beat(%s, '{}', 10, '{}')", (NOBODY,))
        connection.execute("select perdure.enqueue('a', delay => '1 hour')")
        later = connection.execute(
            "select l.claimed_at > now(), b.heartbeat_at > now(),"
            " w.due_at > now() + interval '1 hour'"
            " from perdure.leases as l, perdure.workers as b, perdure.waiting as w"
        ).fetchone()
    assert later == (True, True, True)
