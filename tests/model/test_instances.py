"""Never more instances than allowed, nobody forgotten: in every reachable state of the protocol."""

from __future__ import annotations

import pytest
from tests.model.instances import Instances, State


def explore(protocol: Instances) -> tuple[int, str | None, list[str]]:
    """How many states there are, what is wrong with one of them, and the way to it."""
    states = [protocol.start()]
    numbers = {states[0]: 0}
    came_from = [(0, "")]
    before: list[list[int]] = [[]]
    wrong: tuple[int, str] | None = None
    for number, state in enumerate(states):  # grows while it is read
        fault = fault_of(protocol, state)
        if fault is not None:
            wrong = number, fault
            break
        for label, found in protocol.successors(state):
            after = numbers.setdefault(found, len(states))
            if after == len(states):
                states.append(found)
                came_from.append((number, label))
                before.append([])
            before[after].append(number)
    if wrong is None:
        stuck = first_stuck(states, before)
        wrong = None if stuck is None else (stuck, "cannot end")
    path: list[str] = []
    at = 0 if wrong is None else wrong[0]
    while at:
        at, label = came_from[at]
        path.append(label)
    return len(states), None if wrong is None else wrong[1], path[::-1]


def fault_of(protocol: Instances, state: State) -> str | None:
    """What must not be, at any moment, in what is committed."""
    held = [row for row in state.rows if row[0] == "holds"]
    if len(held) > protocol.most:
        return "more than allowed"
    waits = any(row[0] == "waits" for row in state.rows)
    if waits and len(held) < protocol.most and not any(r[0] == "opening" for r in state.rows):
        return "one is free, somebody waits, and nobody is to look"
    return None


def first_stuck(states: list[State], before: list[list[int]]) -> int | None:
    """Walk back from the states in which all has ended; what is not met can never end."""
    met = [all(one.at == "done" or one.kind == "beat" for one in s.running) for s in states]
    queue = [number for number, ended in enumerate(met) if ended]
    for number in queue:  # grows while it is read
        for earlier in before[number]:
            if not met[earlier]:
                met[earlier] = True
                queue.append(earlier)
    return None if all(met) else met.index(False)


SIZES = {
    "three tasks, one at once": {"most": 1, "tasks": 3},
    "two tasks, two at once": {"most": 2, "tasks": 2, "aborts": 1},
    "two of three hold one": {"most": 2, "tasks": 3, "held": 2, "aborts": 1},
    "two tasks, two beats, roll backs": {"most": 1, "tasks": 2, "beats": 2, "aborts": 1},
}


@pytest.mark.parametrize("name", SIZES)
def test_no_state_breaks_the_limit_or_forgets_who_waits(name: str) -> None:
    count, fault, path = explore(Instances(**SIZES[name]))
    assert fault is None, path
    assert count > 500


@pytest.mark.parametrize(
    ("defence", "fault"),
    [
        ("one_row_per_number", "more than allowed"),
        ("handshakes", "nobody is to look"),
        ("locks_before_it_looks", "nobody is to look"),
        ("keeps_openings_of_full_keys", "nobody is to look"),
        ("tells_of_those_passed_over", "nobody is to look"),
    ],
)
def test_each_defence_is_needed(defence: str, fault: str) -> None:
    without = type("Without", (Instances,), {defence: False})
    found = [explore(without(**size))[1] for size in SIZES.values()]
    assert any(each is not None and fault in each for each in found)
