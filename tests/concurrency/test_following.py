"""Retention beside those who come to follow what it would remove."""

from __future__ import annotations

import json

import psycopg
import pytest
from tests.integration.test_retention import end
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.stepping import stepped

FOLLOW = "select task_id from perdure.enqueue('b', after => %s::jsonb)"
PRUNE = "select perdure.prune('0 seconds', dry_run => false)"


def after(parent: int) -> list[str]:
    return [json.dumps([{"task": parent, "on_failure": "run"}])]


async def test_a_parent_stays_for_a_follower_that_is_not_committed_yet(
    database: Database,
) -> None:
    parent = by_hand.task(database)
    end(database, parent, "completed", 1)
    async with stepped(database) as one:
        await one.run("begin")
        ((child,),) = await one.run(FOLLOW, after(parent))
        assert database.value(PRUNE) == 0
        await one.run("commit")
    assert database.value(PRUNE) == 0
    assert database.rows("select state from perdure.inputs(%s)", [child]) == [("completed",)]


async def test_a_parent_that_ends_before_its_follower_is_committed_stays(
    database: Database,
) -> None:
    parent = by_hand.task(database)
    async with stepped(database) as one:
        await one.run("begin")
        ((child,),) = await one.run(FOLLOW, after(parent))
        assert database.value("select perdure.cancel(%s)", [parent]) == "cancelled"
        assert database.value(PRUNE) == 0
        await one.run("commit")
    database.value("select perdure.obey(10)")
    assert database.value("select state from perdure.task(%s::bigint)", [child]) == "pending"
    assert database.rows("select state from perdure.inputs(%s)", [child]) == [("cancelled",)]


async def test_who_comes_while_a_parent_is_removed_is_told_that_it_is_gone(
    database: Database,
) -> None:
    parent = by_hand.task(database)
    end(database, parent, "completed", 1)
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        assert await one.run(PRUNE) == [(1,)]
        assert not await other.start(FOLLOW, after(parent))
        await one.run("commit")
        with pytest.raises(psycopg.Error, match=f"there is no task {parent}") as refused:
            await other.end()
    assert refused.value.sqlstate == "PD004"


def test_who_has_come_since_a_parent_was_looked_at_is_seen_under_its_lock(
    database: Database,
) -> None:
    parent = by_hand.task(database)
    end(database, parent, "completed", 1)
    database.value(FOLLOW, after(parent))
    assert database.value("select perdure.remove_ended(array[%s::bigint])", [parent]) == 0
