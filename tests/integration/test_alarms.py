"""Alarms: tasks that expire, and tasks whose deadline frees them from their constraints."""

from __future__ import annotations

from itertools import product
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database

from perdure.tasks.decide import expires
from perdure.tasks.places import Claimed

SOON = "clock_timestamp() + interval '1 hour'"
PAST = "clock_timestamp() - interval '1 second'"
READY_REASONS = ("first", "proceeded", "until", "retry", "interruption", "crash", "requeued")


def add(database: Database, **columns: str) -> int:
    """Insert a task with these columns, given as SQL; its id."""
    names = ", ".join(["name", *columns])
    values = ", ".join(["'a'", *columns.values()])
    return int(
        database.value(f"insert into perdure.tasks ({names}) values ({values}) returning id")
    )


def promote(database: Database) -> tuple[Any, ...]:
    return database.rows("select moved, rung, due_in from perdure.promote(100)")[0]


def register(database: Database, *requires: str) -> None:
    types = '[{"name": "a", "queue": "default", "priority": 5, "requires": ["network"]}]'
    database.execute("select perdure.register_types(%s)", [types])
    database.execute("select moved from perdure.relane(0, 100)")


def state(database: Database, task: int) -> tuple[Any, ...]:
    return database.rows("select state, reason, attempt from perdure.task(%s)", [task])[0]


def lane(database: Database, task: int) -> Any:
    return database.value(
        "select l.requires from perdure.ready as r join perdure.lanes as l on l.id = r.lane"
        " where r.task_id = %s and l.id <> 0", [task],
    )  # fmt: skip


def test_only_rows_with_such_times_have_alarms(database: Database) -> None:
    add(database)
    both = add(database, expires_at=SOON, deadline_at=SOON)
    rows = database.rows("select task_id, kind from perdure.alarms order by kind")
    assert rows == [(both, "deadline"), (both, "expire")]


def test_a_ready_and_a_waiting_task_expire_and_tell_their_followers(database: Database) -> None:
    ready = add(database, expires_at=PAST)
    waiting = add(database, expires_at=PAST, run_at=SOON)
    follower = database.value(
        "select task_id from perdure.enqueue('a', after => %s::jsonb)", [f'[{{"task": {ready}}}]']
    )
    assert promote(database) == (0, 2, None)
    assert state(database, ready) == ("failed", "expired", 0)
    assert state(database, waiting) == ("failed", "expired", 0)
    assert state(database, follower) == ("failed", "dependency", 0)
    assert database.value("select count(*) from perdure.alarms") == 0
    assert promote(database) == (0, 0, None)
    database.check_drained()


def test_a_deadline_takes_a_ready_task_and_a_waiting_one_out_of_their_lane(
    database: Database,
) -> None:
    register(database)
    ready = add(database, deadline_at=SOON)
    late = add(database, deadline_at=SOON, run_at=SOON)
    early = add(database, deadline_at=PAST)
    assert lane(database, ready) == ["network"]
    database.execute(f"update perdure.alarms set at = {PAST}")
    database.execute(f"update perdure.tasks set deadline_at = {PAST}")
    assert promote(database)[:2] == (0, 2)
    assert database.value("select count(*) from perdure.alarms") == 0
    database.execute(f"update perdure.waiting set due_at = {PAST}")
    assert promote(database)[:2] == (1, 0)
    database.execute("select moved from perdure.relane(0, 100)")
    assert [lane(database, task) for task in (ready, late, early)] == [[], [], []]


HOLDING = {
    "a ready row": "select task_id from perdure.ready for update",
    "a waiting row": "select task_id from perdure.waiting for update",
    "an alarm": "select task_id from perdure.alarms for update",
    "a cancel": "select perdure.cancel(1), perdure.cancel(2)",
}


@pytest.mark.parametrize("held", HOLDING)
def test_an_open_transaction_puts_an_expiry_off_and_holds_up_no_promotion(
    database: Database, held: str
) -> None:
    ready, waiting = add(database, expires_at=PAST), add(database, expires_at=PAST, run_at=SOON)
    with psycopg.connect(database.dsn) as user:
        user.execute(HOLDING[held])
        with psycopg.connect(database.dsn, autocommit=True) as worker:
            worker.execute("set lock_timeout = '1ms'")
            worker.execute("select moved from perdure.promote(100)")
            others = add(database, expires_at=PAST)
            worker.execute("select moved from perdure.promote(100)")
        assert state(database, others)[:2] == ("failed", "expired")
        user.rollback()
    # What could not be locked is not looked at again at once, but soon.
    left = database.rows("select extract(epoch from at - clock_timestamp()) from perdure.alarms")
    assert all(ahead <= 31 for (ahead,) in left)
    database.execute(f"update perdure.alarms set at = {PAST}")
    promote(database)
    for task in (ready, waiting):
        assert state(database, task)[:2] == ("failed", "expired")
    assert database.value("select count(*) from perdure.alarms") == 0


def test_what_is_leased_keeps_its_alarms_for_when_it_comes_back_unstarted(
    database: Database,
) -> None:
    register(database)
    expiring, freed = add(database, expires_at=PAST), add(database, deadline_at=SOON)
    for table in ("alarms set at", "tasks set deadline_at"):
        database.execute(f"update perdure.{table} = {PAST} where {table.split()[-1]} is not null")
    take = "with gone as (delete from perdure.ready returning task_id)"
    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
        " values (1, 'w', 'h', 1, '0', 600)"
    )
    database.execute(
        f"{take} insert into perdure.leases (id, worker_id, task_ids)"
        " select gen_random_uuid(), 1, array_agg(task_id) from gone"
    )
    assert promote(database)[:2] == (0, 2)
    assert database.value(
        "select min(at) > clock_timestamp() and max(at) < clock_timestamp() + interval '31 seconds'"
        " from perdure.alarms"
    )
    database.execute(
        "select perdure.hand_back(array_agg(id), %s::bigint[]) from perdure.leases",
        [[expiring, freed]],
    )
    # Whoever is placed after its deadline has its lane at once; only the other has to wait.
    database.execute("select moved from perdure.relane(0, 100)")
    assert lane(database, freed) == []
    database.execute(f"update perdure.alarms set at = {PAST}")
    promote(database)
    assert state(database, expiring)[:2] == ("failed", "expired")
    assert database.value("select count(*) from perdure.alarms") == 0


def test_what_expires_is_what_the_rule_says(database: Database) -> None:
    cases = list(product(("ready", "waiting"), (0, 1), (*READY_REASONS, "suspended")))
    tasks = [add(database, expires_at=PAST) for _ in cases]
    database.execute("delete from perdure.ready")
    for task, (place, attempt, reason) in zip(tasks, cases, strict=True):
        database.execute(
            "insert into perdure.progress (task_id, attempt) values (%s, %s)", [task, attempt]
        )
        due = SOON if place == "waiting" else "null"
        database.execute(f"select perdure.place(array[%s]::bigint[], %s, {due})", [task, reason])
    assert promote(database)[:2] == (0, len(cases))
    for task, (_, attempt, reason) in zip(tasks, cases, strict=True):
        claimed = Claimed("", task, "a", "{}", attempt=attempt, reason=reason, expires_at=1.0)
        assert (state(database, task)[0] == "failed") == expires(claimed, 2.0), (attempt, reason)
    assert database.value("select count(*) from perdure.alarms") == 0


def test_an_update_and_a_retry_set_the_alarms_anew(database: Database) -> None:
    register(database)
    task = add(database, expires_at=SOON)
    update = "select perdure.update_task(%s, {})"
    database.value(
        update.format("expires_at => '2100-01-01Z', deadline_at => '2100-01-01Z'"), [task]
    )
    rows = database.rows("select kind, at = '2100-01-01Z' from perdure.alarms order by kind")
    assert rows == [("deadline", True), ("expire", True)]
    with pytest.raises(psycopg.Error, match="expires_at has passed"):
        database.value(update.format("expires_at => '2020-01-01Z'"), [task])
    # A deadline that is past by now takes it out of its lane at once.
    database.value(update.format("deadline_at => '2020-01-01Z', clear => '{expires_at}'"), [task])
    database.execute("select moved from perdure.relane(0, 100)")
    assert lane(database, task) == []
    assert database.rows("select kind from perdure.alarms") == [("deadline",)]

    other = add(database, expires_at=SOON)
    database.value("select perdure.cancel(%s)", [other])
    database.execute("delete from perdure.alarms")
    assert database.value("select perdure.retry(%s)", [other]) == "retried"
    assert database.rows("select kind from perdure.alarms") == [("expire",)]


def test_an_alarm_goes_with_its_task_or_with_its_range(database: Database) -> None:
    task = add(database, expires_at=SOON)
    database.value("select perdure.cancel(%s)", [task])
    database.execute(
        "update perdure.settings set value = to_jsonb(clock_timestamp() - interval '2 days')"
        " where key = 'range_began_at'"
    )
    database.execute("select setval('perdure.tasks_id_seq', 2000)")
    database.execute("select perdure.keep_ranges()")
    none = "interval '0', interval '0', interval '0'"
    assert database.value(f"select perdure.drop_range({none}, 10)") == 0
    assert database.value("select count(*) from perdure.alarms") == 0

    for (part,) in database.rows(
        "select relname from pg_class where relname ~ '^(tasks|outcomes)_[0-9]+$'"
    ):
        database.execute(f"drop table if exists perdure.{part}")
    task = add(database, expires_at=SOON)
    database.value("select perdure.cancel(%s)", [task])
    assert database.value(f"select perdure.retire({none}, 10)") == 1
    assert database.value("select count(*) from perdure.alarms") == 0


def test_nobody_serves_what_no_one_worker_can(database: Database) -> None:
    for worker, queue, holds in ((1, "fast", "gpu"), (2, "fast", "net"), (3, "slow", "disk")):
        database.execute(
            "insert into perdure.workers (id, name, host, pid, version, lease_seconds, names,"
            " queues, satisfied) values (%s, 'w', 'h', 1, '0', 600, '{a}', array[%s], array[%s])",
            [worker, queue, holds],
        )
    cases = {
        ("fast", "a", ()): None,
        ("fast", "a", ("gpu",)): None,
        ("fast", "a", ("gpu", "net")): "no live worker satisfies gpu and net at once",
        ("fast", "a", ("disk", "gpu", "tape")): "no live worker satisfies disk, tape",
        ("other", "a", ("gpu",)): "no live worker serves queue other",
        ("fast", "b", ()): "no live worker knows b",
    }
    for (queue, name, requires), why in cases.items():
        said = database.value(
            "select perdure.unserved(%s, %s, %s::text[])", [queue, name, list(requires)]
        )
        assert said == why
    database.execute("update perdure.workers set stopping = true where id = 1")
    assert database.value("select perdure.unserved('fast', 'a', '{gpu}')") == (
        "no live worker satisfies gpu"
    )
