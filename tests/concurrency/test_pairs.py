"""Any two operations, in any order of their steps: what must hold holds, and everything can end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.concurrency.cases import PAIRS, SEED, SEED_VARIABLE, Case, cases, name_of
from tests.concurrency.operations import NAMED, Kind
from tests.concurrency.oracle import Judge
from tests.concurrency.sessions import Sessions
from tests.concurrency.world import Place, Setting, World
from tests.kit.databases import Server, new_database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sessions(server: Server, template: str) -> AsyncIterator[Sessions]:
    with new_database(server, template) as database:
        opened = Sessions(Judge(World(database)))
        yield opened
        await opened.close()


@pytest.mark.timeout(3600)  # more orders of a pair at night, or all
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
async def test_two_operations_in_any_order_keep_what_must_hold(
    sessions: Sessions, pair: tuple[Kind, Kind]
) -> None:
    for case in cases(pair):
        await sessions.run(pair, case)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("place", ["running", "own"])
async def test_a_completion_beside_a_save_of_its_own_run_is_accepted(
    sessions: Sessions, place: Place
) -> None:
    await sessions.run_all((NAMED["save"], NAMED["complete"]), Setting(place))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("place", ["running", "ready", "blocked"])
@pytest.mark.parametrize("policy", ["keep", "replace"])
async def test_a_task_whose_range_is_dropped_beside_an_enqueue_keeps_its_key(
    sessions: Sessions, policy: str, place: Place
) -> None:
    setting = Setting(place, ranged=True)
    await sessions.run_all((NAMED[policy], NAMED["drop range"]), setting)


@pytest.mark.conformance("C74")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("place", ["running", "own", "ready"])
@pytest.mark.parametrize("end", ["finish", "succeed", "fail", "retry later", "cancel", "claim"])
async def test_who_follows_a_task_that_is_about_to_end_is_released_in_every_order(
    sessions: Sessions, end: str, place: Place
) -> None:
    if place in NAMED[end].meets:
        await sessions.run_all((NAMED["follow"], NAMED[end]), Setting(place))


def test_another_seed_tries_other_orders_and_the_same_one_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tried(seed: str) -> list[Case]:
        monkeypatch.setenv(SEED_VARIABLE, seed)
        return [case for pair in PAIRS[:100] for case in cases(pair)]

    assert tried("8") == tried("8")
    assert tried("8") != tried("9")
    assert tried("") == tried(SEED)
