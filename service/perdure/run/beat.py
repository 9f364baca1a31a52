"""Loop in its own thread on its own connection: beat, LISTEN, and the chores it is told to do.

A handler that blocks the event loop blocks neither. The lease is counted from the sending of the
last good beat, by the monotonic clock; the event loop watches its end, because a beat may hang.
What the beat hears goes to the event loop as one value; what it is told to do for all is done
between two beats, in small turns.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from perdure.errors import PerdureError
from perdure.run.bus import Bus
from perdure.run.chores import Counts
from perdure.run.duties import Duties
from perdure.run.events import (
    BeatFailed,
    DatabaseBack,
    DatabaseLost,
    LoopFailed,
)
from perdure.run.loop import BACKOFF_SECONDS_MAX, Backoff
from perdure.settings import Settings
from perdure.store import workers
from perdure.store.database import Database, SyncSession
from perdure.store.faults import describe, is_transient
from perdure.store.upkeep import Keep
from perdure.store.workers import Beat, Registration
from perdure.tasks.places import LeaseId

PROMISE_SECONDS_MIN = 0.05
"""A look sooner than this is too near to be relied on: the next one is promised instead."""


class Held(NamedTuple):
    """What a beat says of its process: the tasks that run, the leases held, what is wrong with it,
    and the constraints that hold for it."""

    running: Sequence[int]
    leases: Sequence[LeaseId]
    problem: str | None
    satisfied: frozenset[str]


class Hooks(NamedTuple):
    """What the beat asks of its worker; all but the first are called in the beat's thread and
    hand over to the event loop.

    holdings: what is to be said of this process.
    heard: a beat came back. counts: takes what has ended since the last call.
    woken: there may be work. reborn: a new id, after the worker's row was gone.
    """

    holdings: Callable[[], Held]
    heard: Callable[[Beat, float], None]
    counts: Callable[[], Counts]
    woken: Callable[[], None]
    listening: Callable[[bool], None]
    reborn: Callable[[int], None]


class Pace(NamedTuple):
    """The settings that a beat reads at each turn, in seconds."""

    beat_interval: float
    lease_seconds: float
    keep: Keep
    wakeups: bool
    slots: int

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        """Read them from the settings."""
        execution, keep = settings.execution, settings.retention
        return cls(
            beat_interval=execution.beat_interval.total_seconds(),
            lease_seconds=execution.lease_duration.total_seconds(),
            keep=Keep(
                keep.completed.total_seconds(),
                keep.failed.total_seconds(),
                keep.cancelled.total_seconds(),
            ),
            wakeups=settings.scheduling.wakeups == "auto",
            slots=execution.concurrency,
        )


class BeatLoop:
    """One thread; `registration` makes the worker's row anew, under a new id each time."""

    def __init__(
        self,
        database: Database,
        registration: Callable[[], Registration],
        types: Sequence[Mapping[str, object]],
        *,
        channel: str,
        hooks: Hooks,
        pace: Callable[[], Pace],
        bus: Bus,
        rng: random.Random,
    ) -> None:
        self.turned_at = time.monotonic()
        self.worker_id = 0
        self.good_until = 0.0
        """Until when, by the monotonic clock, nobody else can have this worker's tasks."""
        self.sent_at = 0.0
        """When the last beat was sent that came back, and was served, by the monotonic clock."""
        self._database = database
        self._registration = registration
        self._types = types
        self._channel = channel
        self._hooks = hooks
        self._pace = pace
        self._bus = bus
        self._backoff = Backoff(rng)
        self._rng = rng
        self._session: SyncSession | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._reader, self._writer = -1, -1
        self._thread = threading.Thread(target=self._run, name="perdure beat", daemon=True)
        self._good_since: float | None = None
        self._heard = (0.0, 0.0)
        """When the last beat was answered, by the server's clock and by ours."""
        self._lost_since: float | None = None
        self._told_all = False
        self._listens = False
        self._slots = 0
        self._turn_began: float | None = None
        self._looks_at = 0.0
        self._duties = Duties(bus=bus, woken=hooks.woken, counts=hooks.counts, again=self.beat_now)

    @property
    def expects_work(self) -> bool:
        """Whether something that waits is due now: promotion is about to move it."""
        return self._duties.expects_work

    def start(self) -> None:
        """Register and begin; wait with `wait_ready`."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._thread.start()

    def wait_ready(self, timeout: float | None) -> None:
        """Wait until the worker is registered.

        Raises:
            PerdureError: it could not be registered, for a reason that will not pass by itself.
        """
        self._ready.wait(timeout)
        if self._failure is not None:
            raise self._failure

    def beat_now(self) -> None:
        """Have the next beat at once; nothing, if it does not run."""
        with suppress(OSError):  # the pipe is full, or there is none
            os.write(self._writer, b"b")

    def hang_up(self) -> None:
        """End a turn that has lasted for a lease; from another thread.

        A peer may take what is sent and never answer: no time-out of TCP is hurt then.
        """
        began, session = self._turn_began, self._session
        if began is None or session is None:
            return
        if time.monotonic() - began >= self._pace().lease_seconds:
            session.hang_up()

    def stop(self) -> None:
        """End after the turn that is under way: the row is taken away, the connection closed."""
        self._stopping.set()
        self.beat_now()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turn_began = time.monotonic()
            delay = self._turn()
            self._turn_began = None
            self.turned_at = time.monotonic()
            if not self._stopping.is_set():
                self._sleep(delay)
        self._leave()
        self._ready.set()

    def _turn(self) -> float:
        try:
            delay = self._once()
        except PerdureError as error:
            if not is_transient(error):
                return self._fail(error)
            return self._fail_for_now(error)
        except Exception as error:  # noqa: BLE001  (a thread that dies would take the lease along)
            if not is_transient(error):
                return self._fail(error)
            return self._fail_for_now(error)
        if self._lost_since is not None:
            seconds = time.monotonic() - self._lost_since
            self._bus.emit(DatabaseBack(loop="beat", seconds=seconds))
            self._lost_since, self._told_all = None, False
        self._backoff.reset()
        self._ready.set()
        return delay

    def _fail(self, error: BaseException) -> float:
        """A fault that will not pass: before the first beat it ends the start, later it is told."""
        if not self._ready.is_set():
            self._failure = error
            self._stopping.set()
            self._ready.set()
        elif isinstance(error, Exception):
            self._bus.emit(LoopFailed(loop="beat", error=error))
        self._drop_session()
        return self._pace().beat_interval

    def _fail_for_now(self, error: BaseException) -> float:
        left = self.good_until - time.monotonic()
        # After an outage the first to be back judges after two intervals: nobody may sleep longer.
        pause = self._backoff.next(min(BACKOFF_SECONDS_MAX, self._pace().beat_interval))
        if self._session is not None and not self._session.broken:
            # One statement was refused (a lock, a deadlock, a time-out); the connection is fine.
            return pause
        if self._lost_since is None:
            self._lost_since = time.monotonic()
            self._bus.emit(DatabaseLost(loop="beat", error=describe(error)))
        elif self.worker_id and not self._told_all:
            self._told_all = left <= 0
            self._bus.emit(BeatFailed(error=describe(error), seconds_left=max(0.0, left)))
        self._drop_session()
        self._good_since = None
        return pause

    def _once(self) -> float:
        session = self._connected()
        pace = self._pace()
        if not self.worker_id:
            self._register(session)
        held = self._hooks.holdings()
        sent = time.monotonic()
        # A look that was promised is kept: what is written meanwhile relies on it.
        if not PROMISE_SECONDS_MIN <= self._looks_at - sent <= pace.beat_interval:
            self._looks_at = sent + pace.beat_interval * (1 - 0.1 * self._rng.random())
        heard = workers.beat(
            session, self.worker_id, running=held.running, lease_seconds=pace.lease_seconds,
            held=held.leases, problem=held.problem, looks_in=self._looks_at - sent,
            satisfied=held.satisfied,
        )  # fmt: skip
        if not heard.alive:
            # Declared dead, perhaps falsely: whatever it held is somebody else's by now.
            self._register(session)
            self._hooks.reborn(self.worker_id)
            return 0.0
        self.good_until = sent + pace.lease_seconds
        # Not the middle of the round trip: a run may be dated late, but never before its claim.
        self._hooks.heard(heard, sent)
        self._listen(session, wanted=pace.wakeups)
        if self._slots != pace.slots:
            workers.resize(session, self.worker_id, pace.slots)
            self._slots = pace.slots
        before, self._heard = self._heard, (heard.at, time.monotonic())
        if self._good_since is None or _has_jumped(before, self._heard, heard.lease, pace):
            self._good_since = time.monotonic()
        # After an outage everybody looks dead: who judges must have beaten for two intervals.
        gapless = sent - self._good_since >= 2 * pace.beat_interval
        self._duties.serve(
            session, self.worker_id, heard,
            judges=gapless, lease_seconds=pace.lease_seconds, keep=pace.keep,
        )  # fmt: skip
        self.sent_at = sent
        return max(0.0, min(self._looks_at, self._duties.due_at) - time.monotonic())

    def _register(self, session: SyncSession) -> None:
        registration = self._registration()
        workers.register_types(session, self._types)
        workers.register(session, registration)
        self.worker_id, self._slots = registration.id, registration.slots

    def _connected(self) -> SyncSession:
        if self._session is None:
            self._session = self._database.sync_session(application="perdure beat")
            self._listens = False
        return self._session

    def _drop_session(self) -> None:
        if self._listens:
            self._listens = False
            self._hooks.listening(False)  # noqa: FBT003  (a callback's one argument)
        if self._session is not None:
            self._session.close()
            self._session = None

    def _listen(self, session: SyncSession, *, wanted: bool) -> None:
        wanted = wanted and not self._database.pooled
        if wanted != self._listens:
            session.listen((self._channel, f"{self._channel}_mail"), on=wanted)
            self._listens = wanted
            self._hooks.listening(wanted)

    def _sleep(self, delay: float) -> None:
        """Wait for the next beat, or mail, or to be told; a wake-up for work does not end it."""
        until = time.monotonic() + delay
        # What came with the answer to a statement has left the socket: select would not show it.
        if self._listens and self._hears_mail():
            return
        while (left := until - time.monotonic()) > 0:
            # Not select, which knows no number above 1023.
            watched = select.poll()
            watched.register(self._reader, select.POLLIN)
            if self._session is not None and self._listens:
                watched.register(self._session.fileno(), select.POLLIN)
            readable = [file for file, _ in watched.poll(left * 1000)]
            if self._reader in readable:
                os.read(self._reader, 4096)
                return
            if readable and self._hears_mail():
                return

    def _hears_mail(self) -> bool:
        """Notifications: work wakes the enqueuer; whether a beat should follow at once."""
        if self._session is None:
            return True
        try:
            channels = self._session.notifications()
        except Exception as error:  # noqa: BLE001  (told by the next turn, which reconnects)
            self._fail_for_now(error)
            return True
        if self._channel in channels:
            self._hooks.woken()
        return f"{self._channel}_mail" in channels

    def _leave(self) -> None:
        """The clean end: statistics, the worker's row, the connection. What fails is recovered."""
        try:
            if self._session is not None and self.worker_id:
                self._duties.count(self._session, self.worker_id)
                workers.deregister(self._session, self.worker_id)
        except Exception as error:  # noqa: BLE001  (the row is left to recovery)
            self._bus.emit(BeatFailed(error=describe(error), seconds_left=0.0))
        self._drop_session()
        reader, writer = self._reader, self._writer
        # Its number may be another file's from now on.
        self._reader, self._writer = -1, -1
        os.close(reader)
        os.close(writer)


def _has_jumped(
    before: tuple[float, float], now: tuple[float, float], lease: float, pace: Pace
) -> bool:
    """Whether the server's clock was set, or the server stood still, between two answers: then
    everybody looks dead, as after an outage. Who lives looks a beat and this gap old at most, and a
    beat is at most a third of a lease. Both by the server's clock and by ours, in seconds."""
    by_server, by_us = now[0] - before[0], now[1] - before[1]
    return abs(by_server - by_us) > lease / 4 or by_server > max(
        lease / 2, 1.5 * pace.beat_interval
    )
