"""Stop and SyncStop: how a run learns that it has been asked to stop, and why."""

from __future__ import annotations

import asyncio
import threading

from perdure.errors import TaskStopped

# A cancel that arrives during another stop wins over it.
_WINNING = frozenset({"cancelled", "replaced"})


class Stop:
    """The stop of one run on the event loop."""

    __slots__ = ("_event", "_reason")

    def __init__(self) -> None:
        self._reason: str | None = None
        self._event: asyncio.Event | None = None

    @property
    def requested(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why: shutdown, drain, cancelled, replaced, timeout, paused, lease_lost; None: not asked.

        A lost constraint is `constraint:` and its name.
        """
        return self._reason

    def check(self) -> None:
        """Go on if nothing was asked; else raise TaskStopped, which unwinds the run."""
        if self._reason is not None:
            raise TaskStopped(f"the run has been asked to stop: {self._reason}")

    async def wait(self) -> None:
        """Return once the run has been asked to stop."""
        if self._reason is None:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()

    def ask(self, reason: str) -> None:
        """Ask the run to stop; for the runtime, on the run's loop.

        The first reason stays, unless a later one is a cancel.
        """
        if self._reason is None or reason in _WINNING:
            self._reason = reason
        if self._event is not None:
            self._event.set()


class SyncStop:
    """The stop of one run in a thread or a child; may be asked from any thread."""

    __slots__ = ("_event", "_reason")

    def __init__(self) -> None:
        self._reason: str | None = None
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why, as in `Stop.reason`."""
        return self._reason

    def check(self) -> None:
        """Go on if nothing was asked; else raise TaskStopped, which unwinds the run."""
        if self._reason is not None:
            raise TaskStopped(f"the run has been asked to stop: {self._reason}")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run has been asked to stop, or for `timeout` seconds; whether it was."""
        return self._event.wait(timeout)

    def ask(self, reason: str) -> None:
        """Ask the run to stop; for the runtime. The first reason stays, unless a cancel follows."""
        if self._reason is None or reason in _WINNING:
            self._reason = reason
        self._event.set()
