"""Never more instances than allowed, nobody forgotten: in every reachable state of the protocol."""

from __future__ import annotations

import pytest
from tests.model.explore import explore
from tests.model.instances import Instances

SIZES = {
    "three tasks, one at once": {"most": 1, "tasks": 3},
    "two tasks, two at once": {"most": 2, "tasks": 2, "aborts": 1},
    "two of three hold one": {"most": 2, "tasks": 3, "held": 2, "aborts": 1},
    "one holds a number above the limit": {"most": 2, "tasks": 3, "held": 1, "above": 3},
    "two tasks, two beats, roll backs": {"most": 1, "tasks": 2, "beats": 2, "aborts": 1},
}


@pytest.mark.parametrize("name", SIZES)
def test_no_state_breaks_the_limit_or_forgets_who_waits(name: str) -> None:
    finding = explore(Instances(**SIZES[name]))
    assert finding.violated is None, str(finding)
    assert finding.states > 500


@pytest.mark.parametrize(
    ("defence", "fault"),
    [
        ("one_row_per_number", "more than allowed"),
        ("takes_numbers_as_counted", "more than allowed"),
        ("handshakes", "nobody is to look"),
        ("locks_before_it_looks", "nobody is to look"),
        ("keeps_openings_of_full_keys", "nobody is to look"),
        ("tells_of_those_passed_over", "nobody is to look"),
    ],
)
def test_each_defence_is_needed(defence: str, fault: str) -> None:
    without = type("Without", (Instances,), {defence: False})
    assert fault in [explore(without(**size)).violated for size in SIZES.values()]
