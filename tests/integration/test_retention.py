"""Ranges of ids, and what becomes of tasks that ended long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.stepping import stepped

from perdure.client.sync import SyncTaskClient
from perdure.run import chores
from perdure.run.chores import Chores
from perdure.store.database import Database as Store
from perdure.store.upkeep import Keep

SECONDS = "interval '7 days', interval '30 days', interval '7 days'"


def end(database: Database, task_id: int, state: str, days_ago: int) -> None:
    """Take a ready task to its end, so many days ago."""
    database.execute("delete from perdure.ready where task_id = %s", (task_id,))
    database.execute(
        "insert into perdure.outcomes (task_id, attempt, state, finished_at)"
        " values (%s, 0, %s, clock_timestamp() - make_interval(days => %s))",
        (task_id, state, days_ago),
    )
    database.execute(
        "update perdure.tasks set created_at = now() - make_interval(days => %s) where id = %s",
        (days_ago, task_id),
    )


def enqueue(database: Database) -> int:
    return int(database.value("insert into perdure.tasks (name) values ('a') returning id"))


def next_range(database: Database) -> None:
    """As if a day had passed: the sequence moves to the next boundary."""
    database.execute(
        "update perdure.settings set value = to_jsonb(clock_timestamp() - interval '2 days')"
        " where key = 'range_began_at'"
    )
    database.execute(
        "select setval('perdure.tasks_id_seq', currval('perdure.tasks_id_seq') + 2000)"
    )
    database.execute("select perdure.keep_ranges()")


def test_a_day_later_ids_begin_at_the_next_range_and_four_are_ready_ahead(
    database: Database,
) -> None:
    assert enqueue(database) == 1
    next_range(database)
    assert enqueue(database) == 100_000_000
    assert database.value("select to_regclass('perdure.tasks_5') is not null")
    assert database.value("select count(*) from perdure.tasks_default") == 0


def test_a_range_is_dropped_whole_and_what_must_stay_is_kept(database: Database) -> None:
    old, failed, live, recent = (enqueue(database) for _ in range(4))
    end(database, old, "completed", 10)
    end(database, failed, "failed", 10)
    database.execute("insert into perdure.progress (task_id) values (%s), (%s)", (old, failed))
    next_range(database)
    end(database, recent, "completed", 8)
    database.execute("update perdure.tasks set created_at = now() - interval '8 days'")
    assert database.value(f"select perdure.drop_range({SECONDS}, 10)") == 0
    assert database.value("select to_regclass('perdure.tasks_0') is null")
    assert database.rows("select id from perdure.tasks order by id") == [(failed,), (live,)]
    assert database.rows("select task_id from perdure.progress") == [(failed,)]
    assert database.value("select state from perdure.task(%s::bigint)", (live,)) == "pending"
    assert database.value("select state from perdure.task(%s::bigint)", (failed,)) == "failed"


async def test_of_two_that_drop_ranges_at_once_the_second_finds_none_left(
    database: Database,
) -> None:
    end(database, enqueue(database), "completed", 10)
    next_range(database)
    drop = f"select perdure.drop_range({SECONDS}, 10)"
    async with stepped(database) as first, stepped(database) as second:
        await first.run("begin")
        assert await first.run(drop) == [(0,)]
        assert not await second.start(drop)
        await first.run("commit")
        assert await second.end() == [(None,)]


def without_ranges(database: Database) -> None:
    """From now on all goes to the default partitions."""
    name_ranges = "select relname from pg_class where relname ~ '^(tasks|outcomes)_[0-9]+$'"
    for (part,) in database.rows(name_ranges):
        database.execute(f"drop table if exists perdure.{part}")


async def test_what_is_named_by_a_key_that_somebody_has_locked_is_retired_later(
    database: Database,
) -> None:
    without_ranges(database)
    rows = database.rows(
        "select task_id from perdure.enqueue('a', unique_key => 'k')"
        " union all select task_id from perdure.enqueue('a')"
    )
    for (task_id,) in rows:
        end(database, task_id, "completed", 10)
    async with stepped(database) as other:
        await other.run("begin")
        await other.run("select from perdure.unique_keys where key = 'k' for update")
        database.execute("set lock_timeout = '5s'")
        assert database.value(f"select perdure.retire({SECONDS}, 10)") == 1
        await other.run("commit")
    assert database.value(f"select perdure.retire({SECONDS}, 10)") == 1
    assert database.value("select count(*) from perdure.unique_keys") == 0


async def test_a_locked_key_does_not_keep_the_other_batches_from_being_retired(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "RETIRE_MOST", 4)
    without_ranges(database)
    tasks = [database.value("select task_id from perdure.enqueue('a', unique_key => 'k')")]
    tasks += [enqueue(database) for _ in range(11)]
    for task_id in tasks:
        end(database, task_id, "completed", 10)
    parameters = cast("dict[str, str]", conninfo_to_dict(database.dsn))
    session = Store(parameters, database.schema).sync_session()
    async with stepped(database) as other:
        await other.run("begin")
        await other.run("select from perdure.unique_keys where key = 'k' for update")
        Chores().keep_up(session, Keep(0, 0, 0))
        assert database.rows("select task_id from perdure.outcomes") == [(tasks[0],)]
    session.close()


def test_a_range_with_too_much_to_keep_waits(database: Database) -> None:
    live = [enqueue(database) for _ in range(3)]
    next_range(database)
    database.execute("update perdure.tasks set created_at = now() - interval '8 days'")
    assert database.value(f"select perdure.drop_range({SECONDS}, 2)") is None
    assert database.value("select count(*) from perdure.tasks") == len(live)


def test_what_stayed_longer_than_its_range_is_removed_when_its_time_has_come(
    database: Database,
) -> None:
    failed = enqueue(database)
    end(database, failed, "failed", 10)
    next_range(database)
    assert database.value(f"select perdure.drop_range({SECONDS}, 10)") == 0
    assert database.value(f"select perdure.retire({SECONDS}, 10)") == 0
    database.execute("update perdure.outcomes set finished_at = now() - interval '31 days'")
    assert database.value(f"select perdure.retire({SECONDS}, 10)") == 1
    assert database.value("select count(*) from perdure.tasks") == 0


def test_ids_go_on_behind_the_highest_of_the_default_partition(database: Database) -> None:
    enqueue(database)
    database.execute("insert into perdure.tasks (id, name) values (700000005, 'a')")
    assert database.value("select id from perdure.tasks_default") == 700_000_005
    next_range(database)
    assert enqueue(database) == 800_000_000


def test_pruning_removes_in_every_range_what_ended_long_ago_and_counts_it_first(
    database: Database,
) -> None:
    old, failed, live, recent = (enqueue(database) for _ in range(4))
    end(database, old, "completed", 10)
    end(database, failed, "failed", 10)
    end(database, recent, "completed", 1)
    by_hand.leave(database, old)
    days = "older_than => interval '2 days'"
    for unless_told in ("true", "null"):
        counted = f"select perdure.prune({days}, dry_run => {unless_told})"
        assert [database.value(counted) for _ in range(2)] == [2, 2]
    assert database.value(f"select perdure.prune({days}, states => '{{cancelled}}')") == 0
    assert database.value(f"select perdure.prune({days}, states => '{{completed}}')") == 1
    assert database.rows("select id from perdure.tasks order by id") == [
        (failed,), (live,), (recent,),
    ]  # fmt: skip
    assert not by_hand.left(database, old)
    with SyncTaskClient(database.dsn, schema_name=database.schema) as client:
        told: list[int] = []
        assert client.prune(timedelta(days=2), told=told.append) == 1
        assert told == [1]
        assert client.prune(0, states=["failed", "cancelled"]) == 0
    assert database.rows("select details ->> 'pruned' from perdure.audit") == [("1",), ("1",)]
