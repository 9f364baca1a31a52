"""Entered: one use of a factory, from its setup to its end, async or not, with or without ticks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from perdure.errors import LifespanError

T = TypeVar("T")
_END: Any = object()


class InThread(Protocol):
    """Calls a plain function in a thread, and waits for its end also when it is cancelled."""

    def __call__(self, function: Callable[[], T], /) -> Coroutine[Any, Any, T]:
        """What it returns or raises."""


class Entered:
    """What a factory has made, to be entered once, ticked, and left once.

    Plain code runs in threads, one call at a time; the factory itself is called on the event loop.
    With `ticks` a tick calls `tick()` of the value, or else goes on to the generator's next yield:
    then its end is a close, and not one more step.
    """

    def __init__(self, make: Callable[[], object], in_thread: InThread, *, ticks: bool) -> None:
        self._make = make
        self._in_thread = in_thread
        self._ticks = ticks
        self._made: Any = None
        self._entered = False
        self._method: Callable[[], object] | None = None

    @property
    def over(self) -> bool:
        """Whether no tick can follow: a generator that has raised has ended."""
        return not self._entered

    async def enter(self) -> Any:
        """Set it up; its value.

        Raises:
            TypeError: the factory gives nothing that can be entered, or ticked.
        """
        made: Any = self._make()
        self._made = made
        if isinstance(made, AsyncGenerator):
            value = await anext(made, _END)
            self._entered = value is not _END
        elif isinstance(made, Generator):
            value = await self._in_thread(self._step)
        elif hasattr(type(made), "__aenter__"):
            value = await made.__aenter__()
            self._entered = True
        elif hasattr(type(made), "__enter__"):
            value = await self._in_thread(self._enter_plainly)
        else:
            if inspect.iscoroutine(made):
                made.close()
            raise TypeError(
                f"the factory gave a value of type {type(made).__name__}: it must be a context"
                " manager, or a generator"
            )
        if value is _END:
            raise TypeError("the generator ended without a yield")
        if self._ticks:
            self._method = getattr(value, "tick", None)
            if self._method is None and not self._steps:
                raise TypeError(
                    f"there is nothing to tick: its value, of type {type(value).__name__}, has no"
                    " tick(), and the factory gives no generator"
                )
        return value

    async def tick(self) -> None:
        """One tick; raises what the code raises, and StopIteration's like as RuntimeError.

        Raises:
            LifespanError: what it has awaited was cancelled, and not the tick.
        """
        try:
            await self._tick()
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise LifespanError("what the tick has awaited was cancelled") from error

    async def _tick(self) -> None:
        if self._method is None:
            await self._go_on()
        elif inspect.iscoroutinefunction(self._method):
            await self._method()
        else:
            answer = await self._in_thread(self._method)
            if inspect.isawaitable(answer):
                await answer

    async def leave(self) -> None:
        """Clean up, as after a block that has ended well; nothing if it was not entered, or twice.

        Raises:
            RuntimeError: the generator yields once more.
        """
        if not self._entered:
            return
        self._entered = False
        made = self._made
        closes = self._ticks and self._method is None
        if isinstance(made, AsyncGenerator):
            if not closes and await anext(made, _END) is not _END:
                closes = True
                await made.aclose()
                raise RuntimeError("its generator yields twice: give tick=, or end it")
            await made.aclose()
        elif isinstance(made, Generator):
            await self._in_thread(made.close if closes else self._finish)
        elif hasattr(type(made), "__aenter__"):
            await made.__aexit__(None, None, None)
        else:
            await self._in_thread(self._leave_plainly)

    @property
    def _steps(self) -> bool:
        return isinstance(self._made, AsyncGenerator | Generator)

    async def _go_on(self) -> None:
        made, went_on = self._made, False
        try:
            if isinstance(made, AsyncGenerator):
                went_on = await anext(made, _END) is not _END
            else:
                went_on = await self._in_thread(self._step) is not _END
        finally:
            self._entered = went_on
        if not went_on:
            raise RuntimeError("its generator has ended: it has to yield once for each tick")

    def _step(self) -> Any:
        self._entered = False
        value = next(self._made, _END)
        self._entered = value is not _END
        return value

    def _enter_plainly(self) -> Any:
        value = self._made.__enter__()
        self._entered = True
        return value

    def _leave_plainly(self) -> None:
        self._made.__exit__(None, None, None)

    def _finish(self) -> None:
        if next(self._made, _END) is not _END:
            self._made.close()
            raise RuntimeError("its generator yields twice: give tick=, or end it")
