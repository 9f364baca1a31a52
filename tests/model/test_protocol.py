"""The protocol holds in every reachable state, and every defence in it is needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache

import pytest
from tests.model.explore import Finding, explore
from tests.model.protocol import Protocol
from tests.model.server import Size
from tests.model.state import Budget
from tests.model.variants import EXPECTATIONS, LIVENESS, Expectation

SIZES = {
    "a lost connection and a false suspicion": Size(
        budget=Budget(losses=1, suspicions=1), separates=True
    ),
    "a lost connection and a crash": Size(budget=Budget(losses=1, crashes=1), separates=True),
    "two lost connections and a false suspicion": Size(
        tasks=1, budget=Budget(losses=2, suspicions=1)
    ),
    "a failover and a lost connection": Size(budget=Budget(losses=1, failovers=1), separates=True),
    "a failover between checkpoints": Size(
        budget=Budget(failovers=1), separates=True, checkpoints=1
    ),
    "a failover around a suspension": Size(
        tasks=1, budget=Budget(losses=1, failovers=1), ends=("finish", "suspend")
    ),
    "lost connections, checkpoints, retries and releases": Size(
        tasks=1,
        budget=Budget(losses=2),
        checkpoints=2,
        releases=True,
        ends=("finish", "fail", "retry"),
    ),
    "a cancel and a suspension": Size(
        tasks=1,
        budget=Budget(losses=1, suspicions=1, cancels=1),
        ends=("finish", "suspend"),
    ),
    "two suspensions in one lease": Size(
        workers=1, budget=Budget(suspicions=1), ends=("finish", "suspend")
    ),
    "a poison task beside an innocent one": Size(poison=(0,), releases=True),
    "a poison task and a false suspicion": Size(tasks=1, poison=(0,), budget=Budget(suspicions=1)),
}

STEPS = (  # each has to be met somewhere, or an exploration proves less than it seems to
    "begins to claim",
    "claim of tasks for worker: claimed",
    "claim of tasks for worker, unheard: claimed",
    "claim of tasks for worker, unheard: ended by the server",
    "start task of lease, done",
    "list task of lease, done",
    "separate task of lease, done",
    "separate of tasks for worker, unheard: done",
    "checkpoint task of lease, done",
    "checkpoint of tasks for worker, unheard: done",
    "finish task of lease, done",
    "finish task of lease, lost",
    "finish of tasks for worker, unheard: done",
    "settles task as suspend: lock",
    "suspend of tasks for worker: read",
    "suspend of tasks for worker: done",
    "suspend of tasks for worker: mail",
    "suspend of tasks for worker, unheard: done",
    "settles task as suspend: lost",
    "settles task as crash: lock",
    "fail of tasks for worker: done",
    "retry of tasks for worker: done",
    "release task of lease, done",
    "mail: proceed",
    "proceed of task",
    "mail: cancel",
    "promotion: cancel",
    "promotion: proceed",
    "crashes",
    "starts",
    "dies of task",
    "recovery of: lock",
    "recovery of: read",
    "recovery of: move",
    "learns that it is dead",
    "loses its connections",
    "end the old session",
    "compare",
    "the replica stops",
    "failover",
)


@pytest.fixture(autouse=True, scope="module")
def no_garbage_collection() -> Iterator[None]:
    """States are tuples without cycles: to look for cycles in them doubles the time."""
    gc.disable()
    yield
    gc.enable()


@cache
def explored(size: Size) -> Finding:
    return explore(Protocol(size))


# One test: each process that has a part of them would explore all sizes once more.
def test_every_state_keeps_the_promises_and_can_still_finish_and_no_kind_of_step_is_missing() -> (
    None
):
    taken = set[str]()
    for name, size in SIZES.items():
        finding = explored(size)
        print(f"{name}: {finding}")  # noqa: T201 - pytest -rP shows it
        assert finding.violated is None, f"{name}: {finding}"
        taken |= finding.taken
    assert [step for step in STEPS if not any(step in label for label in taken)] == []


@pytest.mark.parametrize(
    "expected",
    EXPECTATIONS,
    ids=[f"{one.variant.__name__}-{number}" for number, one in enumerate(EXPECTATIONS)],
)
def test_without_one_defence_a_counterexample_is_found(expected: Expectation) -> None:
    variant = expected.variant(expected.size)
    finding = explore(variant, only_liveness=expected.violated == LIVENESS)
    print(f"{expected.variant.__doc__} {finding}")  # noqa: T201 - pytest -rP shows it
    assert (finding.violated, len(finding.path)) == (expected.violated, expected.steps)
    assert explored(expected.size).violated is None  # it is the defence, not the size
