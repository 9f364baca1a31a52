"""TaskContext: one run on the event loop, as its handler sees it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import TypeVarTuple, Unpack, override

from perdure.declare.definition import TaskDefinition
from perdure.declare.inputs import Inputs
from perdure.declare.kind import Enqueued, EnqueueOptions, NewTask, TaskKind
from perdure.declare.ports import RunPort
from perdure.declare.state import NOT_GIVEN, M, RunState, X
from perdure.declare.steps import Step, payload_of, returned_by
from perdure.declare.stop import Stop
from perdure.tasks.places import Claimed, Saved
from perdure.tasks.policies import RetryDefaults

if TYPE_CHECKING:
    import psycopg

    from perdure.declare.kind import CallersConnection

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ChildM = TypeVar("ChildM")
ChildX = TypeVar("ChildX")


class TaskContext(RunState[M, X]):
    """One run of a task whose handler is async.

    M is the type of the metadata, X that of the execution metadata.
    """

    __slots__ = ("_port", "_saving", "_stop")

    def __init__(
        self, definition: TaskDefinition, claimed: Claimed, metadata: M, port: RunPort
    ) -> None:
        super().__init__(definition, claimed, metadata)
        self._port = port
        self._stop: Stop | None = None
        self._saving: asyncio.Lock | None = None

    @property
    def stop(self) -> Stop:
        """Whether, and why, this run has been asked to stop."""
        if self._stop is None:
            self._stop = Stop()
        return self._stop

    @asynccontextmanager
    async def transaction(
        self, *, result: object = NOT_GIVEN
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A transaction that commits the handler's writes and the checkpoint, or neither.

        With `result` it also completes the task: whatever the handler returns later is ignored. On
        rollback the execution metadata in memory is what it was at the entry.

        Raises:
            LeaseLost: the task has another holder; nothing was written.
            InvalidArgument: a transaction of this run is open already.
            UnencodableValue, TooLarge: the execution metadata, or the result, cannot be stored.
        """
        entry, saved = self.memory.enter(), None
        self._explicit = True
        async with AsyncExitStack() as last:
            try:
                async with self._port.transaction() as connection:
                    entry.connection = connection
                    yield connection
                    if result is not NOT_GIVEN:
                        entry.result = self._encoded(result)
                    # Kept until the commit: nothing older may be written over this checkpoint.
                    await last.enter_async_context(self._lock)
                    saved = self.memory.as_it_stands()
                    if entry.result is None:
                        await self._port.save_on(connection, saved)
                    else:
                        await self._port.complete_on(connection, entry.result, saved)
            except BaseException:
                self.memory.leave(None)
                raise
            self.memory.leave(saved)
            self._has_ended(entry.result, certain=True)

    async def checkpoint(self, *, on: CallersConnection | None = None) -> None:
        """Save the execution metadata as it is now; durable on return.

        With `on`, a connection or session of the caller's, it is saved if that commits; until it
        has ended, a plain checkpoint or a step would wait for it. With the connection of
        `transaction()` nothing is left to do: that saves at its end.

        Raises:
            LeaseLost: the task has another holder; nothing was written.
            InvalidArgument: without `on`, while a transaction of this run is open.
            UnencodableValue, TooLarge: the execution metadata cannot be stored.
        """
        if on is not None:
            self._explicit = True
            if self._own(on) is None:
                async with self._lock:
                    await self._port.save_on(on, self.memory.as_it_stands())
            return
        async with self._lock:
            saved = self._outside("checkpoint()")
            await self._port.save(saved, self._explicit)
            self.memory.was_saved(saved)

    async def complete(self, result: object, *, on: CallersConnection) -> None:
        """End the task in the transaction of `on`; what the handler returns later is ignored.

        After a rollback the run goes on as if this had not been called.

        Raises:
            LeaseLost: the task has another holder.
            UnencodableValue, TooLarge: result or execution metadata cannot be stored.
        """
        text = self._encoded(result)
        self._explicit = True
        if (entry := self._own(on)) is not None:
            entry.result = text
            return
        async with self._lock:
            await self._port.complete_on(on, text, self.memory.as_it_stands())
        self._has_ended(text, certain=False)

    @overload
    def step(self, name: str, /) -> Step[Any]: ...

    @overload
    def step(self, name: str, /, *, returns: type[T]) -> Step[T]: ...

    @overload
    def step(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        /,
        *args: *Ts,
        returns: type[T] | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def step(
        self,
        name: str,
        fn: Callable[[Unpack[Ts]], T],
        /,
        *args: *Ts,
        returns: type[T] | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    def step(
        self,
        name: str,
        fn: Callable[..., Any] | None = None,
        /,
        *args: object,
        returns: Any = None,
    ) -> Any:
        """Do something once, whatever becomes of the run.

        Used as `await context.step(name, fn, *args)`, or `async with step(name)`.

        The value is saved, durably, before it is returned; in later runs it is read, and `fn` is
        not called. It has the type that `returns` says, else the one that `fn` is annotated to
        return; the value comes back as JSON gives it, in the first run, too. A plain `fn` is
        called on the event loop and must not block.

        Raises:
            InvalidArgument: the name was used before in this run, or a type is unusable.
            UnencodableValue, TooLarge: the value cannot be stored.
            LeaseLost: the task has another holder.
        """
        if fn is None:
            return Step(self, name, Any if returns is None else returns)
        return self._step(name, fn, args, returns)

    async def _step(
        self, name: str, fn: Callable[..., Any], args: tuple[object, ...], returns: Any
    ) -> Any:
        payload = payload_of(returned_by(fn) if returns is None else returns)
        text = self.begin_step(name)
        if text is None:
            value = fn(*args)
            text = payload.dump(await value if inspect.isawaitable(value) else value)
            await self.keep_step(name, text)
        return payload.load(text)

    async def keep_step(self, name: str, value: str) -> None:
        """For the runtime: save the value of a step, JSON text, durably."""
        async with self._lock:
            saved = self.memory.with_step(name, value)
            await self._port.save(saved, self._explicit)
            self.memory.step_was_saved(name, value, saved)

    @overload
    async def enqueue(
        self,
        task: TaskKind[None, ChildX, Any, Any],
        metadata: None = None,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[ChildX]],
    ) -> Enqueued: ...

    @overload
    async def enqueue(
        self,
        task: TaskKind[ChildM, ChildX, Any, Any],
        metadata: ChildM,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[ChildX]],
    ) -> Enqueued: ...

    @overload
    async def enqueue(
        self,
        task: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        on: CallersConnection | None = None,
        **options: Unpack[EnqueueOptions[Any]],
    ) -> Enqueued: ...

    async def enqueue(
        self,
        task: Any,
        metadata: Any = None,
        *,
        on: CallersConnection | None = None,
        **options: Any,
    ) -> Enqueued:
        """Enqueue another task, if this run still holds its own; in the transaction of `on`.

        Raises:
            LeaseLost: the task has another holder; nothing was enqueued.
            UnencodableValue, InvalidArgument, TooLarge: the new task is not acceptable.
        """
        return await self._port.enqueue(NewTask(task, metadata, **options), on)

    async def inputs(self) -> Inputs:
        """What the tasks that this one follows have come to; read from the database each time."""
        return Inputs.of(await self._port.inputs())

    @property
    def port(self) -> RunPort:
        """For the runtime, and for singletons: what a run can do besides."""
        return self._port

    @property
    def _lock(self) -> asyncio.Lock:
        if self._saving is None:
            self._saving = asyncio.Lock()
        return self._saving

    @property
    @override
    def _retry_defaults(self) -> RetryDefaults:
        return self._port.retry_defaults

    @property
    @override
    def _is_late(self) -> bool:
        return self._port.deadline_passed

    @override
    def _report(self, progress: str) -> None:
        self._port.report(progress)

    @override
    def _save_soon(self, saved: Saved) -> None:
        self._port.save_soon(saved)
