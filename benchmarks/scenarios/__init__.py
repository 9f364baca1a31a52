"""One file per benchmark: PEERS, and rows(bench, peers), which measures and judges."""

from __future__ import annotations

SCENARIOS = (
    "drain",
    "processes",
    "cost",
    "snapshot",
    "backlog",
    "claim",
    "pickup",
    "polling",
    "bulk",
    "single",
    "wakeups",
    "idle",
    "checkpoints",
    "rounds",
    "startup",
    "defaults",
)
"""In the order of their rows, S1 to S16."""
