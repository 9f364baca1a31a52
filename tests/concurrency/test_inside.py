"""Operations that are interrupted inside their functions, between any two statements of these."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.concurrency.cases import INSIDE, inside, name_of, uninterrupted
from tests.concurrency.gates import GATE, Gates, definition, gated
from tests.concurrency.operations import Kind
from tests.concurrency.oracle import Judge
from tests.concurrency.sessions import Sessions
from tests.concurrency.world import World
from tests.kit.databases import Database, Server, new_database

# Not what has a lock_timeout of its own, as `obey`: it would give up at a gate.
FUNCTIONS = (
    "settle", "cut", "note", "finish_run", "finish_unrun", "unblock", "separate", "complete",
    "checkpoint", "fence", "recover", "hand_back", "cancel", "withdraw", "locate", "take_out",
    "proceed", "proceed_waiting", "deliver", "retry", "enqueue", "hold_key", "place",
    "remove_ended", "line_up", "clear_line", "mark_followed", "end_unrun", "rewrite", "hasten",
    "update_task", "lock_tasks", "hand_over", "promote", "serve_alarms", "cancel_where",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sessions(server: Server, template: str) -> AsyncIterator[Sessions]:
    with new_database(server, template) as database:
        world = World(database)
        opened = Sessions(Judge(world), Gates(database, FUNCTIONS))
        yield opened
        await opened.close()


@pytest.mark.timeout(3600)  # more orders of a pair at night, or all
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("pair", INSIDE, ids=name_of)
async def test_two_operations_that_interrupt_each_other_inside_keep_what_must_hold(
    sessions: Sessions, pair: tuple[Kind, Kind]
) -> None:
    assert sessions.gates is not None
    stops = sessions.gates.stops
    for alone in uninterrupted(pair):
        ran = await sessions.run(pair, alone)
        for case in inside(pair, alone, ran):
            await sessions.run(pair, case)
    # A finish is one statement where nobody waits for the task.
    assert sessions.gates.stops > stops or {kind.name for kind in pair} == {"finish"}


def test_every_function_that_is_to_be_stopped_inside_has_a_gate(database: Database) -> None:
    assert [f for f in FUNCTIONS if GATE not in gated(definition(database, f))] == []


def test_a_gate_stands_before_each_statement_but_the_first() -> None:
    body = ["declare", "x integer;", "begin", "select 1", "into x;", "if x then", "return;",
            "end if;", "x := 2;", "end"]  # fmt: skip
    gate = GATE
    assert gated("\n".join(body)).split("\n") == [
        *body[:5], gate, "if x then", gate, "return;", "end if;", gate, "x := 2;", "end",
    ]  # fmt: skip
