"""plan: which lanes the next claim reads, from where, and how many rows of each.

A *pair* is a lane and one of its ten priorities: the unit of a read. Pairs are known to be `full`
(the last read of them gave all that it asked for), `drained` (a read from the beginning gave
less), or are not known yet. Three kinds of plan follow:

- With a full or unknown pair, the claim is for the highest priority that has one. It is shared
  evenly between queues, then names, then lanes; drained pairs of the same priority are asked for
  a little, so that what appears in them has its share of the claim after. Drained pairs of higher
  priorities come first and may take everything. Lower priorities wait.
- With none, all pairs are asked, from the beginning, in order of priority, each for the whole
  claim. The claim takes rows in the order of the picks and no more than it has room for, so asking
  for too much keeps priorities strict, and a worker that was idle finds a task with one claim.
- Every `oldest_first_every`-th plan ages: it deals its rows in turn over all pairs in use,
  whatever the priority, and goes on where the last such plan stopped.

At most 500 picks make a claim. Where there are more drained pairs, they take turns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from perdure.tasks.positions import Lane, Pair, Pick, Positions, rank_of

PICKS_MAX: Final = 500
PROBES_MAX: Final = 100

__all__ = ["Lane", "Pick", "Positions", "plan", "served"]


def served(
    lanes: Iterable[Lane],
    *,
    names: Collection[str],
    queues: Collection[str] | None,
    satisfied: Collection[str],
    paused: Collection[str] = (),
) -> tuple[Lane, ...]:
    """The lanes that a worker may claim from now. Ask again only when one of these changes.

    `names` are known to the worker (aliases too), `queues` served by it (None: all), `satisfied`
    the constraints that hold, `paused` the queues that are paused ("*": all of them).
    """
    return tuple(
        lane
        for lane in lanes
        if lane.name in names
        and (queues is None or lane.queue in queues)
        and lane.queue not in paused
        and "*" not in paused
        and all(name in satisfied for name in lane.requires)
    )


def plan(
    lanes: Sequence[Lane],
    positions: Positions,
    *,
    free: int,
    queue_free: Mapping[str, int],
    now: float,
    turn: int,
    oldest_first_every: int = 8,
    sweep_interval: float = 3.0,
) -> list[Pick]:
    """What the next claim reads, in this order, taking at most `free` rows altogether.

    `lanes` is what `served` gave, the same object for as long as nothing changes. `queue_free`
    bounds queues (a queue that is not in it has no bound of its own): the picks of such a queue
    never sum up to more. `turn` counts plans; 0 for `oldest_first_every` means never.
    """
    positions.adopt(lanes)
    if free <= 0 or not lanes:
        return []
    positions.expect(now, free, queue_free, sweep_interval)
    claim = _Claim(positions, free, queue_free, now, probes_reserved=turn % 4 == 0)
    if oldest_first_every > 0 and turn % oldest_first_every == oldest_first_every - 1:
        return claim.in_turn()
    return claim.by_priority()


class _Claim:
    """One plan in the making: what is left of the claim and of the bounds of queues."""

    def __init__(
        self,
        positions: Positions,
        free: int,
        queue_free: Mapping[str, int],
        now: float,
        *,
        probes_reserved: bool,
    ) -> None:
        self.positions = positions
        self.free = free
        self.left = dict(queue_free)
        self.now = now
        self.probes_reserved = probes_reserved
        self.picks: list[Pick] = []

    def by_priority(self) -> list[Pick]:
        """The highest priority that has rows, as far as one knows; all of them if none has."""
        wanted = self.free
        levels: list[tuple[list[Pair], list[tuple[Pair, int]]]] = []
        turn = self.positions.next_turn("shares")
        for pairs in self.positions.levels:
            drained, live = self._open(pairs)
            shares = self._shares(live, wanted, turn) if live else []
            levels.append((drained, shares))
            wanted -= sum(share for _, share in shares)
            if wanted <= 0:
                break
        busy = {pair.lane.queue for _, shares in levels for pair, _ in shares}
        probes: list[list[Pair]] = [[] for _ in levels]
        for pair in self._probes([pair for drained, _ in levels for pair in drained], busy):
            probes[pair.priority].append(pair)
        for (_, shares), asked in zip(levels, probes, strict=True):
            few = max(1, self.free // 8 // len(asked)) if asked and shares else self.free
            for pair in asked:
                self._ask(pair, few, sweep=not busy)
            # A share of none is a spare: it counts if others turn out to have less than theirs.
            for pair, share in sorted(shares, key=_without_share):
                self._ask(pair, max(share, 1))
        return self.picks

    def in_turn(self) -> list[Pick]:
        """Rows dealt over all pairs in use, those first in which something may have appeared."""
        open_ = [p for p in self.positions.pairs if self.left.get(p.lane.queue, 1) > 0]
        live = [pair for pair in open_ if pair.full]
        others = [pair for pair in open_ if not pair.full]
        probes = self._probes(others, {pair.lane.queue for pair in live})
        portion = -(-self.free // max(2, len(live) + 1))
        for pair in probes:
            self._ask(pair, portion)
        if live:
            start = bisect_left(live, self.positions.turn_of("deal"), key=rank_of) % len(live)
            live = live[start:] + live[:start]
            each, extras = divmod(self.free, len(live))
            self.positions.set_turn("deal", live[extras % len(live)].rank)
            for index, pair in enumerate(live):
                self._ask(pair, max(1, each + (index < extras)))
        return self.picks

    def _shares(self, live: list[Pair], wanted: int, turn: int) -> list[tuple[Pair, int]]:
        """Even between queues, then names, then lanes; no queue above its bound."""
        if len(live) == 1:
            return [(live[0], min(wanted, self.left.get(live[0].lane.queue, wanted)))]
        tree: dict[str, dict[str, list[Pair]]] = {}
        for pair in live:
            tree.setdefault(pair.lane.queue, {}).setdefault(pair.lane.name, []).append(pair)
        shares: list[tuple[Pair, int]] = []
        bounds = [self.left.get(queue, wanted) for queue in tree]
        for names, of_queue in zip(tree.values(), _even(wanted, bounds, turn), strict=True):
            later = turn // len(tree)
            of_names = _even(of_queue, [of_queue] * len(names), later)
            for pairs, of_name in zip(names.values(), of_names, strict=True):
                parts = _even(of_name, [of_name] * len(pairs), later // len(names))
                shares.extend(zip(pairs, parts, strict=True))
        return shares

    def _open(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        """Those that are drained and those that may have rows, without queues that are full up."""
        if self.left:
            pairs = [pair for pair in pairs if self.left.get(pair.lane.queue, 1) > 0]
        live = [pair for pair in pairs if pair.full is not False]
        return ([pair for pair in pairs if pair.full is False] if live else pairs), live

    def _probes(self, drained: list[Pair], busy: Collection[str]) -> list[Pair]:
        """The drained pairs to ask now: all, or those whose turn it is.

        In a queue with a bound each may ask for one row only, or together they would pass it; if
        it has full pairs as well they get a quarter of what is left, or of the turns.
        """
        count = PROBES_MAX if busy else PICKS_MAX
        free = drained
        if self.left:
            free = [pair for pair in drained if pair.lane.queue not in self.left]
        chosen = list(self.positions.take_turns("", free, count))
        for queue, left in self.left.items():
            pairs = [pair for pair in drained if pair.lane.queue == queue]
            share = (left // 4 or int(self.probes_reserved)) if queue in busy else left
            chosen += self.positions.take_turns(queue, pairs, max(min(count, share), 0))
        return chosen

    def _ask(self, pair: Pair, at_most: int, *, sweep: bool = False) -> None:
        queue = pair.lane.queue
        if queue in self.left:
            at_most = at_most if pair.full else 1
            at_most = min(at_most, self.left[queue])
            self.left[queue] -= at_most
        if at_most <= 0 or len(self.picks) >= PICKS_MAX:
            return
        after = pair.start(self.now, sweep=sweep)
        self.picks.append(Pick(pair.lane.id, pair.priority, after, at_most))


def _even(n: int, bounds: Sequence[int], turn: int) -> list[int]:
    """N in even parts, none above its bound; who gets the remainder changes with the turn."""
    parts = [0] * len(bounds)
    room = [index for index, bound in enumerate(bounds) if bound > 0]
    while n > 0 and room:
        each, extras = divmod(n, len(room))
        for place, index in enumerate(room):
            extra = (place - turn) % len(room) < extras
            part = min(each + extra, bounds[index] - parts[index])
            parts[index] += part
            n -= part
        room = [index for index in room if parts[index] < bounds[index]]
    return parts


def _without_share(asked: tuple[Pair, int]) -> bool:
    return asked[1] == 0
