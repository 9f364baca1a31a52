"""Lines of a unique key: who is behind whom when one leaves, and requests that come again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from psycopg import errors
from tests.integration.test_retention import end, next_range
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.stepping import stepped

from perdure.tasks.policies import UNIQUE_POLICIES

ENQUEUE = "select task_id, answer from perdure.enqueue('a', unique_key => 'k', unique_policy => %s)"


def append(database: Database, more: str = "") -> int:
    """One more in the line of the key."""
    call = f"perdure.enqueue('a', unique_key => 'k', unique_policy => 'append'{more})"
    return int(database.value(f"select task_id from {call}"))


def line_behind_a_run(database: Database, length: int) -> list[int]:
    """A task of the key that runs, and so many behind it."""
    by_hand.worker(database)
    first = append(database)
    by_hand.lease(database, first)
    return [first, *(append(database) for _ in range(length))]


def edges(database: Database) -> list[tuple[int, int]]:
    return database.rows("select task_id, after_id from perdure.edges order by task_id")


def state(database: Database, task_id: int) -> tuple[str, str]:
    row = database.rows("select state, reason from perdure.task_states where id = %s", [task_id])
    return row[0][0], row[0][1]


def test_who_leaves_a_line_hands_on_its_place_in_it(database: Database) -> None:
    running, second, third, fourth = line_behind_a_run(database, 3)
    assert edges(database) == [(second, running), (third, second), (fourth, third)]
    database.execute("select perdure.cancel(%s)", [third])
    assert edges(database) == [(second, running), (fourth, second)]
    assert database.rows("select * from perdure.cancel_where(unique_key => 'k', state => 'blocked',"
                         " dry_run => true)") == [(2, 0)]  # fmt: skip
    database.execute("select perdure.cancel(%s)", [second])
    assert edges(database) == [(fourth, running)]
    assert state(database, fourth) == ("blocked", "serial")
    database.check()


def test_who_ends_by_a_chain_hands_on_its_place_in_a_line(database: Database) -> None:
    parent = by_hand.task(database)
    running, second = line_behind_a_run(database, 1)
    third = append(database, f""", after => '[{{"task": {parent}}}]'""")
    fourth = append(database)
    database.execute("select perdure.cancel(%s)", [parent])
    assert state(database, third) == ("cancelled", "dependency")
    assert edges(database) == [(second, running), (fourth, second)]


def test_a_parent_may_stand_before_its_follower_in_a_line_too(database: Database) -> None:
    running, second = line_behind_a_run(database, 1)
    third = append(database, f""", after => '[{{"task": {second}}}]'""")
    assert edges(database) == [(second, running), (third, second)]
    database.execute("select perdure.cancel(%s)", [second])
    assert state(database, third) == ("cancelled", "dependency")


async def test_who_cannot_see_that_one_has_been_appended_cannot_leave_the_line(
    database: Database,
) -> None:
    running, second = line_behind_a_run(database, 1)
    async with stepped(database, autocommit=False) as caller:
        await caller.run("set transaction isolation level repeatable read")
        await caller.run("select 1")
        third = append(database)
        with pytest.raises(errors.SerializationFailure):
            await caller.run("select perdure.cancel(%s)", [second])
    assert edges(database) == [(second, running), (third, second)]


@pytest.mark.parametrize("kind", ["cancel", "replaced"])
@pytest.mark.parametrize("policy", UNIQUE_POLICIES)
def test_who_was_told_to_stop_and_does_not_run_any_more_holds_no_key(
    database: Database, policy: str, kind: str
) -> None:
    told = append(database)
    database.execute("insert into perdure.mail (task_id, kind) values (%s, %s)", [told, kind])
    ((made, answer),) = database.rows(ENQUEUE, [policy])
    assert answer == "created"
    why = "requested" if kind == "cancel" else kind
    assert state(database, told) == ("cancelled", why)
    assert state(database, made) == ("pending", "first")


def test_a_task_that_chains_follow_is_not_replaced_in_their_eyes(database: Database) -> None:
    held = append(database)
    child = database.value(
        "select task_id from perdure.enqueue('b', after => %s::jsonb)", [f'[{{"task": {held}}}]']
    )
    parent = by_hand.task(database)
    followed = database.value(
        "select task_id from perdure.enqueue('a', unique_key => 'f', after => %s::jsonb)",
        [f'[{{"task": {parent}}}]'],
    )
    ((made, _),) = database.rows(ENQUEUE, ["replace"])
    assert state(database, child) == ("cancelled", "dependency")
    ((free, _),) = database.rows(ENQUEUE.replace("'k'", "'f'"), ["replace"])
    assert state(database, followed) == ("cancelled", "replaced")
    assert [state(database, one)[0] for one in (made, free)] == ["pending"] * 2


@pytest.mark.parametrize("policy", UNIQUE_POLICIES)
@pytest.mark.parametrize("held", [False, True])
def test_a_request_that_comes_again_is_answered_as_it_was(
    database: Database, policy: str, held: bool
) -> None:
    holder = append(database, """, metadata => '{"n": 0}'""") if held else None
    text = """
        select task_id, answer from perdure.enqueue('a', '{"n": 1}', unique_key => 'k',
            unique_policy => %s, request_id => %s, delay => '1 h')
    """
    request = [policy, uuid4()]
    if held and policy == "reject":
        for _ in range(2):
            with pytest.raises(Exception, match=f"held by task {holder}"):
                database.rows(text, request)
        return
    first = database.rows(text, request)
    expected = {"append": "appended", "replace": "replaced", "update": "updated", "keep": "kept"}
    assert first[0][1] == (expected[policy] if held else "created")
    ((task_id, _),) = first
    everything = "select to_jsonb(t) from perdure.tasks as t order by id"
    if policy == "update":
        database.execute("select perdure.update_task(%s, metadata => '{\"n\": 2}')", [task_id])
    before = database.rows(everything)
    assert database.rows(text, request) == first
    assert database.rows(everything) == before
    # Another has it now.
    ((other, said),) = database.rows(text, [policy, uuid4()]) if policy != "reject" else first
    if policy in {"append", "replace"}:
        assert (other != task_id, said) == (True, expected[policy])


def finished(database: Database, task_id: int, days: float) -> None:
    end(database, task_id, "completed", 0)
    database.execute(
        "update perdure.outcomes set finished_at = finished_at - make_interval(hours => %s)"
        " where task_id = %s", [int(days * 24), task_id],
    )  # fmt: skip


KEEP: list[Any] = ["7 days", "30 days", "7 days"]


@pytest.mark.parametrize("rest", ["10 days", "2 days"])
def test_retention_keeps_a_task_while_its_key_is_held_after_the_end(
    database: Database, rest: str
) -> None:
    stays = rest == "10 days"
    key = append(database, f", unique_for => '{rest}'")
    by_range = by_hand.task(database)
    for one in (key, by_range):
        finished(database, one, 8)
    next_range(database)
    database.execute("update perdure.tasks set created_at = now() - interval '8 days'")
    assert database.value("select perdure.drop_range(%s, %s, %s, 10)", KEEP) == 0
    assert database.rows("select id from perdure.tasks") == ([(key,)] if stays else [])
    if not stays:
        return
    assert database.value("select perdure.retire(%s, %s, %s, 10)", KEEP) == 0
    assert database.rows(ENQUEUE, ["keep"]) == [(key, "kept")]
    finished_earlier = "update perdure.outcomes set finished_at = finished_at - interval '3 days'"
    database.execute(finished_earlier)
    assert database.value("select perdure.retire(%s, %s, %s, 10)", KEEP) == 1
    assert database.value("select count(*) from perdure.unique_keys") == 0


def test_who_drew_an_earlier_number_before_it_got_the_key_draws_a_later_one(
    database: Database,
) -> None:
    early = database.value("select nextval('perdure.tasks_id_seq')")
    line = line_behind_a_run(database, 2)
    hold = "select task_id, answer from perdure.hold_key('k', 'append', %s, null, null)"
    with database.connection.transaction(force_rollback=True):
        ((last, answer),) = database.rows(hold, [early])
        assert (last > line[-1], answer) == (True, "appended")
        assert edges(database)[-1] == (last, line[-1])
