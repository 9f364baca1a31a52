"""Signals, keys, followers and copies, stepped by hand on a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.by_hand import NOBODY, lease, task, worker
from tests.kit.databases import Database
from tests.kit.logins import as_login, new_login
from tests.kit.stepping import stepped

from perdure.store.database import Database as Product
from perdure.store.migrate import grant
from perdure.store.perform import copy_in


async def test_a_task_run_again_never_takes_a_key_that_is_being_given_away(
    database: Database,
) -> None:
    first = database.value("select task_id from perdure.enqueue('a', unique_key => 'k')")
    database.execute("select perdure.cancel(%s::bigint)", (first,))
    # The key's row goes with a later task of the key that retention has removed.
    database.execute("delete from perdure.unique_keys")
    async with stepped(database) as producer, stepped(database) as operator:
        await producer.run("begin")
        await producer.run("select perdure.enqueue('a', unique_key => 'k')")
        await operator.start("select perdure.retry(%s::bigint)", [first])
        await producer.run("commit")
        assert await operator.end() == [("key_taken",)]


def suspend(database: Database, waits: int) -> None:
    """Let it wait for the key k."""
    database.execute("delete from perdure.ready where task_id = %s", (waits,))
    database.execute(
        "insert into perdure.waiting (task_id, reason, wait_key) values (%s, 'suspended', 'k')",
        (waits,),
    )


@pytest.mark.parametrize("early", [False, True])
def test_a_signal_reaches_no_task_that_its_producer_may_not_see(
    database: Database, early: bool
) -> None:
    signal = "select perdure.proceed_waiting('k', patch => '{\"stolen\": true}')"
    with new_login(database.dsn) as owner, new_login(database.dsn) as other:
        grant(database.dsn, "perdure", "producer", other)
        grant(database.dsn, "perdure", "producer", owner)
        waits = task(database)
        database.execute("update perdure.tasks set enqueued_by = %s where id = %s", (owner, waits))
        if not early:
            suspend(database, waits)
        with psycopg.connect(as_login(database.dsn, other)) as connection:
            assert connection.execute(signal.encode()).fetchone() == ("kept",)
        if early:
            worker(database)
            held = lease(database, waits)
            move = {
                "to": {"place": "waiting", "reason": "suspended", "wait_key": "k"},
                "known": [], "obeyed": [], "wait_key": "k",
            }  # fmt: skip
            text = "select answer from perdure.settle(%s, %s, %s, %s)"
            answer = database.value(text, (held, waits, NOBODY, json.dumps(move)))
            assert answer == "settled"
        database.execute("select perdure.obey(10)")
        state = "select state from perdure.task(%s::bigint)"
        assert database.value(state, (waits,)) == "suspended"
        with psycopg.connect(as_login(database.dsn, owner)) as connection:
            assert connection.execute(signal.encode()).fetchone() == ("proceeded",)
        database.execute("drop owned by " + f'"{other}"')
    # Whose login has gone has no say any more, and stops nobody else's mail.
    suspend(database, waits)
    database.execute("select perdure.obey(10)")
    assert database.value(state, (waits,)) == "suspended"


async def test_what_the_rows_of_a_copy_raise_is_raised(database: Database) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"a\t{}\t\\N\t\\N\t\\N\t\\N\n"
        raise FileNotFoundError("rows.csv")

    product = Product({k: v for k, v in conninfo_to_dict(database.dsn).items() if v is not None})
    try:
        with pytest.raises(FileNotFoundError):
            await copy_in(product, blocks())
    finally:
        await product.close()
    assert database.value("select count(*) from perdure.tasks") == 0


def test_much_mail_for_tasks_that_wait_costs_one_look_at_the_leases(database: Database) -> None:
    worker(database)
    database.execute(
        "insert into perdure.leases (id, worker_id, task_ids)"
        " select gen_random_uuid(), %s, '{}' from generate_series(1, 500)",
        (NOBODY,),
    )
    running = task(database)
    lease(database, running)
    database.execute(
        "insert into perdure.mail (task_id, kind)"
        " select %s, 'cancel' from generate_series(1, 5000)",
        (running,),
    )
    with psycopg.connect(database.dsn) as connection:
        scans = (
            "select sum(seq_scan + coalesce(idx_scan, 0)) from pg_stat_xact_user_tables"
            " where relname = 'leases'"
        )
        connection.execute("set local enable_hashjoin = off")
        connection.execute("select perdure.obey(10)")
        looks = connection.execute(scans.encode()).fetchone()
    assert looks is not None
    assert looks[0] < 10


def test_a_follower_is_counted_by_one_of_two_that_tell_it(database: Database) -> None:
    ended = task(database)
    database.execute("select perdure.cancel(%s::bigint)", (ended,))
    # So many that the second is between its look at them and their locks when the first commits.
    database.execute(
        "insert into perdure.tasks (name, run_at)"
        " select 'b', now() + interval '1 hour' from generate_series(1, 10000)"
    )
    tell = "select perdure.unblock(%s)"
    looks = (
        "select exists (select from pg_locks where pid = %s and mode = 'RowShareLock'"
        " and relation = 'perdure.waiting'::regclass)"
    )
    for _ in range(3):
        block(database, ended)
        with (
            psycopg.connect(database.dsn) as first,
            psycopg.connect(database.dsn, autocommit=True) as second,
        ):
            first.execute(tell, (ended,))
            thread = threading.Thread(target=second.execute, args=(tell, (ended,)))
            thread.start()
            while thread.is_alive() and not database.value(looks, (second.info.backend_pid,)):
                pass
            first.commit()
            thread.join()
        assert database.value("select count(*) from perdure.waiting where blockers <> 0") == 0


def block(database: Database, ended: int) -> None:
    """Let all that waits wait for a task that has ended."""
    database.execute(
        "insert into perdure.edges (task_id, after_id) select task_id, %s from perdure.waiting",
        (ended,),
    )
    database.execute("update perdure.waiting set blockers = 1")
