"""What the beat has heard, or has not, and what follows for what this worker holds; on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVarTuple

from perdure.run.beat import Held, Hooks
from perdure.run.chores import Counts
from perdure.run.constraints import Constraints
from perdure.run.enqueuer import Enqueuer
from perdure.run.events import QueuePaused, QueueResumed
from perdure.run.port import Tools
from perdure.store.workers import Beat, Letter

AGAIN_SECONDS = 0.1
"""A beat this much later looks again for a task that was between two steps."""

Ts = TypeVarTuple("Ts")


class News:
    """Passes on what a beat says; it only asks runs to stop, and never ends one.

    Attributes:
        loop: the event loop, from the start on.
        draining: somebody wanted this worker to take no more tasks; that stays so.
        lease_is_over: no beat has come through for a whole lease: others may have the tasks.
    """

    def __init__(
        self,
        tools: Tools,
        enqueuer: Enqueuer,
        constraints: Constraints,
        again: Callable[[], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lease_is_over = False
        self.draining = False
        self._tools = tools
        self._holdings = tools.holdings
        self._enqueuer = enqueuer
        self._again = again
        self._constraints = constraints
        self._paused: Mapping[str, bool] = {}
        self._counted: Counts = {}

    def hooks(
        self,
        held: Callable[[], Held],
        reborn: Callable[[int], None],
    ) -> Hooks:
        """What the beat's thread calls: `held` and `counts` there, all else on the loop."""

        def born_again(worker_id: int) -> None:
            reborn(worker_id)
            self.reborn()

        return Hooks(
            holdings=held, heard=self._on_loop(self.heard), counts=self.counts,
            woken=self._on_loop(self._enqueuer.woken),
            listening=self._on_loop(self.listening), reborn=self._on_loop(born_again),
        )  # fmt: skip

    def _on_loop(self, function: Callable[[*Ts], object]) -> Callable[[*Ts], None]:
        """A callback for the beat's thread that runs `function` on the event loop."""

        def call(*arguments: *Ts) -> None:
            if self.loop is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(function, *arguments)

        return call

    def heard(self, beat: Beat, at: float) -> None:
        """What a beat has said; `at` is when it was sent, by the monotonic clock."""
        gone = set(beat.lost)
        self._enqueuer.drop(gone)
        if self.lease_is_over:
            self.lease_is_over = False
            self._enqueuer.hold(held=False)
        self._holdings.clock_offset = beat.at - at
        self.count()
        self._enqueuer.lanes_changed(beat.lanes)
        self._enqueuer.bound(beat.bounds)
        if beat.paused != self._paused:
            self._pause(beat.paused)
        if beat.draining and not self.draining:
            self.draining = True
            self._halt()
            self._ask_all("drain")
        self._constraints.declare(beat.constraints)
        told = self._tell(beat.letters)
        self._tools.cancelled.clear()
        self._tools.cancelled.update(t.task_id for t in self._enqueuer.buffer if t.task_id in told)
        for run in list(self._holdings.running.values()) if gone else ():
            if run.claimed.lease in gone and run.claimed.lease == run.lease:
                run.ask("lease_lost")

    def _tell(self, letters: Sequence[Letter]) -> set[int]:
        """Tell runs what they are told; which tasks are to be cancelled.

        A task with followers that does not run is about to begin, or has just ended: a beat a
        moment later finds it running, or has its followers released.
        """
        stopped: set[int] = set()
        for letter in letters:
            run = self._holdings.running.get(letter.task_id)
            if letter.kind != "follower":
                stopped.add(letter.task_id)
                if run is not None:
                    run.ask("cancelled" if letter.kind == "cancel" else "replaced")
            elif run is not None:
                run.claimed = run.claimed._replace(followed=True)
            elif self.loop is not None:
                self.loop.call_later(AGAIN_SECONDS, self._again)
        return stopped

    def counts(self) -> Counts:
        """What has ended since the last call, as `count` has put it ready; in the beat's thread."""
        ready, self._counted = self._counted, {}
        return ready

    def count(self) -> None:
        """Put ready what has ended, unless the last is still there."""
        if not self._counted:
            self._counted = self._tools.completer.take_counts()

    def listening(self, listening: bool) -> None:
        """Whether wake-ups are heard from now on."""
        self._enqueuer.listening = listening
        self._enqueuer.loop.wake()

    def lease_over(self) -> None:
        """No beat has come through for a whole lease: others may have the tasks by now."""
        self.lease_is_over = True
        self._enqueuer.hold(held=True)
        self._ask_all("lease_lost")

    def reborn(self) -> None:
        """This worker had been declared dead and has a new id: all it held is gone."""
        self._enqueuer.drop_all()
        self._ask_all("lease_lost")

    def _pause(self, paused: Mapping[str, bool]) -> None:
        for name in paused.keys() - self._paused.keys():
            self._tools.bus.emit(QueuePaused(queue=name))
        for name in self._paused.keys() - paused.keys():
            self._tools.bus.emit(QueueResumed(queue=name))
        self._paused = paused
        self._halt()
        for run in list(self._holdings.running.values()):
            if paused.get("*") or paused.get(self._enqueuer.lanes.queue_of(run.claimed.lane)):
                run.ask("paused")

    def _halt(self) -> None:
        """Take nothing of what is paused; drained, of nothing: as if all queues were."""
        self._enqueuer.pause({**self._paused, "*": True} if self.draining else self._paused)

    def _ask_all(self, reason: str) -> None:
        for run in list(self._holdings.running.values()):
            run.ask(reason)
