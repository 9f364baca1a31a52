"""How a run is asked to stop, and broken off: one protocol for every reason.

First it is asked: `context.stop` says so, with the reason. After its grace, async code gets
CancelledError and a child process is ended; a thread can only be asked. Nobody but the completer is
handed the ending, and only after the code has stopped.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from perdure.declare.definition import TaskDefinition
from perdure.run.child_run import ChildRun
from perdure.run.port import FencedRun, Tools
from perdure.tasks.places import Claimed


class StoppableRun(FencedRun):
    """The part of a run that others may ask to stop."""

    __slots__ = (
        "_breaking",
        "_child",
        "_hard",
        "_timers",
        "_working",
        "asked_at",
        "context",
        "definition",
        "reason",
        "slot",
    )

    def __init__(self, claimed: Claimed, tools: Tools, slot: asyncio.Task[Any]) -> None:
        super().__init__(claimed, tools)
        self.slot = slot
        """The task of the event loop that runs it."""
        self.definition: TaskDefinition = tools.registry[claimed.name]
        self.context: Any = None
        self.reason: str | None = None
        """Why it has been asked to stop; None: it has not."""
        self.asked_at: float | None = None
        """When, by the monotonic clock."""
        self._child: ChildRun | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._working = False
        self._hard = False
        self._breaking = False

    @property
    def stop_grace(self) -> float:
        """Seconds between the request to stop and the cancellation."""
        own = self.definition.stop_grace
        return self.tools.settings().execution.stop_grace.total_seconds() if own is None else own

    def _set_timers(self) -> None:
        timeouts = self.definition.timeouts
        if timeouts.soft is None and timeouts.hard is None:
            return
        loop = asyncio.get_running_loop()
        if timeouts.soft is not None:
            self._timers.append(loop.call_later(timeouts.soft, self.ask, "timeout"))
        if timeouts.hard is not None:
            self._timers.append(loop.call_later(timeouts.hard, self._time_out))

    def ask(self, reason: str, *, grace: float | None = None) -> None:
        """Ask the run to stop, and cancel it after its grace; a cancel wins over other reasons."""
        first = self.reason is None
        if not first and reason not in ("cancelled", "replaced"):
            if grace is not None:
                self._break_after(grace)
            return
        self.reason = reason
        self._tell(reason)
        if first:
            self.asked_at = time.monotonic()
        self._break_after(self.stop_grace if grace is None else grace)

    def _tell(self, reason: str) -> None:
        if self.context is not None:
            self.context.stop.ask(reason)
        if self._child is not None:
            self._child.ask(reason)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _break_after(self, seconds: float) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self._break_off))

    def _time_out(self) -> None:
        """The hard timeout: no grace any more."""
        if self.reason in (None, "timeout"):
            self._hard = True
            if self.reason is None:
                self.reason = "timeout"
                self.asked_at = time.monotonic()
                self._tell("timeout")
        self._break_off()

    def _break_off(self) -> None:
        """Throw CancelledError into async code, or end the child, once; a thread is only asked."""
        if self._breaking:
            return
        if self._child is not None:
            self._breaking = True
            self._child.break_off()
        elif self._working:
            self._breaking = True
            if self.definition.handler.mode == "async":
                self.slot.cancel()
