"""Breadth-first search through the states of a model, and who can still finish."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

S = TypeVar("S")

NUMBERS = re.compile(r" \([\d, ]*\)| \d+")
STATES_MAX = 400_000


class Model(Protocol[S]):
    """What can be explored: a protocol whose states are values that can be hashed."""

    def start(self) -> S: ...

    def successors(self, state: S) -> Iterable[tuple[str, S]]:
        """Return every single step that can be taken, by name, and where it leads."""
        ...

    def invariants(self) -> Mapping[str, Callable[[S], object]]:
        """Return what must hold in every state, by name: true says that it does not."""
        ...

    def all_ended(self, state: S) -> bool:
        """Tell whether it is a state that can be reached from every other one."""
        ...

    def canonical(self, state: S) -> S:
        """Return one state for all that are alike."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an exploration came to; `violated` is None when nothing is wrong."""

    states: int
    violated: str | None = None
    path: tuple[str, ...] = ()  # the shortest way to the fault
    taken: frozenset[str] = frozenset()  # every kind of step, without numbers

    def __str__(self) -> str:
        if self.violated is None:
            return f"{self.states:,} states, no violation, every state can finish"
        steps = "\n".join(f"  {number}. {label}" for number, label in enumerate(self.path, 1))
        return f"{self.violated} after {len(self.path)} steps ({self.states:,} states)\n{steps}"


def explore(model: Model[S], *, only_liveness: bool = False) -> Finding:
    """Visit every state, asking its invariants; raise OverflowError beyond STATES_MAX states."""
    invariants = {} if only_liveness else model.invariants()
    start = model.canonical(model.start())
    states = [start]
    numbers = {start: 0}
    came_from: list[tuple[int, str]] = [(0, "")]
    before: list[list[int]] = [[]]
    taken = set()
    for number, state in enumerate(states):  # grows while it is read
        for name, at_fault in invariants.items():
            if at_fault(state):
                path = way(came_from, number)
                return Finding(states=len(states), violated=name, path=path)
        for label, found in model.successors(state):
            taken.add(label)
            after = numbers.get(found)
            if after is None:
                one = model.canonical(found)
                after = numbers[found] = numbers.setdefault(one, len(states))
                if after == len(states):
                    states.append(one)
                    came_from.append((number, label))
                    before.append([])
            before[after].append(number)
        if len(states) > STATES_MAX:
            raise OverflowError(f"more than {STATES_MAX:,} states")
    doomed = first_that_cannot_finish([model.all_ended(one) for one in states], before)
    if doomed is not None:
        path = way(came_from, doomed)
        return Finding(states=len(states), violated="cannot finish", path=path)
    kinds = frozenset(NUMBERS.sub("", label) for label in taken)
    return Finding(states=len(states), taken=kinds)


def first_that_cannot_finish(ended: Sequence[bool], before: list[list[int]]) -> int | None:
    """Walk back from the states in which all has ended; what is not met can never finish."""
    met = list(ended)
    queue = [number for number, is_met in enumerate(met) if is_met]
    for number in queue:  # grows while it is read
        for earlier in before[number]:
            if not met[earlier]:
                met[earlier] = True
                queue.append(earlier)
    return None if all(met) else met.index(False)


def way(came_from: list[tuple[int, str]], number: int) -> tuple[str, ...]:
    labels = []
    while number:
        number, label = came_from[number]
        labels.append(label)
    return tuple(reversed(labels))
