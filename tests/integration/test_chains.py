"""Chains beside open transactions, while they run, and when their parents are to be removed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.logins import as_login, new_login
from tests.kit.running import running

from perdure import (
    InvalidArgument,
    NewTask,
    SyncTaskClient,
    SyncTaskContext,
    TaskClient,
    TaskContext,
    TaskService,
)
from perdure.store.migrate import grant

FOLLOW = """
    select task_id from perdure.enqueue('b',
        after => jsonb_build_array(jsonb_build_object('task', %s::bigint, 'on_failure', 'run')))
"""


def enqueue(database: Database) -> int:
    return int(database.value("insert into perdure.tasks (name) values ('a') returning id"))


def state(database: Database, task: int) -> str:
    return str(database.value("select state from perdure.task(%s)", [task]))


def letters(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("select task_id, kind from perdure.mail order by id")


def marked(database: Database) -> list[int]:
    rows = database.rows("select task_id from perdure.progress where marks & 8 > 0 order by 1")
    return [task for (task,) in rows]


def follow(connection: psycopg.Connection[Any], parent: int) -> int:
    row = connection.execute(FOLLOW.encode(), [parent]).fetchone()
    assert row is not None
    return int(row[0])


def test_the_open_transaction_of_a_producer_holds_nobody_up(database: Database) -> None:
    first, second = enqueue(database), enqueue(database)
    database.execute("set statement_timeout = '5s'")
    with psycopg.connect(database.dsn) as one, psycopg.connect(database.dsn) as other:
        for connection in (one, other):
            connection.execute("set statement_timeout = '5s'")
        # Each after both, in orders that would make a circle of locks.
        mine = [follow(one, first), follow(other, second), follow(one, second)]
        mine.append(follow(other, first))
        assert database.value("select perdure.cancel(%s::bigint)", [first]) == "cancelled"
        free = "select count(*) from (select from perdure.ready for update skip locked) as r"
        assert database.value(free) == 1
        assert database.value("select perdure.cancel(%s::bigint)", [second]) == "cancelled"
    assert [state(database, task) for task in mine] == ["blocked"] * 4
    assert len(letters(database)) == 4
    assert database.value("select perdure.obey(10)") == 2
    assert [state(database, task) for task in mine] == ["pending"] * 4
    assert letters(database) == []


def test_promotion_turns_letters_into_marks_that_every_claim_sees(database: Database) -> None:
    ready, later = enqueue(database), enqueue(database)
    database.execute("select perdure.rewrite(%s, '{}', now() + interval '1 hour')", [later])
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for parent in (ready, later, ready):
            follow(connection, parent)
    was = database.value("select xmin from perdure.ready where task_id = %s", [ready])
    assert letters(database) == [(ready, "follower"), (later, "follower"), (ready, "follower")]
    assert marked(database) == []
    assert database.value("select perdure.obey(10)") == 2
    assert letters(database) == []
    assert marked(database) == [ready, later]
    # A claim that looked before must not take it unmarked.
    now = database.value("select xmin from perdure.ready where task_id = %s", [ready])
    assert now != was
    assert database.value("select perdure.obey(10)") == 0


def test_a_producer_follows_no_task_that_it_may_not_see(database: Database) -> None:
    with new_login(database.dsn) as owner, new_login(database.dsn) as other:
        for login in (owner, other):
            grant(database.dsn, "perdure", "producer", login)
        with psycopg.connect(as_login(database.dsn, owner), autocommit=True) as connection:
            row = connection.execute("select task_id from perdure.enqueue('a')").fetchone()
            assert row is not None
            assert follow(connection, row[0]) > row[0]
        with psycopg.connect(as_login(database.dsn, other), autocommit=True) as connection:
            for _ in ("live", "ended"):
                with pytest.raises(psycopg.Error, match="there is no task") as refused:
                    follow(connection, row[0])
                assert refused.value.diag.sqlstate == "PD004"
                database.execute("select perdure.cancel(%s::bigint)", row)
        assert database.value("select count(*) from perdure.tasks") == 2


def test_tasks_of_one_transaction_need_no_letter(database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        made = "insert into perdure.tasks (name) values ('a') returning id"
        row = connection.execute(made.encode()).fetchone()
        assert row is not None
        child = follow(connection, row[0])
        follow(connection, child)
    assert letters(database) == []
    assert marked(database) == [row[0], child]


def test_a_follower_that_an_end_was_hiding_is_told_before_a_retry_undoes_it(
    database: Database,
) -> None:
    parent = enqueue(database)
    with psycopg.connect(database.dsn) as connection:
        child = follow(connection, parent)
        database.execute("select perdure.cancel(%s::bigint)", [parent])
    assert state(database, child) == "blocked"
    assert database.value("select perdure.retry(%s::bigint)", [parent]) == "retried"
    # It followed the end that has been taken back: the letter about it must not be lost with it.
    assert state(database, child) == "pending"
    assert state(database, parent) == "pending"


def test_a_retried_follower_waits_for_parents_that_live(database: Database) -> None:
    with SyncTaskClient(database.dsn) as client:
        parent = client.enqueue("a")
        child = client.enqueue("b", after=[parent])
        client.cancel(parent.id)
        assert state(database, child.id) == "cancelled"
        client.retry(parent.id)
        assert client.retry(child.id) == "retried"
        assert state(database, child.id) == "blocked"
        client.cancel(parent.id)
        assert state(database, child.id) == "cancelled"
        # By itself it runs although the one before has ended badly.
        assert client.retry(child.id) == "retried"
        assert state(database, child.id) == "pending"


def test_a_parent_stays_as_long_as_a_live_task_follows_it(database: Database) -> None:
    for (part,) in database.rows(
        "select relname from pg_class where relname ~ '^(tasks|outcomes)_[0-9]+$'"
    ):
        database.execute(f"drop table if exists perdure.{part}")
    parent = enqueue(database)
    database.execute("select perdure.cancel(%s::bigint)", [parent])
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        child = follow(connection, parent)
    retire = "select perdure.retire('0', '0', '0', 100)"
    assert database.value(retire) == 0
    inputs = "select task_id, name, label, state from perdure.inputs(%s)"
    assert database.rows(inputs, [child]) == [(parent, "a", None, "cancelled")]
    database.execute("select perdure.cancel(%s::bigint)", [child])
    assert database.value(retire) == 2
    assert database.value("select count(*) from perdure.inputs") == 0


def test_a_thousand_behind_a_bad_end_end_in_one_call(database: Database) -> None:
    fan = [{"name": "b", "after": [{"position": 0}]} for _ in range(500)]
    next_ = [{"name": "c", "after": [{"position": n}]} for n in range(1, 501)]
    enqueue_many = "select task_id from perdure.enqueue_many(%s::jsonb) order by position"
    first, *_ = database.rows(enqueue_many, [json.dumps([{"name": "a"}, *fan, *next_])])
    database.execute("select perdure.cancel(%s::bigint)", first)
    ended = "select state, kind, count(*) from perdure.outcomes group by 1, 2 order by 3"
    assert database.rows(ended) == [
        ("cancelled", "requested", 1),
        ("cancelled", "dependency", 1000),
    ]
    database.check_drained()


def test_many_parents_are_named_up_to_ten(database: Database) -> None:
    entries = [{"name": "a"}] * 12
    last = {"name": "b", "after": [{"position": n} for n in range(12)]}
    database.execute("select perdure.enqueue_many(%s::jsonb)", [json.dumps([*entries, last])])
    waits = "select waiting_for from perdure.task(13)"
    assert database.value(waits) == "tasks 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"


async def test_a_running_task_is_followed_from_outside_and_by_its_own_handler(
    database: Database,
) -> None:
    builder = TaskService.builder()
    running_, go = asyncio.Event(), asyncio.Event()

    @builder.task("parent")
    async def parent(context: TaskContext[None, None]) -> int:
        await context.enqueue("child", after=[context.task_id])
        running_.set()
        await go.wait()
        return 7

    @builder.task("child")
    def child(context: SyncTaskContext[dict[str, Any], None]) -> int:
        return context.inputs()["parent"].result_as(int)

    # A beat is far away: what is told is told by a letter and its notification.
    slow: dict[str, Any] = {"execution__beat_interval": "20s", "execution__lease_duration": "90s"}
    async with running(database, builder.build(), **slow), TaskClient(database.dsn) as client:
        handle = await client.enqueue("parent")
        await running_.wait()
        after = await client.enqueue("child", after=[handle])
        go.set()
        assert await after.result(timeout=10) == 7
        assert await client.result(handle.id + 1, timeout=10) == 7
    database.check_drained()


def test_a_graph_that_would_be_cut_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.client.requests.DOCUMENT_TASKS_MAX", 2)
    with SyncTaskClient(database.dsn) as client, pytest.raises(InvalidArgument, match="in parts"):
        client.chain(NewTask("a"), NewTask("a"), NewTask("a"))
    monkeypatch.setattr("perdure.client.requests.DOCUMENT_TASKS_MAX", 9)
    monkeypatch.setattr("perdure.client.requests.DOCUMENT_BYTES_MAX", 300)
    with SyncTaskClient(database.dsn) as client, pytest.raises(InvalidArgument, match="in parts"):
        client.chain(NewTask("a", {"x": "x" * 200}), [NewTask("a"), NewTask("a")], NewTask("a"))
    assert database.value("select count(*) from perdure.tasks") == 0
