"""The lifespans of a plain handler in a child: on a loop in a thread, beside the main thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from perdure.run.lifespans import Lifespans


class InThread:
    """A block in which they may be entered; at its end they have so many seconds to clean up."""

    def __init__(self, lifespans: Lifespans, seconds: float) -> None:
        self._lifespans = lifespans
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def enter(self) -> None:
        """Set them up.

        Raises:
            LifespanError: one could not be set up.
        """
        if self._lifespans.none:
            return
        self._loop = loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="perdure lifespans", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._lifespans.enter(), loop).result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop is None:
            return
        left: Future[None] = asyncio.run_coroutine_threadsafe(self._lifespans.leave(), self._loop)
        with suppress(TimeoutError):
            left.result(self._seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
