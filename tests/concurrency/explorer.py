"""Takes two transactions through every order of their steps, on real connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, count, groupby
from typing import Any, NamedTuple, TypeAlias

import psycopg
from tests.concurrency.gates import Gates
from tests.kit.fleet import PATIENCE
from tests.kit.stepping import Parameters, Stepped, pause

REFUSALS = frozenset({"PD001", "40001"})
"""What an operation may be answered in some orders: its lease is lost, or it has to be repeated."""
COMMIT = "commit"
MOMENTS = count()
"""What of two sides was answered first: each answer gets the next number."""

Order: TypeAlias = tuple[int, ...]
"""Whose step comes next, 0 or 1."""


class Step(NamedTuple):
    """One statement of one of the two connections (0 or 1)."""

    connection: int
    sql: str
    parameters: Parameters = None


Operation: TypeAlias = list[Step]


@dataclass(slots=True)
class Side:
    """One operation under way: its answers so far, and the SQLSTATE that has ended it.

    `waited`: a step of it had to wait. With gates it may stand inside a statement, and a step of it
    goes on to the next gate. `moments`: when it got each of its answers, and the refusal.
    """

    session: Stepped
    steps: deque[Step]
    allowed: frozenset[str] = REFUSALS
    gates: Gates | None = None
    answers: list[list[tuple[Any, ...]]] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    refused: str | None = None
    started: bool = False
    waited: bool = False
    committed: bool = False
    taken: int = 0

    async def advance(self) -> bool:
        """Take the next step; False if there is none, or the last one waits for the other side."""
        self.committed = False
        if not await self.caught_up():
            if self.gates is None or not self.gates.open(self.session):
                return False
        elif not self.steps:
            return False
        else:
            step = self.steps.popleft()
            self.started = True
            await self.session.start(step.sql, step.parameters)
            self.committed = step.sql == COMMIT
        self.taken += 1
        await self.caught_up()
        return True

    async def caught_up(self) -> bool:
        """Whether nothing is under way, after waiting for what does not wait itself."""
        if self.started:
            if await self.session.rests():
                await self._end()
            else:
                self.waited = True
        return not self.started

    async def _end(self) -> None:
        self.started = False
        try:
            self.answers.append(await self.session.end())
            self.moments.append(next(MOMENTS))
        except psycopg.Error as error:
            if error.sqlstate not in self.allowed:
                raise
            self.refused = error.sqlstate
            self.moments.append(next(MOMENTS))
            self.steps.clear()
            await self.session.run("rollback")


class Ran(NamedTuple):
    """One order, and how each side has ended."""

    order: str
    sides: tuple[Side, Side]


def orders(first: int, second: int) -> Iterator[Order]:
    """Every interleaving of so many steps of 0 with so many of 1."""
    for places in combinations(range(first + second), second):
        yield tuple(int(place in places) for place in range(first + second))


async def explore(
    connections: tuple[Stepped, Stepped],
    scene: Callable[[], tuple[Operation, Operation]],
    between: Callable[[], None],
) -> AsyncIterator[Ran]:
    """Yield after each order; `scene` makes the state that it begins with, `between` checks."""
    first, second = scene()
    for order in orders(len(first), len(second)):
        sides = [
            Side(session, deque(operation))
            for session, operation in zip(connections, scene(), strict=True)
        ]
        yield await run_order((sides[0], sides[1]), order, between)


async def run_order(sides: tuple[Side, Side], order: Order, between: Callable[[], None]) -> Ran:
    """Take both sides through one order; `between` checks what each commit has left.

    A side that waits for a lock is passed over; what it has left comes as soon as it can.

    Raises:
        AssertionError: the server has answered one of them what it must not, as a deadlock.
    """
    path: list[str] = []

    async def step(number: int) -> bool:
        """Whether that side could take one."""
        moved = await sides[number].advance()
        if moved:
            path.append("ab"[number])
            await sides[1 - number].caught_up()
            if sides[number].committed:
                between()
        return moved

    try:
        for number, steps in groupby(order):
            for _ in steps:
                if not await step(number):
                    break
        while not all([await side.caught_up() and not side.steps for side in sides]):
            if not any([await step(number) for number in (0, 1)]):
                await _one_goes_on(sides)
    except (psycopg.Error, AssertionError) as error:
        code = getattr(error, "sqlstate", None) or ""
        raise AssertionError(f"{code} {error}, after {''.join(path)}".lstrip()) from error
    return Ran("".join(path), sides)


async def _one_goes_on(sides: Iterable[Side]) -> None:
    """Both wait: until one gives up waiting, or the server ends a deadlock."""
    waiting = [side for side in sides if side.started]
    async with asyncio.timeout(PATIENCE):
        while not any([await side.caught_up() for side in waiting]):
            await pause()
