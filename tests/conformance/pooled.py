"""The conformance list without wake-ups, behind a pooler: PERDURE_TEST_POOLER=1 has it so.

All connections of workers and clients go by way of a PgBouncer in transaction mode then, and no
worker listens.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "PERDURE_TEST_POOLER"
POOLED: Final = bool(os.environ.get(VARIABLE))

CANNOT_PASS: Final = {
    "test_each_setting_holds_from_the_next_turn_on": "it begins with a worker that listens",
    "test_what_is_due_before_anybody_looks_again_is_served_at_its_time": (
        "who does not listen looks with its beat, which this test has made rare"
    ),
}
"""Tests that are left out there: the part of a node's id that names them, and why."""


def cannot_pass(node: str) -> bool:
    """Whether the test is left out."""
    return any(part in node for part in CANNOT_PASS)
