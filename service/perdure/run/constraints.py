"""Which constraints hold for this worker: asks their probes, and takes in what the cluster is told.

Each probe has a loop of its own, so that one that hangs keeps no other from being asked. When
something changes, the enqueuer claims from other lanes and hands back what may not start any more,
and runs that have lost what they require are asked to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from perdure.declare.constraints import Constraint, TimeWindow
from perdure.run.enqueuer import Enqueuer
from perdure.run.events import ConstraintChanged
from perdure.run.loop import Loop
from perdure.run.port import Tools
from perdure.run.slots import aside
from perdure.tasks.codec import clean_text
from perdure.tasks.constraints import Judgement, judged, next_look, satisfied

WHY_BYTES_MAX = 300
"""Of what is told about a probe that raised."""


class Constraints:
    """The judgements of one worker; `tell` has others hear of what has changed.

    Attributes:
        satisfied: the names that hold; the beat's thread reads it, the event loop replaces it.
    """

    def __init__(
        self,
        declared: Sequence[Constraint],
        tools: Tools,
        enqueuer: Enqueuer,
        tell: Callable[[], None],
    ) -> None:
        self.satisfied: frozenset[str] = frozenset()
        self._holdings = tools.holdings
        self._enqueuer = enqueuer
        self._tell = tell
        self._bus = tools.bus
        self._probed = dict.fromkeys((one.name for one in declared), False)
        self._declared: Mapping[str, bool] = {}
        self._told: dict[str, bool] = {}
        self._probers = [_Prober(one, self._judged, tools) for one in declared]

    @property
    def known(self) -> bool:
        """Whether every probe has been judged once."""
        return all(prober.judgement is not None for prober in self._probers)

    def start(self) -> None:
        """Ask all probes at once, and again and again from then on."""
        for prober in self._probers:
            prober.loop.start()

    async def close(self) -> None:
        """Ask no more, not even to the end of a question that is under way."""
        for prober in self._probers:
            await prober.close()

    def declare(self, declared: Mapping[str, bool]) -> None:
        """What is said for the whole cluster, as the beat has heard; also looks at what runs."""
        if declared != self._declared:
            self._declared = declared
            self._update({})
        self._ask_to_stop()

    def _judged(self, name: str, holds: bool, why: str | None) -> None:
        self._probed[name] = holds
        self._update({name: why})

    def _update(self, why: Mapping[str, str | None]) -> None:
        before, self.satisfied = self.satisfied, satisfied(self._probed, self._declared)
        judged_names = {p.name for p in self._probers if p.judgement is not None}
        for name in sorted(judged_names | self._declared.keys() | self._told.keys()):
            holds = name in self.satisfied
            if self._told.get(name) is not holds:
                self._told[name] = holds
                self._bus.emit(ConstraintChanged(name=name, satisfied=holds, why=why.get(name)))
        if self.satisfied != before:
            self._enqueuer.satisfy(self.satisfied)
            self._ask_to_stop()
            self._tell()

    def _ask_to_stop(self) -> None:
        """Of what runs, that which has lost something it requires; also what began meanwhile."""
        for run in list(self._holdings.running.values()) if self._enqueuer.lanes.may_halt else ():
            lost = self._enqueuer.lanes.lacks(run.claimed.lane)
            if lost and not run.deadline_passed:
                run.ask(f"constraint:{lost[0]}")


class _Prober:
    """Asks one probe, in a thread unless it is a coroutine function, one question at a time."""

    def __init__(
        self,
        constraint: Constraint,
        heard: Callable[[str, bool, str | None], None],
        tools: Tools,
    ) -> None:
        self.name = constraint.name
        self.judgement: Judgement | None = None
        self.loop = Loop(f"constraint {constraint.name}", self.once, bus=tools.bus, rng=tools.rng)
        self._constraint = constraint
        self._heard = heard
        self._holdings = tools.holdings
        self._question: asyncio.Future[object] | None = None

    async def once(self) -> float:
        """Ask once; in how many seconds to ask again."""
        said, why = await self._ask()
        at, debounce = time.monotonic(), self._constraint.debounce
        before = self.judgement
        self.judgement = now = judged(before, said=said, at=at, debounce=debounce)
        if before is None or before.holds != now.holds:
            self._heard(self.name, now.holds, why)
        return next_look(now, at=at, every=self._constraint.every, debounce=debounce)

    async def close(self) -> None:
        """End, and let go of a question that has no answer yet."""
        await self.loop.cancel()
        if self._question is not None:
            self._question.cancel()

    async def _ask(self) -> tuple[bool, str | None]:
        """What the probe says, and why it is taken for a no if it did not say so."""
        every = self._constraint.every
        late = f"it took longer than {every:g} s"
        if self._question is not None and not self._question.done():
            return False, late
        self._question = question = self._put()
        await asyncio.wait([question], timeout=every)
        if not question.done():
            if self._constraint.is_async:
                question.cancel()
            # Its answer comes too late, whatever it is.
            question.add_done_callback(lambda late: late.cancelled() or late.exception())
            return False, late
        if question.cancelled():
            return False, "it was cancelled"
        error = question.exception()
        if error is not None:
            text = clean_text(error, WHY_BYTES_MAX)
            return False, f"{type(error).__name__}: {text}"
        said = question.result()
        return said is True, None if isinstance(said, bool) else f"it said {type(said).__name__}"

    def _put(self) -> asyncio.Future[object]:
        probe = self._constraint.probe
        if isinstance(probe, TimeWindow):
            moment = datetime.fromtimestamp(self._holdings.now(), UTC)
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            answer.set_result(probe.holds_at(moment))
            return answer
        if self._constraint.is_async:
            return asyncio.ensure_future(_answered(cast("Callable[[], Awaitable[object]]", probe)))
        function = cast("Callable[[], object]", probe)
        return aside(function, f"perdure {self.loop.name}")


async def _answered(probe: Callable[[], Awaitable[object]]) -> object:
    try:
        return await probe()
    except SystemExit as error:  # it would end the event loop, and the worker with it
        raise RuntimeError(repr(error)) from None
