"""Breadth-first search through the states of a protocol, and who can still finish."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.model.invariants import all_ended, invariants_of
from tests.model.protocol import Protocol
from tests.model.state import State, canonical

NUMBERS = re.compile(r" \([\d, ]*\)| \d+")
STATES_MAX = 400_000


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


def explore(protocol: Protocol, *, only_liveness: bool = False) -> Finding:
    """Visit every state, asking its invariants; raise OverflowError beyond STATES_MAX states."""
    size = protocol.size
    invariants = {} if only_liveness else invariants_of(size)
    alike = tuple(task for task in range(size.tasks) if task not in size.poison)
    start = canonical(protocol.start(), alike)
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
        for label, found in protocol.successors(state):
            taken.add(label)
            after = numbers.get(found)
            if after is None:
                one = canonical(found, alike)
                after = numbers[found] = numbers.setdefault(one, len(states))
                if after == len(states):
                    states.append(one)
                    came_from.append((number, label))
                    before.append([])
            before[after].append(number)
        if len(states) > STATES_MAX:
            raise OverflowError(f"more than {STATES_MAX:,} states")
    doomed = first_that_cannot_finish(states, before)
    if doomed is not None:
        path = way(came_from, doomed)
        return Finding(states=len(states), violated="cannot finish", path=path)
    kinds = frozenset(NUMBERS.sub("", label) for label in taken)
    return Finding(states=len(states), taken=kinds)


def first_that_cannot_finish(states: list[State], before: list[list[int]]) -> int | None:
    """Walk back from the states in which all has ended; what is not met can never finish."""
    met = [all_ended(state) for state in states]
    queue = [number for number, ended in enumerate(met) if ended]
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
