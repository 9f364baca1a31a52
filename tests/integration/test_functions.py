"""Races, scans and refusals of the SQL functions, each stepped by hand on a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.by_hand import NOBODY, lease, task, worker
from tests.kit.databases import Database
from tests.kit.stepping import stepped

from perdure.store import workers
from perdure.store.database import Database as Product
from perdure.store.database import statements


def leave(product: Product) -> None:
    """End as a worker does."""
    session = product.sync_session()
    try:
        workers.deregister(session, NOBODY)
    finally:
        session.close()


def deep(levels: int) -> dict[str, Any]:
    """An object of so many objects in each other."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_letters_about_followers_do_not_hide_a_cancel(database: Database) -> None:
    first = task(database)
    second = task(database)
    database.execute(
        "insert into perdure.mail (task_id, kind) select %s, 'follower' from generate_series(1, 5)",
        (first,),
    )
    database.execute("insert into perdure.mail (task_id, kind) values (%s, 'cancel')", (second,))
    database.execute("select perdure.obey(5)")
    assert database.value("select state from perdure.task(%s::bigint)", (second,)) == "cancelled"


@pytest.mark.parametrize("whole", [False, True])
def test_a_signal_that_is_nested_too_deeply_is_refused(database: Database, whole: bool) -> None:
    worker(database)
    running = task(database)
    lease(database, running)
    member = "execution_metadata" if whole else "patch"
    text = f"select perdure.proceed(%s::bigint, {member} => %s)"
    with pytest.raises(psycopg.Error) as refused:
        database.value(text, (running, json.dumps(deep(65))))
    assert refused.value.sqlstate == "PD004"
    assert database.value(text, (running, json.dumps(deep(64)))) == "kept"


def test_execution_metadata_that_is_nested_too_deeply_is_refused(database: Database) -> None:
    text = "select answer from perdure.enqueue('a', execution_metadata => %s)"
    with pytest.raises(psycopg.Error) as refused:
        database.value(text, (json.dumps(deep(65)),))
    assert refused.value.sqlstate == "PD004"
    assert database.value(text, (json.dumps(deep(64)),)) == "created"


async def test_a_producer_in_a_transaction_does_not_hold_up_an_idle_enqueuer(
    database: Database,
) -> None:
    database.execute("select perdure.set_queue('default', 10)")
    text = statements("perdure")["await_work"].decode()
    async with stepped(database) as producer, stepped(database) as enqueuer:
        await producer.run("begin")
        await producer.run("select perdure.enqueue('a')")
        assert await enqueuer.start(text, {"queues": ["default", "other"], "seconds": 5.0})
        await producer.run("commit")
        await enqueuer.run(text, {"queues": ["default", "other"], "seconds": 5.0})
    awaited = (
        "select array_agg(name order by name) from perdure.queues where awaited > clock_timestamp()"
    )
    assert database.value(awaited) == ["default", "other"]


def test_an_exhausted_task_with_the_deepest_metadata_ends(database: Database) -> None:
    worker(database)
    running = task(database, "a", json.dumps(deep(64)))
    held = lease(database, running)
    move = {
        "to": {"place": "ended", "state": "failed", "kind": "exhausted", "error": deep(3)},
        "known": [], "obeyed": [], "attempt": 1, "started_at": 1e9, "failures": 1,
        "exhausted": "gravedigger",
    }  # fmt: skip
    text = "select answer from perdure.settle(%s, %s, %s, %s)"
    assert database.value(text, (held, running, NOBODY, json.dumps(move))) == "settled"
    assert (
        database.value(
            "select metadata ->> 'shortened' from perdure.tasks where name = 'gravedigger'"
        )
        == "true"
    )


async def test_a_worker_that_leaves_during_its_own_claim_leaves_no_lease_without_a_worker(
    database: Database,
) -> None:
    worker(database)
    task(database)
    claim = statements("perdure")["claim"].decode()
    product = Product({k: v for k, v in conninfo_to_dict(database.dsn).items() if v is not None})
    async with stepped(database) as claiming:
        await claiming.run("begin")
        taken = await claiming.run(
            claim,
            {
                "worker": NOBODY, "lanes": [0], "priorities": [5], "after": [-1], "shares": [1],
                "at_most": 1, "leases": [uuid4()], "body_bytes": 100,
            },
        )  # fmt: skip
        assert len(taken) == 1
        leaving = asyncio.create_task(asyncio.to_thread(leave, product))
        await asyncio.wait([leaving], timeout=1.0)
        await claiming.run("commit")
        await leaving
    assert database.value("select count(*) from perdure.recover()") == 1
    assert database.value("select count(*) from perdure.ready") == 1


def test_a_delay_beyond_all_times_is_refused_as_any_other(database: Database) -> None:
    for delay in ("290000 years", "150000000 years", "-290000 years"):
        with pytest.raises(psycopg.Error) as refused:
            database.value("select perdure.enqueue('a', delay => %s::interval)", (delay,))
        assert refused.value.sqlstate == "PD004"


@pytest.mark.parametrize("lease_seconds", [0.0, -1.0])
def test_the_fence_bounds_the_transaction_of_a_worker_said_to_be_dead(
    database: Database, lease_seconds: float
) -> None:
    worker(database, lease_seconds=lease_seconds)
    running = task(database)
    held = lease(database, running)
    with psycopg.connect(database.dsn) as connection:
        connection.execute("select perdure.fence(%s, %s)", (held, running))
        bound = connection.execute("show idle_in_transaction_session_timeout").fetchone()
    assert bound is not None
    assert bound[0] != "0"


def test_a_bulk_cancel_does_not_look_at_what_has_ended(database: Database) -> None:
    worker(database)
    ended = [task(database) for _ in range(20)]
    database.execute("select perdure.cancel(i) from unnest(%s::bigint[]) as i", (ended,))
    live = task(database)
    running = task(database)
    lease(database, running)
    with psycopg.connect(database.dsn) as connection:
        connection.execute("set local track_functions = 'pl'")
        assert connection.execute(
            "select cancelled, requested from perdure.cancel_where('a')"
        ).fetchone() == (1, 1)
        calls = connection.execute(
            "select sum(calls) from pg_stat_xact_user_functions where funcname = 'withdraw'"
        )
        assert calls.fetchone() == (2,)
    assert database.value("select state from perdure.task(%s::bigint)", (live,)) == "cancelled"


def test_leases_are_not_looked_through_for_ended_tasks(database: Database) -> None:
    worker(database)
    ended = [task(database) for _ in range(20)]
    database.execute("select perdure.cancel(i) from unnest(%s::bigint[]) as i", (ended,))
    lease(database, task(database))
    plan = "explain (analyze, format json, timing off) select id, state from perdure.task_states"
    loops: list[int] = []

    def walk(node: dict[str, Any]) -> None:
        if node.get("Relation Name") == "leases":
            loops.append(node["Actual Loops"])
        for child in node.get("Plans", ()):
            walk(child)

    walk(database.value(plan)[0]["Plan"])
    assert sum(loops) <= 1


async def test_two_upkeeps_never_move_the_sequence_back(database: Database) -> None:
    database.execute(
        "insert into perdure.settings (key, value)"
        " values ('range_began_at', to_jsonb(now() - interval '2 days'))"
        " on conflict (key) do update set value = excluded.value"
    )
    database.execute("select setval('perdure.tasks_id_seq', 5000)")
    async with stepped(database) as blocker, stepped(database) as slow:
        await blocker.run("begin")
        await blocker.run("select from perdure.settings where key = 'range_began_at' for update")
        await blocker.run("lock table perdure.tasks_default in access exclusive mode")
        assert not await slow.start("select perdure.keep_ranges()")
        await blocker.run("select setval('perdure.tasks_id_seq', 100000050)")
        await blocker.run(
            "update perdure.settings set value = to_jsonb(now()) where key = 'range_began_at'"
        )
        await blocker.run("commit")
        await slow.end()
    assert database.value("select nextval('perdure.tasks_id_seq')") > 100000050


def test_a_day_that_is_none_is_refused_with_its_position_and_without_its_text(
    database: Database,
) -> None:
    for text in (
        "2026-02-30T00:00:00Z",
        "2026-19-01T00:00:00Z",
        "2026-01-01T29:00:00Z",
        "2026-01-01T00:00:00+99:00",
    ):
        document = json.dumps([{"name": "a"}, {"name": "a", "run_at": text}])
        with pytest.raises(psycopg.Error) as refused:
            database.value("select perdure.enqueue_many(%s::jsonb)", (document,))
        assert refused.value.sqlstate == "PD004", text
        assert "entry 1" in str(refused.value)
        assert text not in str(refused.value)
    for text in ("2024-02-29", "2026-12-31T23:59:59.123456+05:30", "2026-01-31 10:00Z"):
        document = json.dumps([{"name": "a", "run_at": text}])
        assert (
            database.value("select answer from perdure.enqueue_many(%s::jsonb)", (document,))
            == "created"
        )


async def test_a_batch_takes_its_keys_in_one_order(database: Database) -> None:
    batch = json.dumps([{"name": "a", "unique_key": "z"}, {"name": "a", "unique_key": "k"}])
    async with stepped(database) as holder, stepped(database) as many, stepped(database) as one:
        await holder.run("begin")
        await holder.run("select perdure.enqueue('a', unique_key => 'k')")
        assert not await many.start("select perdure.enqueue_many(%s::jsonb)", [batch])
        # It waits for the lower key, and must not hold the higher one meanwhile.
        assert await one.start("select perdure.enqueue('a', unique_key => 'z')")
        await one.end()
        await holder.run("commit")
        await many.end()


async def test_a_key_whose_task_has_ended_is_given_to_one_of_two(database: Database) -> None:
    enqueue = "select answer from perdure.enqueue('a', unique_key => 'k')"
    first = database.value("select task_id from perdure.enqueue('a', unique_key => 'k')")
    database.execute("select perdure.cancel(%s::bigint)", (first,))
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        assert await one.run(enqueue) == [("created",)]
        assert not await other.start(enqueue)
        await one.run("commit")
        assert await other.end() == [("kept",)]


@pytest.mark.parametrize("policy", ["keep", "replace"])
def test_a_request_that_comes_again_is_told_of_its_task_also_when_that_has_ended(
    database: Database, policy: str
) -> None:
    def asked(request: UUID) -> tuple[int, str]:
        """By one call, and by one of a document, which answer the same."""
        entry = {
            "name": "a", "unique_key": "k", "unique_policy": policy, "request_id": str(request),
        }  # fmt: skip
        called = database.rows(
            "select * from perdure.enqueue('a', unique_key => 'k', unique_policy => %s,"
            " request_id => %s)",
            (policy, request),
        )
        several = "select task_id, answer from perdure.enqueue_many(%s::jsonb)"
        assert database.rows(several, (json.dumps([entry]),)) == called
        ((id_, answer),) = called
        return id_, answer

    request = uuid4()
    made = asked(request)
    assert made[1] == "created"
    database.execute("select perdure.cancel(%s::bigint)", (made[0],))
    assert asked(request) == made
    database.execute("select perdure.retry(%s::bigint)", (made[0],))
    database.execute("select perdure.cancel(%s::bigint)", (made[0],))
    later = asked(uuid4())
    assert (later[0] > made[0], later[1]) == (True, "created")
    assert database.value("select count(*) from perdure.tasks") == 2


def test_a_replace_that_comes_again_is_told_that_it_replaced_also_where_the_queue_is_full(
    database: Database,
) -> None:
    def asked(*entries: dict[str, str]) -> list[tuple[int, str]]:
        several = "select task_id, answer from perdure.enqueue_many(%s::jsonb)"
        return database.rows(several, (json.dumps(entries),))

    key = {"name": "a", "unique_key": "k", "unique_policy": "replace"}
    again = {**key, "request_id": str(uuid4())}
    ((first, _),) = asked(key)
    ((id_, answer),) = made = asked(again)
    assert (id_ > first, answer) == (True, "replaced")
    database.execute("select perdure.set_queue('default', max_depth => 1)")
    one = (
        "select * from perdure.enqueue('a', unique_key => 'k', unique_policy => 'replace',"
        " request_id => %s::uuid)"
    )
    assert database.rows(one, (again["request_id"],)) == made
    assert asked(again) == made
    for refused in (({"name": "a"}, again), (key,), ({**key, "request_id": str(uuid4())},)):
        with pytest.raises(psycopg.Error, match="max_depth of 1") as caught:
            asked(*refused)
        assert caught.value.sqlstate == "PD005"

    # The answer is that of the latest request.
    database.execute("select perdure.set_queue('default', max_depth => null)")
    database.execute("select perdure.cancel(%s::bigint)", (id_,))
    later = {**key, "request_id": str(uuid4())}
    ((_, answer),) = made = asked(later)
    assert answer == "created"
    assert asked(later) == made


@pytest.mark.parametrize("value", ["", "no uuid", 7])
def test_a_request_id_that_is_none_is_refused(database: Database, value: object) -> None:
    document = json.dumps([{"name": "a", "unique_key": "k", "request_id": value}])
    with pytest.raises(psycopg.Error, match="request_id must be of type") as caught:
        database.rows("select * from perdure.enqueue_many(%s::jsonb)", (document,))
    assert caught.value.sqlstate == "PD004"


def test_a_task_cannot_be_ended_twice(database: Database) -> None:
    ended = task(database)
    database.execute("select perdure.cancel(%s::bigint)", (ended,))
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute(
            "insert into perdure.outcomes (task_id, attempt, state) values (%s, 1, 'completed')",
            (ended,),
        )


async def test_a_repair_that_has_waited_for_another_looks_again(database: Database) -> None:
    lost = task(database)
    database.execute("delete from perdure.ready")
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        assert await one.run("select perdure.repair(array[%s::bigint])", [lost]) == [([lost],)]
        await one.run("select perdure.cancel(%s::bigint)", [lost])
        assert not await other.start("select perdure.repair(array[%s::bigint])", [lost])
        await one.run("commit")
        assert await other.end() == [([],)]
    assert database.rows("select from perdure.ready") == []
