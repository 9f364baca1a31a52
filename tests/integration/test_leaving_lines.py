"""Who leaves the line of a unique key: beside others that do, and where a chain crosses it."""

from __future__ import annotations

import psycopg
import pytest
from tests.integration.test_unique_keys import ENQUEUE, append, edges, line_behind_a_run, state
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.stepping import stepped


def follow(database: Database, parent: int) -> int:
    """One more in the line of the key, which follows another in a chain."""
    return append(database, f""", after => '[{{"task": {parent}}}]'""")


@pytest.mark.parametrize("first", [2, 3])
async def test_of_neighbours_that_leave_at_once_each_hands_its_place_on(
    database: Database, first: int
) -> None:
    running, *_, last = line_behind_a_run(database, 3)
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        await one.run("select perdure.cancel(%s)", [first])
        assert not await other.start("select perdure.cancel(%s)", [5 - first])
        await one.run("commit")
        await other.end()
    assert edges(database) == [(last, running)]


async def test_of_three_that_leave_at_once_each_hands_its_place_on(database: Database) -> None:
    running, second, third, fourth, last = line_behind_a_run(database, 4)
    async with stepped(database) as one, stepped(database) as two, stepped(database) as three:
        await one.run("begin")
        await one.run("select perdure.cancel(%s)", [third])
        assert not await two.start("select perdure.cancel(%s)", [fourth])
        assert not await three.start("select perdure.cancel(%s)", [second])
        await one.run("commit")
        await two.end()
        await three.end()
    assert edges(database) == [(last, running)]


def test_no_worker_waits_for_who_leaves_a_line_in_an_open_transaction(database: Database) -> None:
    running, second = line_behind_a_run(database, 1)
    parent = by_hand.task(database)
    doomed = follow(database, parent)
    late, last = append(database), append(database)
    database.execute("update perdure.tasks set expires_at = '2020-01-01' where id = %s", [late])
    alarm = "insert into perdure.alarms (task_id, at, kind) values (%s, '2020-01-01', 'expire')"
    database.execute(alarm, [late])
    database.execute("set statement_timeout = '5s'")
    with psycopg.connect(database.dsn) as open_one:
        open_one.execute("select perdure.cancel(%s)", [second])
        # The end of the parent is that of any run: it leaves the doomed one to a later look.
        assert database.value("select perdure.cancel(%s)", [parent]) == "cancelled"
        assert state(database, doomed)[0] == "blocked"
        open_one.execute("select perdure.cancel(%s)", [last])
        assert database.value("select rung from perdure.promote(10)") == 1
        assert state(database, late)[0] == "blocked"
    database.value("select perdure.obey(10)")
    assert state(database, doomed) == ("cancelled", "dependency")
    database.execute("update perdure.alarms set at = '2020-01-01'")
    database.value("select rung from perdure.promote(10)")
    assert state(database, late) == ("failed", "expired")
    assert edges(database) == []
    assert state(database, running)[0] == "running"


@pytest.mark.parametrize("policy", ["append", "replace"])
def test_who_follows_the_one_before_it_in_a_chain_too_stays_in_the_line(
    database: Database, policy: str
) -> None:
    (running,) = line_behind_a_run(database, 0)
    second = follow(database, running)
    ((third, _),) = database.rows(ENQUEUE, [policy])
    if policy == "append":
        database.execute("select perdure.cancel(%s)", [second])
    assert state(database, second)[0] == "cancelled"
    assert edges(database) == [(third, running)]


def test_who_ends_with_the_one_before_it_in_chain_and_line_hands_the_place_on(
    database: Database,
) -> None:
    running, second = line_behind_a_run(database, 1)
    third = follow(database, second)
    fourth, fifth = append(database), append(database)
    database.execute("select perdure.cancel(%s)", [second])
    assert state(database, third) == ("cancelled", "dependency")
    assert edges(database) == [(fourth, running), (fifth, fourth)]


def test_who_follows_one_farther_ahead_comes_to_stand_behind_it_in_the_line(
    database: Database,
) -> None:
    running, second = line_behind_a_run(database, 1)
    third = follow(database, running)
    fourth = append(database)
    database.execute("select perdure.cancel(%s)", [second])
    assert edges(database) == [(third, running), (fourth, third)]
    database.execute("select perdure.cancel(%s)", [third])
    assert edges(database) == [(fourth, running)]
