"""Loop: asks plan, claims, and keeps what has not started, within a bound of number and age.

What is claimed waits in a buffer for a free slot. How much is claimed ahead follows the tasks:
short ones are fetched a fifth of a second ahead, so that a slot never waits for the database; long
ones not at all. What waits longer than a second, or may not start any more, goes back unharmed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from perdure.run.bounds import QueueBounds
from perdure.run.bus import Bus
from perdure.run.demand import Demand, Tuning
from perdure.run.events import LoopFailed, TasksClaimed
from perdure.run.gate import LOOK_SECONDS, Gate
from perdure.run.holdings import Holdings
from perdure.run.lanes import Lanes
from perdure.run.loop import Loop
from perdure.run.reconciler import Reconciler
from perdure.run.singletons import Singletons
from perdure.store import queue
from perdure.store.database import Database, Session
from perdure.store.faults import is_transient
from perdure.tasks.places import Claimed, LeaseId
from perdure.tasks.plan import Pick, Positions, plan

AHEAD_SECONDS = 0.2
"""How long a stock the buffer holds, at the speed of late."""
AGE_SECONDS_MAX = 1.0
"""Longest stay in the buffer while no slot is free."""
IDLE_SECONDS = 5.0
"""Poll of an idle enqueuer whose LISTEN is healthy."""
RETURN_SECONDS = 0.05
"""Pause before what could not be handed back is tried again."""
GOODBYE_SECONDS = 1.0
"""How long closing the gate may take at the end."""
DOUBT_SECONDS = 0.5
"""Pause before leases are compared once more."""


class Enqueuer:
    """Owns one connection; `buffer` is what has been claimed and waits for a slot."""

    def __init__(
        self,
        database: Database,
        names: Sequence[str],
        holdings: Holdings,
        *,
        worker_id: Callable[[], int],
        demand: Callable[[], Demand],
        filled: Callable[[], None],
        tuning: Callable[[], Tuning],
        queues: Mapping[str, int | None],
        singletons: Singletons,
        bus: Bus,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = Loop("enqueuer", self.once, bus=bus, rng=rng)
        self.buffer: deque[Claimed] = deque()
        self.lanes = Lanes(names, queues, singletons)
        self.listening = False
        """Whether wake-ups are heard: then an idle enqueuer polls rarely."""
        self.closed = False
        """From now on nothing starts any more; what waits here goes back."""
        self.held = False
        """Nothing starts for now; set it with `hold`."""
        self.low = 0
        """With this many in the buffer, or fewer, it should be woken."""
        self.sweeps = 0
        """How often all lanes have been read to their end, and nothing was found."""
        self._database = database
        self._singletons = singletons
        self._gate = Gate(clock)
        self._holdings = holdings
        self._worker_id = worker_id
        self._demand = demand
        self._filled = filled
        self._tuning = tuning
        self._queues = queues
        self._bus = bus
        self._clock = clock
        self._positions = Positions()
        self._bounds = QueueBounds(queues, self.lanes.queue_of)
        self._session: Session | None = None
        self._timeline = database.timeline.number
        self._returning: list[Claimed] = []
        self._reconciler = Reconciler(database, holdings, worker_id, clock)
        self._stalled = False
        self._turn = 0
        self._came = 0
        self._taken = 0
        self._claimed_at: deque[tuple[float, int]] = deque()
        """When claims came, each with how many tasks had come by then."""

    def lanes_changed(self, version: int) -> None:
        """The beat has heard of lanes up to this number."""
        if self.lanes.changed(version):
            self.loop.wake()

    def pause(self, paused: Mapping[str, bool]) -> None:
        """From now on no claim of these queues begins; what waits here of them goes back."""
        self.lanes.pause(paused)
        self._filled()
        self.loop.wake()

    def satisfy(self, satisfied: Collection[str]) -> None:
        """From now on these constraints hold; what waits here and requires others goes back."""
        self.lanes.satisfy(satisfied)
        self._filled()
        self.loop.wake()

    def bound(self, bounds: Mapping[str, int]) -> None:
        """How many tasks of these queues run here at once, beside what this worker was told.

        Nothing that runs is stopped; what waits here beyond a bound goes back.
        """
        if bounds != self._bounds.heard:
            self._bounds.heard = bounds
            self._trim()
            self.loop.wake()

    def hold(self, *, held: bool) -> None:
        """Whether what waits here may start: not while others may have it by now."""
        self.held = held
        if not held:
            self._filled()

    def take(self) -> Claimed | None:
        """The next task for a free slot, if there is one."""
        if not self.buffer or self.closed or self.held or self._is_halted(self.buffer[0]):
            return None
        if self._timeline != self._database.timeline.number:
            return None
        self._stalled = False
        self._taken += 1
        return self.buffer.popleft()

    def drop(self, leases: Collection[LeaseId]) -> None:
        """These leases are lost: what waits here of them is somebody else's."""
        lost = [task for task in self.buffer if task.lease in leases]
        for task in lost:
            self._holdings.gave(task.lease, task.task_id)
        if lost:
            self._refill([task for task in self.buffer if task.lease not in leases])
        self._forget_returning(lambda task: task.lease in leases)

    def drop_all(self) -> None:
        """The worker has been declared dead: what it held is somebody else's."""
        self.drop({task.lease for task in (*self.buffer, *self._returning)})
        self._positions.reset()

    async def give_back_all(self) -> None:
        """Hand back whatever has not started; retried by the caller's time bound.

        A fault that will not pass is told, and what is left stays held.
        """
        while self.buffer or self._returning:
            try:
                await self._give_back(list(self.buffer))
            except Exception as error:  # noqa: BLE001  (a stop goes on, whatever happens)
                if not is_transient(error):
                    self._bus.emit(LoopFailed(loop=self.loop.name, error=error))
                    return
            if self._returning:
                # Away, or locked by somebody for a moment.
                await asyncio.sleep(RETURN_SECONDS)

    def woken(self) -> None:
        """There may be work: somebody has notified, or something has become due."""
        self._gate.hear()
        self._singletons.look_at = 0.0
        self.loop.wake()

    async def close(self) -> None:
        """Stop, in the middle of a turn if need be, and close the connection."""
        await self.loop.cancel()
        if self._session is not None:
            try:
                # In vain where the database is away: then it closes by itself, in time.
                with suppress(Exception):
                    async with asyncio.timeout(GOODBYE_SECONDS):
                        await self._gate.close(self._session)
            finally:
                await self._session.close()

    async def once(self) -> float | None:
        """One turn: hand back, plan, claim; how long to wait for the next."""
        session = await self._connected()
        if self._timeline != self._database.timeline.number:
            # What waits here was read from a server that another has taken over from.
            self._timeline = self._database.timeline.number
            await self._give_back(list(self.buffer))
        if self._returning:
            await self._return()
        await self._give_back_stale()
        delay = await self._look(session, self._tuning())
        if self._returning:
            return RETURN_SECONDS if delay is None else min(delay, RETURN_SECONDS)
        if self._holdings.doubts:
            return DOUBT_SECONDS if delay is None else min(delay, DOUBT_SECONDS)
        return delay

    async def _look(self, session: Session, tuning: Tuning) -> float | None:
        demand = self._demand()
        if not demand.open:
            await self._gate.close(session)
            return tuning.polling_delay
        await self.lanes.refresh(session)
        if self._singletons.names and self._clock() >= self._singletons.look_at:
            await self._claim_singletons(session, tuning)
        most = self._room(demand, tuning)
        if most <= 0:
            await self._gate.close(session)
            if self.buffer:
                return min(tuning.polling_delay, AGE_SECONDS_MAX / 2)
            return tuning.polling_delay if self._singletons.names else None
        found = await self._claim(session, most, tuning)
        if found:
            # What has come starts before anything else is asked of the database.
            await asyncio.sleep(0)
        await self._gate.after_look(session, found)
        if found or not self._positions.exhausted:
            return 0
        self.sweeps += 1
        return await self._idle(session, tuning)

    async def _claim(self, session: Session, most: int, tuning: Tuning) -> int:
        """Plan and claim; how many came."""
        now = self._clock()
        self._turn += 1
        picks = plan(
            self.lanes.served,
            self._positions,
            free=most,
            queue_free=self._bounds.free(self._running(), self.buffer),
            now=now,
            turn=self._turn,
            oldest_first_every=tuning.oldest_first_every,
            sweep_interval=tuning.sweep_interval,
        )
        if not picks:
            return 0
        claimed = await self._claim_at(session, picks, most)
        finished = self._clock()
        self._positions.observe(picks, [(c.lane, c.priority, c.task_id) for c in claimed], finished)
        if claimed:
            self.buffer.extend(self.lanes.marked(claimed))
            if self._bounds.heard:
                self._trim()
            self._came += len(claimed)
            self._claimed_at.append((finished, self._came))
            self._filled()
            if self._bus.heard("tasks.claimed"):
                self._bus.emit(TasksClaimed(count=len(claimed)))
        return len(claimed)

    async def _claim_singletons(self, session: Session, tuning: Tuning) -> int:
        """Claim those that nobody holds, whether a slot is free or not; how many came."""
        self._singletons.look_at = self._clock() + tuning.polling_delay
        picks = self._singletons.picks()
        if not picks:
            return 0
        claimed = await self._claim_at(session, picks, len(self._singletons.names))
        barred = self.closed or self.held or self._timeline != self._database.timeline.number
        back = [one for one in claimed if barred or self._is_halted(one)]
        self._singletons.begin([one for one in claimed if one not in back])
        if back:
            await self._give_back(back)
        return len(claimed)

    async def _claim_at(self, session: Session, picks: list[Pick], most: int) -> list[Claimed]:
        now = self._clock()
        try:
            claimed = await queue.claim(session, self._worker_id(), picks, most)
        except BaseException:
            self._holdings.doubt(session.backend_pid, now)
            raise
        if claimed:
            self._holdings.took(claimed)
        return claimed

    async def _idle(self, session: Session, tuning: Tuning) -> float:
        """Nothing to do: open the gate for wake-ups, then look once more before a long wait."""
        lanes = (*self.lanes.served, *self._singletons.lanes)
        if not self.listening or not lanes:
            await self._gate.close(session)
            return tuning.polling_delay
        if self._gate.restless():
            return min(LOOK_SECONDS, tuning.polling_delay)
        pause = max(IDLE_SECONDS, tuning.polling_delay)
        queues = sorted({lane.queue for lane in lanes})
        opened = await self._gate.open(session, queues, pause)
        if opened:
            found = await self._claim(session, self._room(self._demand(), tuning), tuning)
            if found or await self._claim_singletons(session, tuning):
                return 0
        return self._gate.pause(pause)

    def _room(self, demand: Demand, tuning: Tuning) -> int:
        """How many tasks may be claimed now; 0 while the stock is not low."""
        idle = demand.concurrency - demand.busy
        ahead = 0 if self._stalled else tuning.prefetch
        if ahead is None:
            ahead = min(int(demand.rate * AHEAD_SECONDS), 2 * tuning.batch_size)
        if demand.backlog > 4 * tuning.batch_size + demand.concurrency:
            return 0
        target = idle + ahead
        missing = target - len(self.buffer)
        self.low = target // 2
        if len(self.buffer) > self.low:
            return 0
        return max(0, min(missing, tuning.batch_size))

    def _running(self) -> Iterator[Claimed]:
        return (run.claimed for run in self._holdings.running.values())

    def _trim(self) -> None:
        """What waits here beyond the bounds of queues goes back, with the next turn."""
        surplus = {task.task_id for task in self._bounds.beyond(self._running(), self.buffer)}
        if surplus:
            self._returning += [task for task in self.buffer if task.task_id in surplus]
            self._refill([task for task in self.buffer if task.task_id not in surplus])

    async def _connected(self) -> Session:
        """The connection; after one was lost, or a claim has failed, what it took is found."""
        session = self._session
        if session is None or session.broken:
            if session is not None:
                # After a failover leases may be back, too.
                self._holdings.doubt(session.backend_pid, self._clock())
            self._session = session = await self._database.session(application="perdure claim")
            self._positions.reset()
            self._gate.forget()
        if self._holdings.doubts:
            await self._reconciler.compare(session)
        return session

    async def _give_back_stale(self) -> None:
        """Hand back what no slot took in time, and what may not start now."""
        while self._claimed_at and self._claimed_at[0][1] <= self._taken:
            self._claimed_at.popleft()
        if self._claimed_at and self._claimed_at[0][0] < self._clock() - AGE_SECONDS_MAX:
            demand = self._demand()
            if demand.busy >= demand.concurrency:
                count = self._claimed_at[0][1] - self._taken
                self._stalled = True
                await self._give_back([self.buffer[n] for n in range(min(count, len(self.buffer)))])
        if self.buffer and self.lanes.may_halt:
            halted = [task for task in self.buffer if self.lanes.halts(task.lane)]
            if halted:
                await self._give_back(halted)

    def _is_halted(self, task: Claimed) -> bool:
        return self.lanes.may_halt and self.lanes.halts(task.lane)

    async def _give_back(self, tasks: list[Claimed]) -> None:
        """Hand these back. None of them starts here any more, even if the answer is lost."""
        leaving = {task.task_id for task in tasks}
        self._returning += tasks
        self._refill([task for task in self.buffer if task.task_id not in leaving])
        await self._return()

    async def _return(self) -> None:
        session, tasks = await self._connected(), self._returning
        gone = set(await queue.hand_back(session, [(task.lease, task.task_id) for task in tasks]))
        if len(gone) < len(tasks):
            # Somebody has locked them for a moment, or an answer was lost and they are back.
            held = await queue.leases_of(session, self._worker_id())
            gone = {task.task_id for task in tasks if task.task_id not in held.get(task.lease, ())}
        self._forget_returning(lambda task: task.task_id in gone)

    def _forget_returning(self, gone: Callable[[Claimed], bool]) -> None:
        for task in self._returning:
            if gone(task):
                self._holdings.gave(task.lease, task.task_id)
        self._returning = [task for task in self._returning if not gone(task)]

    def _refill(self, tasks: list[Claimed]) -> None:
        self.buffer = deque(tasks)
        self._came, self._taken = len(tasks), 0
        self._claimed_at = deque([(self._clock(), len(tasks))] if tasks else [])
        if tasks:
            self._filled()
