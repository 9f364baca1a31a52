"""Which pairs of operations, in which settings and orders: all, or some that a seed chooses."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from typing import NamedTuple

from tests.concurrency.explorer import Order, Ran, orders
from tests.concurrency.operations import KINDS, LEVELS, Aim, Kind
from tests.concurrency.oracle import Act
from tests.concurrency.world import Setting, World

VARIABLE = "PERDURE_TEST_ORDERS"
SEED_VARIABLE = "PERDURE_TEST_SEED"
SEED = "1"
"""Of the usual run, which tries the same orders each time."""
ORDERS = 1
"""Of a pair in the usual run, which has a time limit; a change and a night try more."""
INSIDE_ORDERS_MOST = 20
"""Of one setting, also where all are wanted."""
LONG = 200
"""More steps than an operation has."""

INTERRUPTED = frozenset({
    "replace", "append", "finish", "fail", "suspend", "succeed", "abandon",
    "hand back", "separate", "checkpoint", "complete", "cancel", "proceed", "signal", "retry",
    "recover", "retire", "follow", "promote", "cancel where",
})  # fmt: skip
SHARE = 10
"""Of the pairs the usual run takes one in so many, always the same."""


def _wanted(pairs: list[tuple[Kind, Kind]]) -> list[tuple[Kind, Kind]]:
    if os.environ.get(VARIABLE):
        return pairs
    return random.Random(SEED).sample(pairs, len(pairs) // SHARE)


EVERY = list(combinations_with_replacement(KINDS, 2))
"""Every operation with every other, and with itself."""
PAIRS = _wanted(EVERY)
INSIDE = _wanted([pair for pair in EVERY if {kind.name for kind in pair} <= INTERRUPTED])


class Case(NamedTuple):
    """`subjects`: whether each of the two aims at the subject, else at its neighbour."""

    setting: Setting
    subjects: tuple[bool, bool]
    levels: tuple[str, str]
    order: Order = ()

    @property
    def name(self) -> str:
        """As a failure says it."""
        aims = " x ".join("subject" if subject else "neighbour" for subject in self.subjects)
        return f"{self.setting}, {aims}, {' x '.join(self.levels)}"

    def acts(self, pair: tuple[Kind, Kind], world: World) -> tuple[Act, Act]:
        """The two operations, aimed in a world that has been made."""
        together = self.subjects[0] == self.subjects[1] and any(kind.caller for kind in pair)
        first, second = [
            Act(kind, Aim(on, world.subject if subject else world.neighbour, level, together))
            for on, (kind, subject, level) in enumerate(
                zip(pair, self.subjects, self.levels, strict=True)
            )
        ]
        return first, second


def name_of(pair: tuple[Kind, Kind]) -> str:
    """As the test is called."""
    return f"{pair[0].name} x {pair[1].name}"


def settings_of(pair: tuple[Kind, Kind]) -> Iterator[Case]:
    """Everything about a pair but the order."""
    first, second = pair
    names = {first.name, second.name}
    places = dict.fromkeys((*first.meets, *second.meets) or ("running",))
    lives = (False, True) if "recover" in names else (True,)
    aims = [(True, True)]
    if first.aimed and second.aimed:
        aims += [(True, False), (False, True)] if first != second else [(True, False)]
    levels = [LEVELS if kind.caller else LEVELS[:1] for kind in pair]
    if "hand back" in names and names & {"save", "checkpoint"}:
        aims.remove((True, True))  # what was not started has nothing to save
    for place, alive, aim, level in product(places, lives, aims, product(*levels)):
        if place == "limited" and ("finish", True) in zip(
            (first.name, second.name), aim, strict=True
        ):
            continue  # An end that frees an instance is never a plain one.
        yield Case(Setting(place, alive, "drop range" in names), aim, level)


def cases(pair: tuple[Kind, Kind]) -> list[Case]:
    """All cases of a pair, or as many as are wanted."""
    steps = [kind.steps for kind in pair]
    every = [case._replace(order=order) for case in settings_of(pair) for order in orders(*steps)]
    return _some(every, name_of(pair))


def uninterrupted(pair: tuple[Kind, Kind]) -> list[Case]:
    """One after the other, in each setting or as many as are wanted.

    Not beside a worker that lives: a recovery has nothing to do there that could be interrupted.
    """
    recovers = "recover" in {kind.name for kind in pair}
    every = [
        case._replace(order=(a,) * LONG + (1 - a,) * LONG)
        for case in settings_of(pair) if not (recovers and case.setting.alive) for a in (0, 1)
    ]  # fmt: skip
    return _some(every, name_of(pair))


def inside(pair: tuple[Kind, Kind], alone: Case, ran: Ran) -> list[Case]:
    """The first is interrupted once; whoever interrupts it ends, or is interrupted once itself."""
    a = alone.order[0]
    steps = [max(side.taken, kind.steps) for side, kind in zip(ran.sides, pair, strict=True)]
    every = [
        alone._replace(order=(a,) * i + (1 - a,) * j + (a,) * LONG + (1 - a,) * LONG)
        for i in range(1, steps[a]) for j in range(1, steps[1 - a] + 1)
    ]  # fmt: skip
    return _some(every, f"{name_of(pair)}, {alone.name}")[:INSIDE_ORDERS_MOST]


def _some(every: list[Case], name: str) -> list[Case]:
    """The same for the same name and seed, in the order of chance."""
    given = os.environ.get(VARIABLE) or str(ORDERS)
    seed = os.environ.get(SEED_VARIABLE) or SEED
    wanted = len(every) if given == "all" else min(int(given), len(every))
    return random.Random(f"{seed}:{name}").sample(every, wanted)
