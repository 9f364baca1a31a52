"""Positions: what earlier claims have told about each lane and priority; all of it hints."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

PRIORITIES: Final = range(10)
SWEEP_COST_FACTOR: Final = 20.0
SWEEP_SECONDS_MIN: Final = 0.25
TRAIL_SECONDS: Final = 0.1
FROM_THE_START: Final = -1


class Lane(NamedTuple):
    """One combination of queue, name and constraints (sorted); `limited`: each of its tasks holds
    one of the instances of its name."""

    id: int
    queue: str
    name: str
    requires: tuple[str, ...] = ()
    limited: bool = False


class Pick(NamedTuple):
    """Read `at_most` rows of a lane and priority whose id is above `after` (-1: from the start)."""

    lane: int
    priority: int
    after: int
    at_most: int


class Pair:
    """What is known of one lane and priority."""

    __slots__ = ("after", "full", "lane", "marks", "priority", "rank", "short", "sweep_at")

    def __init__(self, lane: Lane, priority: int) -> None:
        self.lane = lane
        self.priority = priority
        self.rank = 0  # place in the order of dealing, lanes of one priority side by side
        self.full: bool | None = None  # None: not known yet
        self.after = FROM_THE_START
        self.marks: deque[tuple[float, int]] = deque()  # (when, newest id taken), to trail behind
        self.short = False  # a seek gave less than it asked for: sweep next
        self.sweep_at = 0.0

    def start(self, now: float, *, sweep: bool) -> int:
        """The id after which the next read starts; it trails a little for late commits."""
        while self.marks and self.marks[0][0] <= now - TRAIL_SECONDS:
            self.after = max(self.after, self.marks.popleft()[1])
        if sweep or self.short or now >= self.sweep_at:
            return FROM_THE_START
        return self.after


class Positions:
    """Where each pair's next read starts, and what earlier reads have told; in memory only.

    Times are seconds of one monotonic clock. `exhausted` is true once every pair has been read
    from the start, without a row left, since the last claim that took something: time to wait.
    """

    def __init__(self) -> None:
        self._lanes: Sequence[Lane] = ()
        self.pairs: list[Pair] = []
        self.levels: list[list[Pair]] = []
        self._by_key: dict[tuple[int, int], Pair] = {}
        self._empty: set[tuple[int, int]] = set()
        self._asked_at = 0.0
        self._limit = 0
        self._sweep_interval = 0.0
        self._turns: dict[str, int] = {}  # who is next: rank by group of drained pairs, and shares

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to claim, as far as one can tell."""
        return len(self._empty) == len(self.pairs)

    def reset(self) -> None:
        """Forget everything: after a lost connection, or whenever in doubt."""
        lanes, self._lanes = self._lanes, ()
        self._by_key = {}
        self.adopt(lanes)

    def observe(
        self, picks: Sequence[Pick], taken: Iterable[tuple[int, int, int]], now: float
    ) -> None:
        """Learn from a claim: its picks, and lane, priority and id of every row it took."""
        rows: dict[tuple[int, int], list[int]] = {}
        for lane, priority, task_id in taken:
            rows.setdefault((lane, priority), []).append(task_id)
        total = sum(map(len, rows.values()))
        if total:
            self._empty.clear()
        cost = max(now - self._asked_at, 0.0)
        sweep_at = now + min(max(SWEEP_COST_FACTOR * cost, SWEEP_SECONDS_MIN), self._sweep_interval)
        reached = 0
        for pick in picks:
            pair = self._by_key.get((pick.lane, pick.priority))
            ids = rows.get((pick.lane, pick.priority), ())
            reached += len(ids)
            if pair is None:
                continue
            if ids:
                _move_on(pair, pick, ids, now)
            if pick.after == FROM_THE_START:
                pair.sweep_at = sweep_at
            if len(ids) >= pick.at_most:
                pair.full, pair.short = True, False
            elif reached >= self._limit > 0:
                # The claim was full before this pick was read to its end: nothing is known.
                pair.full = True if ids else pair.full
            elif pick.after == FROM_THE_START:
                pair.full, pair.short = False, False
                self._empty.add((pick.lane, pick.priority))
            else:
                pair.short = pair.full is not False

    def adopt(self, lanes: Sequence[Lane]) -> None:
        """Take over a new list of lanes; what is known of those that stay is kept."""
        if lanes is self._lanes:
            return
        known, self._lanes = self._by_key, lanes
        self.pairs, self._by_key, self._empty = [], {}, set()
        order = fair_order(lanes)
        for priority in PRIORITIES:
            for lane in order:
                pair = known.get((lane.id, priority)) or Pair(lane, priority)
                pair.lane, pair.rank = lane, len(self.pairs)
                self.pairs.append(pair)
                self._by_key[lane.id, priority] = pair
        size = len(order)
        self.levels = [self.pairs[p * size : (p + 1) * size] for p in PRIORITIES]

    def expect(
        self, now: float, limit: int, queue_free: Mapping[str, int], sweep_interval: float
    ) -> None:
        """A claim of at most `limit` rows follows. Queues without room count as empty for it."""
        if self.exhausted:
            self._empty.clear()
        self._asked_at, self._limit, self._sweep_interval = now, limit, sweep_interval
        if queue_free and min(queue_free.values()) <= 0:
            self._empty.update(
                key for key, pair in self._by_key.items() if queue_free.get(pair.lane.queue, 1) <= 0
            )

    def turn_of(self, group: str) -> int:
        """Whose turn it is in a group: a number that only its users understand, 0 at first."""
        return self._turns.get(group, 0)

    def set_turn(self, group: str, turn: int) -> None:
        """Say whose turn is next."""
        self._turns[group] = turn

    def next_turn(self, group: str) -> int:
        """The turn of a group, and on to the next."""
        turn = self._turns[group] = self.turn_of(group) + 1
        return turn

    def take_turns(self, queue: str, pairs: list[Pair], count: int) -> list[Pair]:
        """At most `count` of the pairs (in order of rank), going on where the last call stopped."""
        if len(pairs) <= count:
            return pairs
        group = f"queue {queue}"
        start = bisect_left(pairs, self.turn_of(group), key=rank_of) % len(pairs)
        end = start + count
        if count:
            self.set_turn(group, pairs[(end - 1) % len(pairs)].rank + 1)
        return pairs[: max(end - len(pairs), 0)] + pairs[start:end]


def fair_order(lanes: Iterable[Lane]) -> list[Lane]:
    """Lanes in turn: one of each queue, each time of another name."""
    queues: dict[str, dict[str, list[Lane]]] = {}
    for lane in lanes:
        queues.setdefault(lane.queue, {}).setdefault(lane.name, []).append(lane)
    return _in_turn([_in_turn(list(names.values())) for names in queues.values()])


def _move_on(pair: Pair, pick: Pick, ids: Sequence[int], now: float) -> None:
    """Go on behind what was taken - or, where a sweep met a backlog, from there."""
    first, last = min(ids), max(ids)
    backlog = last < pair.after and len(ids) >= pick.at_most
    if pick.after == FROM_THE_START and (pair.after == FROM_THE_START or backlog):
        # Nothing was in front of the first one, so the next read need not look there.
        pair.after = first - 1
        pair.marks = deque([(now, last)])
    elif not pair.marks or last > pair.marks[-1][1]:
        pair.marks.append((now, last))


def _in_turn(lists: Iterable[Iterable[Lane]]) -> list[Lane]:
    return [lane for row in zip_longest(*lists) for lane in row if lane is not None]


def rank_of(pair: Pair) -> int:
    """Where a pair stands among all pairs: by priority, then in fair order."""
    return pair.rank
