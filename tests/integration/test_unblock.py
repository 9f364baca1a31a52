"""Followers of a task that has ended."""

from __future__ import annotations

import psycopg
from tests.kit.databases import Database


def test_a_follower_that_an_open_transaction_holds_is_not_waited_for(database: Database) -> None:
    first = database.value("insert into perdure.tasks (name) values ('a') returning id")
    follower = database.value("insert into perdure.tasks (name) values ('a') returning id")
    database.execute("delete from perdure.ready where task_id = %s", (follower,))
    edge = "insert into perdure.edges (task_id, after_id) values (%s, %s)"
    database.execute(edge, (follower, first))
    database.execute(
        "insert into perdure.waiting (task_id, reason, blockers) values (%s, 'replaces', 1)",
        (follower,),
    )
    state = "select state from perdure.task(%s::bigint)"
    with psycopg.connect(database.dsn) as other:
        other.execute("select from perdure.waiting where task_id = %s for update", (follower,))
        database.execute("set statement_timeout = '5s'")
        assert database.value("select perdure.cancel(%s::bigint)", (first,)) == "cancelled"
        assert database.value(state, (follower,)) == "blocked"
    database.execute("select perdure.obey(10)")
    assert database.value(state, (follower,)) == "pending"
    assert database.rows("select from perdure.mail") == []
    database.execute("select perdure.cancel(%s::bigint)", (follower,))
    database.check_drained()
