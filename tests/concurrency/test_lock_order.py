"""Who touches several tasks locks all of them first, in the order of their ids."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.integration.test_instances import limit
from tests.integration.test_unique_keys import line_behind_a_run, state
from tests.kit.databases import Database
from tests.kit.stepping import stepped

Scene = tuple[str, int, int]
"""A call, a task that it touches, and one that it takes along with an earlier one."""


def follower(database: Database, parent: int) -> int:
    """One that the end of another ends, too."""
    text = "select task_id from perdure.enqueue('b', after => %s::jsonb)"
    return int(database.value(text, [json.dumps([{"task": parent}])]))


def tagged(database: Database) -> int:
    """A ready task that the filter of a bulk action means."""
    text = "insert into perdure.tasks (name, tags) values ('a', '{x}') returning id"
    return int(database.value(text))


def replace(database: Database) -> Scene:
    _, second, third = line_behind_a_run(database, 2)
    return "enqueue('a', unique_key => 'k', unique_policy => 'replace')", second, third


def enqueue_of_one_that_was_told_to_stop(database: Database) -> Scene:
    _, second, third = line_behind_a_run(database, 2)
    database.execute("insert into perdure.mail (task_id, kind) values (%s, 'cancel')", [third])
    return "enqueue('a', unique_key => 'k')", second, third


def document(database: Database, **more: object) -> Scene:
    first, second = (
        database.value("select task_id from perdure.enqueue('a', unique_key => %s)", [key])
        for key in "ba"
    )
    entries = [{"name": "a", "unique_key": key, "unique_policy": "replace", **more} for key in "ab"]
    return f"enqueue_many('{json.dumps(entries)}')", first, second


def document_with_a_chain(database: Database) -> Scene:
    return document(database, after=[])


def cancel_where(database: Database) -> Scene:
    first, second = tagged(database), tagged(database)
    return "cancel_where(tag => 'x')", second, follower(database, first)


def reschedule_where(database: Database) -> Scene:
    limit(database, 1, "a")
    tagged(database)  # it hands its instance to the next
    text = "insert into perdure.tasks (name) values ('a') returning id"
    waits = int(database.value(text))
    return "reschedule_where(tag => 'x', delay => '1 h')", tagged(database), waits


def replaced_schedule(database: Database) -> Scene:
    put = "put_schedule('s', 'a', every => '1 h', overlap => 'allow', policy => 'replace')"
    database.execute(f"select perdure.{put}")
    first, second = (
        database.value("select task_id from perdure.run_schedule('s')") for _ in range(2)
    )
    return put, second, follower(database, first)


SCENES = (
    replace, enqueue_of_one_that_was_told_to_stop, document, document_with_a_chain, cancel_where,
    reschedule_where, replaced_schedule,
)  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_who_has_to_wait_for_one_holds_none_that_comes_after_it(
    database: Database, scene: Callable[[Database], Scene]
) -> None:
    call, held, wanted = scene(database)
    update = "select perdure.update_task(%s, priority => 1)"
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        await one.run(update, [held])
        assert not await other.start(f"select * from perdure.{call}")
        assert await one.run(update, [wanted]) == [("applied",)]
        await one.run("commit")
        await other.end()


async def test_what_was_running_when_a_line_was_locked_is_not_waited_for(
    database: Database,
) -> None:
    running, second = line_behind_a_run(database, 1)
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        await one.run("select perdure.update_task(%s, priority => 1)", [second])
        call = "select * from perdure.cancel_where(unique_key => 'k')"
        assert not await other.start(call)
        database.execute("update perdure.leases set task_ids = '{}'")
        database.execute(
            "select perdure.place(array[%s::bigint], 'retry', now() + '1 h')", [running]
        )
        async with stepped(database) as third:
            await third.run("begin")
            await third.run("select perdure.update_task(%s, priority => 1)", [running])
            await one.run("commit")
            assert await other.end() == [(1, 1)]
            await third.run("commit")
    database.value("select perdure.obey(10)")
    assert state(database, running) == ("cancelled", "requested")
