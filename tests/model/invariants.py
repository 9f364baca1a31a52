"""What must hold in every state of the model: predicates that name what is at fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.model.server import Size
from tests.model.state import State

Invariant: TypeAlias = Callable[[State], list[int]]


def tasks_in_no_place_or_two(state: State) -> list[int]:
    """P3: every task is in exactly one of ready, a lease, waiting, outcomes."""
    leased = [task for lease in state.db.leases for task in lease.tasks]
    return [
        index
        for index, task in enumerate(state.db.tasks)
        if len(task.places) + leased.count(index) != 1
    ]


def leases_without_a_worker(state: State) -> list[int]:
    """P4: recovery could never find them."""
    return [lease.id for lease in state.db.leases if lease.worker not in state.db.workers]


def lease_ids_used_twice(state: State) -> list[int]:
    ids = [lease.id for lease in state.db.leases]
    return [one for one in ids if ids.count(one) > 1]


def foreign_writes(state: State) -> list[int]:
    """P5: only the holder writes."""
    return [1] if state.witness.foreign_write else []


def checkpoints_that_went_back(state: State) -> list[int]:
    """P7: what was accepted last is what the next run gets."""
    return [
        index
        for index, task in enumerate(state.db.tasks)
        if not task.ended and task.saved < state.witness.checkpoints[index]
    ]


def mail_that_was_passed_over(state: State) -> list[int]:
    """An end obeys all mail that lay there before it had the lease."""
    return [1] if state.witness.mail_passed_over else []


def innocents_that_ended_as_a_crash(state: State, poison: tuple[int, ...]) -> list[int]:
    """P9: an innocent task never does."""
    ended = (index for index, task in enumerate(state.db.tasks) if "crash" in task.places)
    return [index for index in ended if index not in poison]


def tasks_that_killed_too_many(state: State, deaths_max: int) -> list[int]:
    """P9: no more than this many worker processes die of one task."""
    return [index for index, count in enumerate(state.witness.deaths) if count > deaths_max]


def invariants_of(size: Size) -> dict[str, Invariant]:
    """Return what must hold in every state of an exploration of this size, by name."""
    plain = (
        tasks_in_no_place_or_two,
        leases_without_a_worker,
        lease_ids_used_twice,
        foreign_writes,
        checkpoints_that_went_back,
        mail_that_was_passed_over,
    )
    return {
        **{invariant.__name__: invariant for invariant in plain},
        "innocents_that_ended_as_a_crash": lambda state: innocents_that_ended_as_a_crash(
            state, size.poison
        ),
        "tasks_that_killed_too_many": lambda state: tasks_that_killed_too_many(
            state, size.deaths_max
        ),
    }


def all_ended(state: State) -> bool:
    """P4, as liveness: from every state such a state can be reached."""
    return all(task.ended for task in state.db.tasks)
