"""Wires the loops of one process; the stop protocol in one place.

Every process plays every role: it claims, runs, completes, beats, recovers, promotes. Stopping goes
in steps: claim no more, hand back what has not started, ask the handlers to stop, cancel those that
do not in time, save and put their tasks back, flush, let go of what still runs, take the row away.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from perdure.declare.constraints import Constraint
from perdure.declare.kind import NewTask
from perdure.declare.lifespans import Lifespan
from perdure.declare.registry import Registry
from perdure.run.attempt import Attempt
from perdure.run.beat import BeatLoop, Held, Pace
from perdure.run.burst import Burst
from perdure.run.bus import Bus
from perdure.run.children import Children
from perdure.run.completer import Completer
from perdure.run.constraints import Constraints
from perdure.run.demand import Demand, Tuning
from perdure.run.enqueuer import Enqueuer
from perdure.run.events import EndingsDropped, WorkerStarted, WorkerStopped, WorkerStopping
from perdure.run.holdings import Holdings
from perdure.run.lifespans import Lifespans
from perdure.run.loop import bounded, broken_off, ended, first
from perdure.run.news import News
from perdure.run.options import Options
from perdure.run.port import Tools
from perdure.run.putter import Putter
from perdure.run.singletons import Singletons
from perdure.run.slots import Slots, Threads
from perdure.run.watch import Watch
from perdure.settings import Settings
from perdure.store.database import Database
from perdure.store.inspect import require_durability
from perdure.store.operations import Added, Operation
from perdure.store.workers import Registration
from perdure.tasks.places import Claimed

STOP_MARGIN_SECONDS = 2.0
"""Of the shutdown's grace this much is kept for cancelling, saving and flushing."""
LAST_RELEASE_SECONDS = 1.0
"""How long the last release may take: after it the process ends whatever the database says."""
CLOSING_SECONDS_MIN = 0.25
"""To say goodbye there is so long at least, whatever else has taken its time."""
RECYCLE_SECONDS = 60.0
"""What runs in a process that is to be replaced may end by itself for so long."""
FIXED_CONNECTIONS = 3
"""Beat, claim and flush: handlers can never use these up."""


class Worker:
    """One worker inside a running event loop.

    `async with worker:` starts it and stops it; `await worker.stopped()` waits until somebody has
    called `stop`. Settings are read at each turn, so `settings` may be replaced while it runs.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        database: Database,
        *,
        bus: Bus,
        operation_of: Callable[[NewTask[Any, Any]], Operation[Added]],
        options: Options | None = None,
        schedules: Mapping[str, Operation[str]] | None = None,
        lifespans: Sequence[Lifespan[Any]] = (),
        constraints: Sequence[Constraint] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.options = options or Options()
        self.problem: str | None = None
        """Shown by `perdure workers`: what is wrong with this process, such as a refused reload."""
        self.abandoned = 0
        """Runs that had not ended when the worker was given up."""
        self.clean = True
        """Whether everything was let go of; False: a thread or a statement still hangs."""
        self.id = 0
        self._registry = registry
        self._database = database
        database.timeline.followed = True
        self._operation_of = operation_of
        self._putter = Putter(database, schedules or {}, bus)
        self._bus = bus
        self._rng = rng or random.Random()  # noqa: S311  (jitter, no secret)
        self._stopped = asyncio.Event()
        self._stop_reason: str | None = None
        self._stop_asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._begun = False
        self._stopping = False
        self._threads = Threads()
        self._lifespans = Lifespans(lifespans, self._threads, bus)
        self._wire(constraints)

    def _wire(self, constraints: Sequence[Constraint]) -> None:
        self._holdings = Holdings()
        kept = self._registry.singletons()
        # A burst ends when nothing is due: it holds nothing that does not end.
        self._singletons = Singletons(() if self.options.burst else kept, self._run)
        self._enqueuer = Enqueuer(
            self._database, [name for name in self._registry.names() if name not in kept],
            self._holdings, worker_id=lambda: self.id, demand=self._demand, filled=self._filled,
            tuning=lambda: Tuning.of(self.settings), queues=self.options.queues,
            singletons=self._singletons, bus=self._bus, rng=self._rng,
        )  # fmt: skip
        self._completer = Completer(
            self._database, lambda: self.id, self._holdings, bus=self._bus, rng=self._rng,
            batch=lambda: self.settings.scheduling.batch_size, relieved=self._relieved,
            queue_of=self._enqueuer.lanes.queue_of,
        )  # fmt: skip
        self._children = Children()
        self._tools = Tools(
            registry=self._registry, database=self._database, holdings=self._holdings,
            completer=self._completer, threads=self._threads, children=self._children,
            bus=self._bus, rng=self._rng, settings=lambda: self.settings, worker_id=lambda: self.id,
            queue_of=self._enqueuer.lanes.queue_of, operation_of=self._operation_of,
            application=self.options.application, lifespans=self._lifespans.values, cancelled=set(),
        )  # fmt: skip
        self._constraints = Constraints(constraints, self._tools, self._enqueuer, self.beat_now)
        self._news = News(self._tools, self._enqueuer, self._constraints, again=self.beat_now)
        self._slots = Slots(take=self._enqueuer.take, run=self._run, took=self._took)
        self._beat = BeatLoop(
            self._database, self._registration, self._registry.described(),
            channel=self._database.channel,
            hooks=self._news.hooks(held=self._held, reborn=self._reborn),
            pace=lambda: Pace.of(self.settings), bus=self._bus,
            rng=random.Random(self._rng.random()),  # noqa: S311  (jitter, no secret)
        )  # fmt: skip
        self._burst = Burst(
            self._holdings, beat=self._beat, enqueuer=self._enqueuer, completer=self._completer,
            slots=self._slots, constraints=self._constraints,
        )  # fmt: skip
        self._watch = Watch(
            self._holdings, bus=self._bus, stop=self.ask_to_stop,
            is_done=self._burst.is_done if self.options.burst else None,
            memory_most_mb=self.options.memory_most_mb, supervisor_pid=self.options.supervisor_pid,
            health_file=self.options.health_file,
            good_until=lambda: self._beat.good_until, lease_over=self._lease_over,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop("shutdown")

    @property
    def stop_reason(self) -> str | None:
        """Why the worker was asked to stop first; None: it was not."""
        return self._stop_reason

    @property
    def held(self) -> int:
        """Leases that this worker believes to hold."""
        return len(self._holdings.leases())

    @property
    def connections(self) -> int:
        """Connections to the server that this process may use."""
        return FIXED_CONNECTIONS + self.settings.persistence.pool_max_size

    async def start(self) -> None:
        """Set up the lifespans, register, listen, and begin to claim; asked to stop meanwhile, it
        begins nothing.

        Raises:
            LifespanError: a lifespan could not be set up.
            PerdureError: the schema is missing or of another version, or the login may not work.
        """
        self._news.loop = asyncio.get_running_loop()
        self._starting = starting = asyncio.create_task(self._begin(), name="perdure start")
        try:
            await first(starting, self._stop_asked.wait())
            if starting.done():
                starting.result()
        finally:
            if not starting.done():
                grace = self.settings.execution.shutdown_grace.total_seconds()
                patience = grace if self._lifespans.entered else LAST_RELEASE_SECONDS
                self.clean = await broken_off(starting, patience)

    async def _begin(self) -> None:
        await self._database.check_version()
        durability = await require_durability(
            self._database, unsafe_allowed=self.settings.persistence.allow_unsafe_durability
        )
        await self._putter.put()
        # Before it is registered: nobody counts on it, and no beat can lapse meanwhile.
        await self._lifespans.enter()
        try:
            await self._register()
        except BaseException:
            await self._lifespans.leave()
            raise
        self.id = self._beat.worker_id
        self._completer.loop.start()
        self._enqueuer.loop.start()
        self._constraints.start()
        self._slots.resize(self.settings.execution.concurrency)
        self._watching = asyncio.create_task(self._watch.run(), name="perdure watch")
        self._begun = True
        self._bus.emit(
            WorkerStarted(
                worker_id=self.id, pid=os.getpid(),
                concurrency=self.settings.execution.concurrency, connections=self.connections,
                durability=durability,
            )
        )  # fmt: skip

    async def _register(self) -> None:
        """Beat from now on, and put what the code declares and nobody holds."""
        self._beat.start()
        try:
            await asyncio.to_thread(self._beat.wait_ready, None)
            names = sorted(self._singletons.names)
            self._putter.put_singletons([self._operation_of(NewTask(name)) for name in names])
        except BaseException:
            # Nobody else knows of the thread, which would beat for a worker that never runs.
            await asyncio.to_thread(self._beat.stop)
            raise

    def ask_to_stop(self, reason: str = "shutdown") -> None:
        """Say that the worker should stop; `stopped()` returns then. Safe in a signal handler.

        For `recycle` what runs may end by itself, until a `shutdown` is asked for, too.
        """
        self._stop_reason = self._stop_reason or reason
        self._stop_asked.set()
        if reason == "shutdown":
            self._hurried.set()

    def beat_now(self) -> None:
        """Have the next beat at once: it hears of mail, of what is due, of what is paused."""
        self._beat.beat_now()

    async def stopped(self) -> None:
        """Wait until somebody has asked the worker to stop."""
        await self._stop_asked.wait()

    def reload(self, settings: Settings) -> None:
        """Take new settings: they hold from each loop's next turn on."""
        self.settings = settings
        self._database.idle_seconds = settings.execution.lease_duration.total_seconds()
        if not self._begun or self._stopping:
            return
        self._slots.resize(settings.execution.concurrency)
        self._enqueuer.loop.wake()
        self._beat.beat_now()

    async def stop(self, reason: str = "shutdown") -> int:
        """The stop protocol; a second call waits for the first.

        Returns:
            How many runs had to be abandoned: then the process should end without waiting for them.
        """
        if self._stopping:
            await self._stopped.wait()
            return self.abandoned
        self._stopping = True
        self._stop_reason = self._stop_reason or reason
        self._stop_asked.set()
        try:
            if self._starting is not None and not self._starting.done():
                await asyncio.wait([self._starting], timeout=LAST_RELEASE_SECONDS)
            if self._begun:
                await self._stop(self._stop_reason)
        finally:
            self._stopped.set()
        return self.abandoned

    async def _stop(self, reason: str) -> None:
        self._bus.emit(WorkerStopping(worker_id=self.id, reason=reason))
        self._enqueuer.closed = True
        if reason == "recycle":
            await self._wait_for_runs()
        began = time.monotonic()
        grace = self.settings.execution.shutdown_grace.total_seconds()
        for run in list(self._holdings.running.values()):
            run.ask("shutdown", grace=min(run.stop_grace, max(0.0, grace - STOP_MARGIN_SECONDS)))
        async with bounded(grace):
            await self._return_unstarted()
            await self._slots.idle()
            await self._singletons.idle()
            await self._completer.drained()
        await self.abandon()
        self._watching.cancel()
        self._putter.close()
        self._news.count()
        self.clean = False
        async with bounded(max(CLOSING_SECONDS_MIN, began + grace - time.monotonic())):
            await self._lifespans.leave()
        last = began + grace + LAST_RELEASE_SECONDS
        async with bounded(max(CLOSING_SECONDS_MIN, last - CLOSING_SECONDS_MIN - time.monotonic())):
            await self._constraints.close()
            await self._children.close()
            await asyncio.to_thread(self._beat.stop)
            self.clean = not self._lifespans.entered
        left = max(CLOSING_SECONDS_MIN, last - time.monotonic())
        self.clean &= await ended(left, self._enqueuer.close(), self._completer.close())
        self._threads.close()
        if self._completer.backlog:
            self._bus.emit(EndingsDropped(count=self._completer.backlog))
        self._bus.emit(
            WorkerStopped(
                worker_id=self.id, seconds=time.monotonic() - began, abandoned=self.abandoned,
                held=self._holdings.tasks,
            )
        )  # fmt: skip

    async def _wait_for_runs(self) -> None:
        """A process that is only to be replaced is in no hurry, unless it is to stop meanwhile."""

        async def finish() -> None:
            await self._return_unstarted()
            await self._slots.idle()

        finishing = asyncio.create_task(finish())
        await first(finishing, self._hurried.wait(), timeout=RECYCLE_SECONDS)
        finishing.cancel()

    async def _return_unstarted(self) -> None:
        await self._enqueuer.loop.stop()
        await self._enqueuer.give_back_all()

    async def abandon(self) -> None:
        """The last release: what still runs waits for a second and then runs elsewhere.

        After a second signal at once, else at the end of the grace; the caller ends the process.
        """
        self._children.kill()
        left = list(self._holdings.running.values())
        self.abandoned = len(left)
        for run in left:
            run.abandon()
        if left:
            async with bounded(LAST_RELEASE_SECONDS):
                await self._completer.drained()

    def _run(self, claimed: Claimed, slot: asyncio.Task[Any]) -> Awaitable[None]:
        return Attempt(claimed, self._tools, slot).run()

    def _filled(self) -> None:
        self._slots.fill()

    def _took(self) -> None:
        """A slot is free again."""
        most = self.options.tasks_most
        if most is not None and self._slots.ended >= most:
            self.ask_to_stop("recycle")
        if len(self._enqueuer.buffer) <= self._enqueuer.low:
            self._enqueuer.loop.wake()

    def _relieved(self) -> None:
        """The completer has written: there may be room for more."""
        if not self._enqueuer.buffer:
            self._enqueuer.loop.wake()

    def _demand(self) -> Demand:
        return Demand(
            concurrency=self.settings.execution.concurrency,
            busy=self._slots.busy,
            backlog=self._completer.backlog,
            rate=self._slots.rate(),
            open=self._stop_reason is None and not self._news.lease_is_over,
        )

    def _registration(self) -> Registration:
        execution = self.settings.execution
        return Registration.of_this_process(
            lease_seconds=execution.lease_duration.total_seconds(),
            queues=tuple(self.options.queues), names=self._registry.names(),
            slots=execution.concurrency, schedules=self._putter.keys,
            draining=self._news.draining,
        )  # fmt: skip

    def _held(self) -> Held:
        """For the beat's thread: copying a dict or a list is one step of the interpreter."""
        running = [r.claimed.task_id for r in list(self._holdings.running.values()) if r.begun]
        return Held(running, self._holdings.leases(), self.problem, self._constraints.satisfied)

    def _reborn(self, worker_id: int) -> None:
        self.id = worker_id

    def _lease_over(self) -> None:
        self._news.lease_over()
        self._beat.hang_up()
