"""Several unique keys at once: who takes them does so in one order, and waits in no circle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.stepping import stepped

KEYS = "abcd"


def document(keys: Sequence[str], **more: object) -> str:
    return json.dumps([{"name": "a", "unique_key": key, **more} for key in keys])


@pytest.mark.parametrize("known", [False, True])
async def test_a_document_with_a_chain_takes_its_keys_in_order(
    database: Database, known: bool
) -> None:
    if known:
        database.execute("select perdure.enqueue_many(%s)", [document(KEYS)])
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        await one.run("select perdure.enqueue('a', unique_key => 'b')")
        call = "select position, answer from perdure.enqueue_many(%s)"
        assert not await other.start(call, [document("dcba", after=[], unique_policy="append")])
        # It holds the one before, and none of those after.
        await one.run("select perdure.enqueue('a', unique_key => 'd')")
        await one.run("commit")
        said: dict[int, str] = dict(await other.end())
    expected = ["appended"] * 4 if known else ["appended", "created", "appended", "created"]
    assert [said[n] for n in range(4)] == expected
    assert database.value("select count(*) from perdure.unique_keys where task_id = 0") == 0


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize(
    "retry",
    [
        "perdure.retry_where(name => 'a', state => 'cancelled')",
        "perdure.retry(1, with_dependents => true)",
    ],
)
async def test_several_that_live_again_take_their_keys_in_order(
    database: Database, retry: str, forgotten: bool
) -> None:
    chain: list[dict[str, Any]] = [{"name": "a", "unique_key": key} for key in reversed(KEYS)]
    for position, entry in enumerate(chain):
        entry["after"] = [{"position": position - 1}] if position else []
    database.execute("select perdure.enqueue_many(%s)", [json.dumps(chain)])
    database.execute("select perdure.cancel(1)")
    if forgotten:
        database.execute("delete from perdure.unique_keys")
    async with stepped(database) as one, stepped(database) as other:
        await one.run("begin")
        await one.run("select perdure.enqueue('a', unique_key => 'b')")
        assert not await other.start(f"select {retry}")
        await one.run("select perdure.enqueue('a', unique_key => 'c')")
        await one.run("commit")
        await other.end()
    states = dict(database.rows("select id, state from perdure.task_states where id < 4"))
    assert states == {1: "pending", 2: "cancelled", 3: "cancelled"}  # keys c and b were taken
