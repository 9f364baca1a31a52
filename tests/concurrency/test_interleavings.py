"""Every order of the steps of two transactions that meet at one task, one lease, one worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.concurrency.scene import Scene
from tests.kit.databases import Database
from tests.kit.stepping import Stepped, stepped

from perdure.tasks.places import Ended, Move, Ready, Waiting

SUSPENDS = Move(to=Waiting(reason="suspended"), attempt=1, run="suspension")
PROCEEDS = Move(to=Ready(reason="proceeded"), attempt=1, run="suspension")
BACK = ("pending", "crash", 1, 1)
"""State, reason, attempt and crashes of a task that was taken from a dead worker."""


@pytest.fixture
async def pair(database: Database) -> AsyncIterator[tuple[Stepped, Stepped]]:
    async with (
        stepped(database, autocommit=False) as first,
        stepped(database, autocommit=False) as second,
    ):
        yield first, second


@pytest.mark.parametrize("same", [False, True])
async def test_two_flushes_of_one_lease_end_each_task_once(
    database: Database, pair: tuple[Stepped, Stepped], same: bool
) -> None:
    scene = Scene(database, tasks=2)
    async for ran in scene.every_order(
        pair, lambda: ([scene.finish(0, scene.task)], [scene.finish(1, scene.ids[not same])])
    ):
        ended = [row for side in ran.sides for row in side.answers[0]]
        assert len(ended) == len(set(ended)) > 0, ran.order
        for task in scene.ids:
            database.rows(*scene.finish(0, task)[1:])
        scene.is_clean()
        assert {scene.rest(task)[0] for task in scene.ids} == {"completed"}


@pytest.mark.parametrize("same", [False, True])
async def test_a_flush_and_a_settling_of_one_lease_end_each_run_once(
    database: Database, pair: tuple[Stepped, Stepped], same: bool
) -> None:
    scene = Scene(database, tasks=2)
    async for ran in scene.every_order(
        pair,
        lambda: ([scene.finish(0, scene.task)], [scene.settle(1, SUSPENDS, scene.ids[not same])]),
    ):
        scene.settle_again(ran.sides[1], SUSPENDS, scene.ids[not same])
        for task in scene.ids:
            database.rows(*scene.finish(0, task)[1:])
        scene.is_clean()
        states = [scene.rest(task)[0] for task in scene.ids]
        first = ran.sides[0].answers[0] != []
        assert states == (
            ["completed" if first else "suspended", "completed"] if same
            else ["completed", "suspended"]
        ), ran.order  # fmt: skip


async def test_a_run_is_settled_or_recovered_but_not_both(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database, alive=False)
    async for ran in scene.every_order(
        pair, lambda: ([scene.settle(0, SUSPENDS)], [scene.named(1, "recover")])
    ):
        answer = scene.settle_again(ran.sides[0], SUSPENDS)
        scene.upkeep()
        scene.is_clean()
        kept = ("suspended", "suspended", 1, 0)
        assert (answer, scene.rest()) in [("settled", kept), ("lost", BACK)], ran.order


async def test_a_save_counts_or_is_refused_when_the_worker_is_recovered(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database, alive=False)
    async for ran in scene.every_order(
        pair, lambda: ([scene.save(0)], [scene.named(1, "recover")])
    ):
        (held,) = [held for _, held in ran.sides[0].answers[0]]
        scene.upkeep()
        scene.is_clean()
        assert scene.rest() == BACK
        assert scene.is_saved() is held, ran.order


@pytest.mark.conformance("C36")
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_checkpoint_and_its_business_write_live_or_die_together(
    database: Database, pair: tuple[Stepped, Stepped], isolation: str
) -> None:
    scene = Scene(database, alive=False)
    async for ran in scene.every_order(
        pair,
        lambda: ([scene.business(0, isolation), scene.checkpoint(0)], [scene.named(1, "recover")]),
    ):
        refused = ran.sides[0].refused is not None
        assert ran.sides[1].refused is None
        assert scene.business_is_there() is scene.is_saved() is not refused, ran.order
        scene.upkeep()
        scene.is_clean()
        assert scene.rest() == BACK


async def test_a_completion_in_a_transaction_and_recovery_exclude_each_other(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database, alive=False)
    async for ran in scene.every_order(
        pair, lambda: ([scene.business(0), scene.complete(0)], [scene.named(1, "recover")])
    ):
        refused = ran.sides[0].refused is not None
        scene.upkeep()
        scene.is_clean()
        assert scene.business_is_there() is not refused, ran.order
        assert scene.rest() == (BACK if refused else ("completed", None, 1, 0)), ran.order


@pytest.mark.parametrize("also", [False, True])
async def test_a_save_under_way_is_no_fault_of_the_end_that_meets_it(
    database: Database, pair: tuple[Stepped, Stepped], also: bool
) -> None:
    scene = Scene(database, tasks=2)
    async for ran in scene.every_order(
        pair,
        lambda: (
            [scene.save(0)],
            [scene.business(1), scene.complete(1)] if also else [scene.settle(1, SUSPENDS)],
        ),
    ):
        assert ran.sides[1].refused is None, ran.order
        assert scene.rest()[0] == ("completed" if also else "suspended"), ran.order
        assert scene.is_saved() is ran.sides[0].answers[0][0][1], ran.order
        database.check()


@pytest.mark.conformance("C47")
async def test_a_cancel_never_undoes_a_completion_in_a_transaction(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database)
    async for ran in scene.every_order(
        pair,
        lambda: ([scene.business(0), scene.complete(0)], [scene.named(1, "cancel", id=scene.task)]),
    ):
        scene.upkeep()
        scene.is_clean()
        assert (scene.business_is_there(), scene.rest()[0]) == (True, "completed")
        asked = database.value("select cancel_requested_at from perdure.outcomes") is not None
        assert ran.sides[1].answers[0] == [("requested" if asked else "ended",)], ran.order


@pytest.mark.conformance("C47")
async def test_a_cancel_that_meets_a_suspension_cancels(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database)
    async for ran in scene.every_order(
        pair, lambda: ([scene.settle(0, SUSPENDS)], [scene.named(1, "cancel", id=scene.task)])
    ):
        cancelled = Ended(state="cancelled", kind="requested")
        scene.settle_again(ran.sides[0], Move(to=cancelled, attempt=1))
        scene.upkeep()
        scene.is_clean()
        assert ran.sides[1].answers[0][0][0] in {"requested", "cancelled"}
        assert scene.rest() == ("cancelled", "requested", 1, 0), ran.order


@pytest.mark.conformance("C53")
async def test_a_proceed_that_meets_a_suspension_lets_it_go_on_once(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database)
    async for ran in scene.every_order(
        pair, lambda: ([scene.settle(0, SUSPENDS)], [scene.proceed(1)])
    ):
        scene.settle_again(
            ran.sides[0], Move(to=Ready(reason="proceeded"), attempt=1, run="suspension")
        )
        scene.upkeep()
        scene.is_clean()
        assert ran.sides[1].answers[0][0][0] in {"kept", "proceeded"}
        assert scene.rest() == ("pending", "proceeded", 1, 0), ran.order
        assert scene.is_saved()


@pytest.mark.conformance("C54")
async def test_a_signal_for_a_wait_key_that_meets_the_suspension_lets_it_go_on_once(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    goal = Waiting(reason="suspended", wait_key="k")
    suspends = Move(to=goal, attempt=1, run="suspension", wait_key="k")
    scene = Scene(database)
    async for ran in scene.every_order(
        pair, lambda: ([scene.settle(0, suspends)], [scene.proceed_waiting(1, "k")])
    ):
        scene.settle_again(ran.sides[0], replace(PROCEEDS, wait_key="k"))
        scene.upkeep()
        scene.is_clean()
        assert ran.sides[1].answers[0][0][0] in {"kept", "proceeded"}
        assert scene.rest() == ("pending", "proceeded", 1, 0), ran.order
        assert scene.is_saved()


async def test_a_claim_in_flight_leaves_no_lease_without_a_worker(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database, tasks=2, alive=False, claimed=False)
    async for ran in scene.every_order(
        pair, lambda: ([scene.claim(0)], [scene.named(1, "recover")])
    ):
        assert len(ran.sides[0].answers[0]) in {0, 2}, ran.order
        scene.upkeep()
        scene.is_clean()
        assert not database.rows("select from perdure.workers")
        assert {scene.rest(task) for task in scene.ids} == {("pending", "first", 0, 0)}


async def test_a_task_that_moves_to_its_own_lease_is_recovered_with_its_worker(
    database: Database, pair: tuple[Stepped, Stepped]
) -> None:
    scene = Scene(database, tasks=2, alive=False)
    async for _ in scene.every_order(
        pair, lambda: ([scene.named(0, "separate")], [scene.named(1, "recover")])
    ):
        scene.upkeep()
        scene.is_clean()
        assert not database.rows("select from perdure.workers")
        assert {scene.rest(task) for task in scene.ids} == {BACK}
