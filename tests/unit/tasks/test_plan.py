"""Plans by example: seek, sweep, trailing, order, bounds of queues."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from perdure.tasks.plan import PICKS_MAX, Lane, Pick, Positions, plan, served
from perdure.tasks.positions import fair_order

LANES = (Lane(1, "default", "a"), Lane(2, "default", "b"))
EACH_OF = [(priority, lane) for priority in range(10) for lane in (1, 2)]


class Worker:
    """Plans and observes with a clock that the test moves."""

    def __init__(self, lanes: tuple[Lane, ...] = LANES) -> None:
        self.lanes = lanes
        self.positions = Positions()
        self.now = 100.0

    def plan(
        self, free: int = 10, queue_free: Mapping[str, int] | None = None, turn: int = 1
    ) -> list[Pick]:
        return plan(
            self.lanes,
            self.positions,
            free=free,
            queue_free=queue_free or {},
            now=self.now,
            turn=turn,
        )

    def claim(self, rows: dict[tuple[int, int], list[int]], *, cost: float = 0.001) -> list[Pick]:
        """One claim of ten rows from a ready that does not change."""
        picks = self.plan()
        taken = [
            (pick.lane, pick.priority, number)
            for pick in picks
            for number in [n for n in rows.get(pick[:2], []) if n > pick.after][: pick.at_most]
        ]
        self.now += cost
        self.positions.observe(picks, taken[:10], self.now)
        return picks

    def settle_down(self) -> None:
        """Find out that everything is empty."""
        self.claim({})
        while not self.positions.exhausted:
            self.claim({})


def after_of(picks: list[Pick], lane: int = 1, priority: int = 5) -> int:
    return next(pick.after for pick in picks if pick[:2] == (lane, priority))


def test_an_idle_worker_asks_for_everything_from_the_start_in_order_of_priority() -> None:
    worker = Worker()
    worker.settle_down()
    picks = worker.plan()
    assert [(pick.priority, pick.lane) for pick in picks] == EACH_OF
    assert {(pick.after, pick.at_most) for pick in picks} == {(-1, 10)}


def test_an_idle_worker_that_takes_all_there_is_may_wait_again() -> None:
    worker = Worker()
    worker.settle_down()
    worker.claim({(1, 5): [7]})
    assert worker.positions.exhausted


def test_a_seek_trails_what_was_taken_and_a_sweep_follows_when_it_comes_back_short() -> None:
    worker = Worker()
    worker.settle_down()
    rows = {(1, 5): list(range(50, 100))}
    worker.claim(rows)
    assert after_of(worker.plan()) == 49  # nothing was in front of the first one
    worker.now += 0.1
    assert after_of(worker.plan()) == 59
    worker.claim({})
    assert after_of(worker.plan()) == -1
    assert not worker.positions.exhausted


@pytest.mark.parametrize("cost, pause", [(0.001, 0.25), (0.05, 1.0), (9.0, 3.0)])
def test_sweeps_come_in_proportion_to_their_cost(cost: float, pause: float) -> None:
    worker = Worker()
    worker.settle_down()
    worker.claim({(1, 5): list(range(100))}, cost=cost)
    worker.now += pause - 0.01
    assert after_of(worker.plan()) > 0
    worker.now += 0.02
    assert after_of(worker.plan()) == -1


def test_a_backlog_behind_the_position_is_worked_off_in_order() -> None:
    worker = Worker()
    worker.settle_down()
    worker.claim({(1, 5): list(range(1000, 1010))})
    worker.now += 1
    behind = list(range(200))
    assert after_of(worker.claim({(1, 5): behind})) == -1
    assert after_of(worker.claim({(1, 5): behind[10:]})) == -1
    worker.now += 0.1
    assert after_of(worker.claim({(1, 5): behind[20:]})) == 19


@pytest.mark.conformance("C9")
def test_another_name_has_its_share_beside_a_flood() -> None:
    worker = Worker()
    worker.settle_down()
    flood = {(1, 5): list(range(1000))}
    worker.claim(flood)
    picks = worker.claim({**flood, (2, 5): [5000, 5001, 5002]})
    assert (2, 5) in [pick[:2] for pick in picks]
    shares = {pick.lane: pick.at_most for pick in worker.plan() if pick.priority == 5}
    assert shares == {1: 5, 2: 5}
    assert max(pick.priority for pick in picks) == 5  # lower ones wait


def test_reset_forgets_every_position() -> None:
    worker = Worker()
    worker.settle_down()
    worker.claim({(1, 5): list(range(50, 100))})
    worker.positions.reset()
    assert {pick.after for pick in worker.plan()} == {-1}
    assert not worker.positions.exhausted


def test_new_lanes_keep_what_is_known_of_old_ones() -> None:
    worker = Worker()
    worker.settle_down()
    worker.claim({(1, 5): list(range(50, 100))})
    worker.lanes = (*LANES, Lane(3, "imports", "c"))
    while 5 not in {pick.priority for pick in worker.claim({(1, 5): list(range(50, 100))})}:
        pass
    assert after_of(worker.plan()) >= 49


def test_rows_of_lanes_that_are_gone_teach_nothing() -> None:
    worker = Worker()
    worker.plan()
    worker.positions.observe([Pick(99, 5, -1, 10)], [(99, 5, 1)], worker.now)
    assert not worker.positions.exhausted


def test_the_picks_of_a_bounded_queue_never_pass_its_bound() -> None:
    worker = Worker((Lane(1, "imports", "a"), Lane(2, "imports", "b"), Lane(3, "mail", "c")))
    asked: set[tuple[int, int]] = set()
    for turn in range(40):
        picks = worker.plan(10, {"imports": 3}, turn)
        assert sum(pick.at_most for pick in picks if pick.lane < 3) <= 3
        worker.positions.observe(picks, [], worker.now)
        asked.update(pick[:2] for pick in picks)
    assert len(asked) == 30
    assert {pick.lane for pick in worker.plan(10, {"imports": 0})} == {3}
    assert worker.plan(0) == []


def test_nothing_more_is_to_be_had_when_only_full_queues_are_left() -> None:
    worker = Worker()
    picks = worker.plan(10, {"default": 0})
    assert picks == []
    worker.positions.observe(picks, [], worker.now)
    assert worker.positions.exhausted


def test_a_thousand_lanes_are_asked_in_turns_of_a_bounded_size() -> None:
    worker = Worker(tuple(Lane(n, f"q{n % 3}", f"n{n}") for n in range(1000)))
    asked: set[tuple[int, int]] = set()
    for _ in range(40):
        picks = worker.claim({})
        assert len(picks) <= PICKS_MAX
        asked.update(pick[:2] for pick in picks)
    assert len(asked) == 10_000


def test_served_lanes_are_known_allowed_and_not_paused() -> None:
    lanes = (
        Lane(1, "default", "a"),
        Lane(2, "imports", "a"),
        Lane(3, "default", "unknown"),
        Lane(4, "default", "a", ("network:pay",)),
    )

    def ids(**more: object) -> list[int]:
        asked: dict[str, object] = {"names": {"a"}, "queues": None, "satisfied": (), **more}
        return [lane.id for lane in served(lanes, **asked)]  # type: ignore[arg-type]

    assert ids() == [1, 2]
    assert ids(queues=("imports",)) == [2]
    assert ids(satisfied={"network:pay"}) == [1, 2, 4]
    assert ids(paused={"imports"}) == [1]
    assert ids(paused={"*"}) == []


def test_lanes_take_turns_by_queue_and_then_by_name() -> None:
    lanes = [Lane(1, "q", "a"), Lane(2, "q", "a", ("x",)), Lane(3, "q", "b"), Lane(4, "r", "a")]
    assert [lane.id for lane in fair_order(lanes)] == [1, 4, 3, 2]
