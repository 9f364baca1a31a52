"""What an enqueue does with a unique key that another task holds: each state, each policy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, product
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.kit import by_hand
from tests.kit.databases import Database, Server, new_database

KEYS = count(1)
ENQUEUE = """
    select task_id, answer
    from perdure.enqueue('a', '{"n": 2}', unique_key => %s, unique_policy => %s)
"""
HELD_ENQUEUE = """
    select task_id
    from perdure.enqueue('a', '{"n": 1}', unique_key => %s, unique_policy => 'append',
        unique_for => %s)
"""
POLICIES = ("keep", "replace", "append", "update", "reject")
FREE = ("never held", "completed", "failed", "cancelled")
WAITING = ("pending", "scheduled", "retrying", "suspended")


class Cell(NamedTuple):
    """The answer, the states of those before, the first first, and that of the new task.

    `behind`: which of those before the new one waits for.
    """

    answer: str
    before: tuple[str, ...]
    new: str | None = None
    behind: int | None = None


def _cells() -> Iterator[tuple[tuple[str, str], Cell]]:
    """The table; PD006 as an answer is a refusal."""
    for state, policy in product(FREE, POLICIES):
        yield (state, policy), Cell("created", (state,) if state != "never held" else (), "pending")
    kept, refused = Cell("kept", ("completed",)), Cell("PD006", ("completed",))
    recent = dict.fromkeys(POLICIES, Cell("created", ("completed",), "pending"))
    for policy, cell in (recent | {"keep": kept, "reject": refused}).items():
        yield ("recently completed", policy), cell
    for state in WAITING:
        yield (state, "keep"), Cell("kept", (state,))
        yield (state, "replace"), Cell("replaced", ("cancelled replaced",), "pending")
        yield (state, "append"), Cell("appended", (state,), "blocked", 0)
        yield (state, "update"), Cell("updated", (state,))
        yield (state, "reject"), Cell("PD006", (state,))
    stopping = ("running cancel", "blocked")
    yield ("blocked", "keep"), Cell("kept", stopping)
    yield (
        ("blocked", "replace"),
        Cell("replaced", ("running cancel", "cancelled replaced"), "blocked", 0),
    )
    yield ("blocked", "append"), Cell("appended", stopping, "blocked", 1)
    yield ("blocked", "update"), Cell("updated", stopping)
    yield ("blocked", "reject"), Cell("PD006", stopping)
    yield ("running", "keep"), Cell("kept", ("running",))
    yield ("running", "replace"), Cell("replaced", ("running replaced",), "blocked", 0)
    yield ("running", "append"), Cell("appended", ("running",), "blocked", 0)
    yield ("running", "update"), Cell("updated", ("running",))
    yield ("running", "reject"), Cell("PD006", ("running",))
    yield ("running cancel", "keep"), Cell("created", ("running cancel",), "blocked", 0)
    yield ("running cancel", "replace"), Cell("replaced", ("running cancel",), "blocked", 0)
    yield ("running cancel", "append"), Cell("appended", ("running cancel",), "blocked", 0)
    yield ("running cancel", "update"), Cell("created", ("running cancel",), "blocked", 0)
    yield ("running cancel", "reject"), Cell("PD006", ("running cancel",))
    line = ("running", "blocked", "blocked")
    gone = ("running replaced", "cancelled replaced", "cancelled replaced")
    yield ("line", "keep"), Cell("kept", line)
    yield ("line", "replace"), Cell("replaced", gone, "blocked", 0)
    yield ("line", "append"), Cell("appended", line, "blocked", 2)
    yield ("line", "update"), Cell("updated", line)
    yield ("line", "reject"), Cell("PD006", line)
    waits = ("suspended", "blocked", "blocked")
    yield ("waiting line", "keep"), Cell("kept", waits)
    yield ("waiting line", "replace"), Cell("replaced", ("cancelled replaced",) * 3, "pending")
    yield ("waiting line", "append"), Cell("appended", waits, "blocked", 2)
    yield ("waiting line", "update"), Cell("updated", waits)
    yield ("waiting line", "reject"), Cell("PD006", waits)


CELLS = dict(_cells())


@pytest.fixture(scope="module")
def shared(server: Server, template: str) -> Iterator[Database]:
    """One database for all cells; each has a key of its own. The invariants hold at the end."""
    with new_database(server, template) as database:
        by_hand.worker(database)
        yield database
        database.check()


def stand(database: Database, key: str, state: str) -> list[int]:
    """Those that have the key, the first first; none if nobody ever had it."""
    if state == "never held":
        return []
    held_for = "1 hour" if state == "recently completed" else None
    ids = [database.value(HELD_ENQUEUE, [key, held_for])]
    if state in FREE or held_for:
        if state == "cancelled":
            assert database.value("select perdure.cancel(%s)", ids) == "cancelled"
        else:
            database.execute("delete from perdure.ready where task_id = %s", ids)
            database.execute(
                "insert into perdure.outcomes (task_id, attempt, state, started_at)"
                " values (%s, 1, %s, clock_timestamp())", [*ids, state.rsplit(maxsplit=1)[-1]],
            )  # fmt: skip
    elif state in {"blocked", "running", "running cancel", "line"}:
        by_hand.lease(database, *ids)
        if state in {"blocked", "running cancel"}:
            assert database.value("select perdure.cancel(%s)", ids) == "requested"
    elif state in {"scheduled", "retrying", "suspended", "waiting line"}:
        reason = {"scheduled": "delay", "retrying": "retry"}.get(state, "suspended")
        due = None if reason == "suspended" else "2100-01-01Z"
        database.execute("delete from perdure.ready where task_id = %s", ids)
        database.execute(
            "insert into perdure.waiting (task_id, reason, due_at) values (%s, %s, %s)",
            [*ids, reason, due],
        )
    more = range({"blocked": 1, "line": 2, "waiting line": 2}.get(state, 0))
    return [*ids, *(database.value(HELD_ENQUEUE, [key, None]) for _ in more)]


def told(database: Database, task_id: int) -> str:
    """The state of a task; how it was told to stop, or why it was cancelled in the line."""
    row: tuple[Any, ...] = database.rows(
        """
        select s.state, case when s.state = 'running' then m.kind
            when s.reason = 'replaced' then s.reason end, t.metadata ->> 'n'
        from perdure.task_states as s join perdure.tasks as t on t.id = s.id
        left join perdure.mail as m on m.task_id = s.id and m.kind in ('cancel', 'replaced')
        where s.id = %s
        """, [task_id],
    )[0]  # fmt: skip
    return " ".join(filter(None, row[:2]))


@pytest.mark.conformance("C60")
@pytest.mark.parametrize(("state", "policy"), CELLS, ids="/".join)
def test_a_held_key_answers_as_the_policy_of_the_enqueue_says(
    shared: Database, state: str, policy: str
) -> None:
    key, cell = f"key {next(KEYS)}", CELLS[state, policy]
    before = stand(shared, key, state)
    if cell.answer == "PD006":
        with pytest.raises(psycopg.Error, match=f"held by task {before[-1]}") as refused:
            shared.rows(ENQUEUE, [key, policy])
        assert refused.value.sqlstate == cell.answer
        assert "unique_policy" in (refused.value.diag.message_hint or "")
        task_id = None
    else:
        ((task_id, answer),) = shared.rows(ENQUEUE, [key, policy])
        assert answer == cell.answer
    assert tuple(told(shared, one) for one in before) == cell.before
    metadata = "select metadata ->> 'n' from perdure.tasks where unique_key = %s order by id"
    asked = [n for (n,) in shared.rows(metadata, [key])]
    if cell.new is None:
        assert task_id in {None, *before[-1:]}
        assert asked == ["1"] * (len(before) - 1) + ["2" if policy == "update" and task_id else "1"]
        return
    assert asked == ["1"] * len(before) + ["2"]
    assert task_id is not None
    assert told(shared, task_id) == cell.new
    if cell.behind is not None:
        waits = shared.value("select waiting_for from perdure.task(%s)", [task_id])
        assert waits == f"task {before[cell.behind]}"


def test_every_state_meets_every_policy() -> None:
    states = {state for state, _ in CELLS}
    assert set(CELLS) == set(product(states, POLICIES))
    assert len(states) == len(FREE) + len(WAITING) + 6
