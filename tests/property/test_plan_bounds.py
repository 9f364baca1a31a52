"""Plans against a model of `ready`: bounds, ageing, fairness, and nothing is ever lost."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.tasks.plan import PICKS_MAX, Lane, Pick, Positions, plan

Row = tuple[int, int, int]


class Ready:
    """The ready rows as the claim sees them, and one worker that claims from them."""

    def __init__(self, lanes: tuple[Lane, ...], every: int = 8) -> None:
        self.lanes = lanes
        self.every = every
        self.rows: dict[tuple[int, int], list[int]] = {}
        self.positions = Positions()
        self.turn = 0
        self.now = 0.0

    def add(self, lane: int, priority: int, *ids: int) -> None:
        self.rows[lane, priority] = sorted([*self.rows.get((lane, priority), []), *ids])

    def claim(self, free: int, queue_free: dict[str, int] | None = None) -> list[Row]:
        self.now += 0.005
        picks = plan(
            self.lanes,
            self.positions,
            free=free,
            queue_free=queue_free or {},
            now=self.now,
            turn=self.turn,
            oldest_first_every=self.every,
        )
        self.turn += 1
        keys = [(pick.lane, pick.priority) for pick in picks]
        assert len(set(keys)) == len(keys) <= PICKS_MAX
        assert all(pick.at_most > 0 for pick in picks)
        taken = [row for pick in picks for row in self._read(pick)][:free]
        for lane, priority, number in taken:
            self.rows[lane, priority].remove(number)
        self.positions.observe(picks, taken, self.now + 0.001)
        queues = {lane.id: lane.queue for lane in self.lanes}
        for queue, bound in (queue_free or {}).items():
            assert sum(p.at_most for p in picks if queues[p.lane] == queue) <= max(bound, 0)
        return taken

    def _read(self, pick: Pick) -> list[Row]:
        ids = self.rows.get((pick.lane, pick.priority), [])
        start = bisect_right(ids, pick.after)
        return [(pick.lane, pick.priority, n) for n in ids[start : start + pick.at_most]]

    def left(self) -> int:
        return sum(map(len, self.rows.values()))


def lanes_of(*queues: int) -> tuple[Lane, ...]:
    """As many names in each queue as the numbers say."""
    return tuple(
        Lane(100 * q + n, f"q{q}", f"n{n}") for q, count in enumerate(queues) for n in range(count)
    )


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9), st.integers(1, 40)), max_size=12),
    st.integers(1, 70),
    st.booleans(),
    st.integers(0, 9),
)
def test_every_row_is_claimed_and_then_the_worker_may_wait(
    queues: list[int], heaps: list[tuple[int, int, int]], free: int, bounded: bool, every: int
) -> None:
    lanes = lanes_of(*queues)
    ready = Ready(lanes, every)
    number = 0
    for lane, priority, count in heaps:
        ready.add(lanes[lane % len(lanes)].id, priority, *range(number, number + count))
        number += count
    bounds = {"q0": min(3, free)} if bounded else {}
    ready.claim(free, bounds)
    while not ready.positions.exhausted:
        ready.claim(free, bounds)
        assert ready.turn < 400 + 20 * number
    assert ready.left() == 0


@pytest.mark.conformance("C10")
@given(st.integers(0, 30), st.integers(1, 20), st.integers(1, 9))
def test_a_task_behind_others_of_a_low_priority_starts_within_the_bound(
    older: int, free: int, priority: int
) -> None:
    ready = Ready(lanes_of(1))
    ready.add(0, 0, *range(1000, 1000 + 8 * free * (older + 2) * 2))
    ready.add(0, priority, *range(older + 1))
    bound = 8 * ceil((older + 1) * 2 / free)
    taken = {row for _ in range(bound) for row in ready.claim(free)}
    assert (0, priority, older) in taken


@given(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1), st.integers(1, 12))
def test_plans_that_age_deal_evenly_over_all_pairs_in_use(
    pairs: set[tuple[int, int]], free: int
) -> None:
    ready = Ready(lanes_of(5), every=1)
    for lane, priority in pairs:
        ready.add(lane, priority, *range(10_000 // len(pairs)))
    for _ in range(3 * len(pairs)):
        ready.claim(free)  # until all are known
    claims = 5 * len(pairs)
    dealt = Counter(row[:2] for _ in range(claims) for row in ready.claim(free))
    even = claims * free // len(pairs)
    assert set(dealt) <= pairs
    assert all(even - 1 <= dealt[pair] <= even + 1 for pair in pairs)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 20))
def test_floods_of_one_priority_share_evenly_between_queues_then_names(
    queues: list[int], free: int
) -> None:
    lanes = lanes_of(*queues)
    ready = Ready(lanes, every=0)
    warm_up, rounds = 8 + 3 * len(lanes), len(queues) * max(queues) * 6
    for lane in lanes:
        ready.add(lane.id, 5, *range((warm_up + rounds) * free))
    for _ in range(warm_up):
        ready.claim(free)
    shares = Counter(row[0] for _ in range(rounds) for row in ready.claim(free))
    for lane in lanes:
        queue, place = divmod(lane.id, 100)
        even = rounds * free / len(queues) / queues[queue]
        assert abs(shares[lane.id] - even) <= 0.2 * even + 2 * max(queues), (queue, place)
