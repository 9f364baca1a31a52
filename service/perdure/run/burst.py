"""When a burst has nothing left to do; asked again and again while it runs."""

from __future__ import annotations

import time

from perdure.run.beat import BeatLoop
from perdure.run.completer import Completer
from perdure.run.constraints import Constraints
from perdure.run.enqueuer import Enqueuer
from perdure.run.holdings import Holdings
from perdure.run.slots import Slots


class Burst:
    """Knows that nothing is due: once nothing is here, a beat moves what has become due, and only
    then the lanes are read twice, because the first of these sweeps may have begun before.

    What ended between two looks may have left another task, or itself, to be done.
    """

    def __init__(
        self,
        holdings: Holdings,
        *,
        beat: BeatLoop,
        enqueuer: Enqueuer,
        completer: Completer,
        slots: Slots,
        constraints: Constraints,
    ) -> None:
        self._holdings = holdings
        self._beat = beat
        self._enqueuer = enqueuer
        self._completer = completer
        self._slots = slots
        self._constraints = constraints
        self._ended = 0
        self._quiet_at: float | None = None
        self._sweeps: int | None = None

    def is_done(self) -> bool:
        """Whether nothing is left that is due."""
        here = self._holdings.running or self._enqueuer.buffer or self._completer.backlog
        if here or self._slots.ended != self._ended or not self._constraints.known:
            self._ended = self._slots.ended
            self._quiet_at = self._sweeps = None
            return False
        if self._quiet_at is None:
            self._quiet_at = time.monotonic()
            self._beat.beat_now()
        if self._beat.sent_at <= self._quiet_at:
            return False
        if self._sweeps is None:
            self._sweeps = self._enqueuer.sweeps + 2
        if self._enqueuer.sweeps < self._sweeps:
            self._enqueuer.loop.wake()
            return False
        return not self._beat.expects_work
