"""Takes two transactions through every order of their steps, on real connections."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import psycopg
from tests.kit.stepping import Parameters, Stepped

REFUSALS = frozenset({"PD001", "40001"})
"""What an operation may be answered in some orders: its lease is lost, or it has to be repeated."""


class Step(NamedTuple):
    """One statement of one of the two connections (0 or 1)."""

    connection: int
    sql: str
    parameters: Parameters = None


Operation: TypeAlias = list[Step]


@dataclass(slots=True)
class Side:
    """One operation under way: its answers so far, and the SQLSTATE that has ended it."""

    session: Stepped
    steps: deque[Step]
    answers: list[list[tuple[Any, ...]]] = field(default_factory=list)
    refused: str | None = None
    started: bool = False

    async def advance(self) -> bool:
        """Take the next step; False if there is none, or the last one waits for a lock."""
        if not await self.caught_up() or not self.steps:
            return False
        step = self.steps.popleft()
        self.started = True
        await self.session.start(step.sql, step.parameters)
        await self.caught_up()
        return True

    async def caught_up(self) -> bool:
        """Whether nothing is under way, after waiting for what does not wait itself."""
        if self.started and await self.session.rests():
            await self._end()
        return not self.started

    async def _end(self) -> None:
        self.started = False
        try:
            self.answers.append(await self.session.end())
        except psycopg.Error as error:
            if error.sqlstate not in REFUSALS:
                raise
            self.refused = error.sqlstate
            self.steps.clear()
            await self.session.run("rollback")


class Ran(NamedTuple):
    """One order, and how each side has ended."""

    order: str
    sides: tuple[Side, Side]


def orders(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """Every interleaving of so many steps of 0 with so many of 1."""
    for places in combinations(range(first + second), second):
        yield tuple(int(place in places) for place in range(first + second))


async def explore(
    connections: tuple[Stepped, Stepped],
    scene: Callable[[], tuple[Operation, Operation]],
    between: Callable[[], None],
) -> AsyncIterator[Ran]:
    """Yield after each order; `scene` makes the state that it begins with, `between` checks.

    A side that waits for a lock is passed over; what it has left comes as soon as it can.
    """
    first, second = scene()
    for order in orders(len(first), len(second)):
        sides = [
            Side(session, deque(operation))
            for session, operation in zip(connections, scene(), strict=True)
        ]
        for number in order:
            await sides[number].advance()
            await sides[1 - number].caught_up()
            between()
        while not all([await side.caught_up() and not side.steps for side in sides]):
            moved = [await side.advance() for side in sides]
            assert any(moved), f"both sides wait in {order}"
            between()
        yield Ran("".join("ab"[number] for number in order), (sides[0], sides[1]))
