"""The two connections of a pair, the same ones for many orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack

from tests.concurrency.cases import Case
from tests.concurrency.explorer import Ran, Side, orders, run_order
from tests.concurrency.gates import Gates
from tests.concurrency.operations import LEVELS, Kind
from tests.concurrency.oracle import Judge
from tests.concurrency.world import Setting
from tests.kit.stepping import Stepped, stepped

# The server's own limit: what the machine gives up after 50 ms is not a deadlock yet.
PATIENCE = """
    select set_config('deadlock_timeout', '1s', false)
    where current_setting('is_superuser') = 'on';
    commit
"""
PATIENT = frozenset({
    "claim", "finish", "retry later", "fail", "suspend", "succeed", "give up", "abandon",
    "hand back", "save", "beat", "recover", "promote",
})  # fmt: skip
"""What a worker's loops do must not wait for what a handler has open on another task."""


class Sessions:
    """Opened at the first use, and anew after a failure, which may have left anything."""

    def __init__(self, judge: Judge, gates: Gates | None = None) -> None:
        self.judge = judge
        self.gates = gates
        self._stack = AsyncExitStack()
        self._pair: tuple[Stepped, Stepped] | None = None

    async def close(self) -> None:
        """Give up what is open."""
        self._pair = None
        await self._stack.aclose()

    async def run(self, pair: tuple[Kind, Kind], case: Case) -> Ran:
        """One case of a pair, judged.

        Raises:
            AssertionError: something that must hold does not; the case says in which order.
        """
        world = self.judge.world
        world.make(case.setting)
        acts = case.acts(pair, world)
        connections = await self._connected()
        if self.gates is not None:
            await self.gates.shut(connections)
        sides = [
            Side(session, deque(act.kind.build(world, act.aim)), act.kind.allowed, self.gates)
            for session, act in zip(connections, acts, strict=True)
        ]
        # A range that is being dropped is locked against everybody's look.
        look: Callable[[], None] = self.judge.look
        between = (lambda: None) if case.setting.ranged else look
        ran: Ran | None = None
        try:
            ran = await run_order((sides[0], sides[1]), case.order, between)
            self.judge.judge(acts, ran)
            self._nobody_waits_for_a_handler(pair, case, ran)
        except AssertionError as error:
            await self.close()
            path = "" if ran is None else f", after {ran.order}"
            raise AssertionError(f"{error}{path} in {case.name}") from error
        except BaseException:
            await self.close()
            raise
        return ran

    async def run_all(self, pair: tuple[Kind, Kind], setting: Setting) -> None:
        """Both on the subject, in every order."""
        for order in orders(pair[0].steps, pair[1].steps):
            await self.run(pair, Case(setting, (True, True), (LEVELS[0], LEVELS[0]), order))

    async def _connected(self) -> tuple[Stepped, Stepped]:
        if self._pair is None:
            first, second = [
                await self._stack.enter_async_context(
                    stepped(self.judge.database, autocommit=False)
                )
                for _ in range(2)
            ]
            for session in (first, second):
                await session.run(PATIENCE)
            self._pair = first, second
        return self._pair

    def _nobody_waits_for_a_handler(self, pair: tuple[Kind, Kind], case: Case, ran: Ran) -> None:
        for kind, other, side in ((*pair, ran.sides[0]), (*pair[::-1], ran.sides[1])):
            apart = not kind.aimed or case.subjects[0] != case.subjects[1]
            own = other.name == "checkpoint" or case.setting.place == "own"
            if self.gates is None and other.caller and own and apart and kind.name in PATIENT:
                assert not side.waited, f"{kind.name} waits for a handler's transaction"
