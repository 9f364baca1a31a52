"""RunPort and SyncRunPort: the abilities that a runtime hands to a context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure.declare.kind import Enqueued, NewTask
from perdure.tasks.places import InputRow, Saved
from perdure.tasks.policies import RetryDefaults

if TYPE_CHECKING:
    import psycopg

    from perdure.declare.kind import CallersConnection

T = TypeVar("T")


class _Port(Protocol):
    """What needs no waiting. Everything is fenced: nothing is written once the lease is lost."""

    @property
    def retry_defaults(self) -> RetryDefaults:
        """The settings' part of the retry rules, as they are now."""

    @property
    def deadline_passed(self) -> bool:
        """Whether its `deadline_at` has passed."""

    def save_soon(self, saved: Saved) -> None:
        """Have it written with the next flush or beat; a later save of any kind replaces it."""

    def report(self, progress: str) -> None:
        """Have the progress, JSON text, written within a second; a lost lease is only logged."""


class RunPort(_Port, Protocol):
    """The abilities of one run on the event loop.

    The context lets one of `save`, `save_on`, `complete_on` go on at a time. LeaseLost is raised
    where the lease no longer holds the task, TooLarge where the checkpoint exceeds its limit.
    """

    async def save(self, saved: Saved, explicit: bool) -> None:
        """Write a checkpoint, durably; `explicit` as in `LeftBehind`."""

    def transaction(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Begin and fence on a connection of the pool; commit at the end, roll back on errors."""

    async def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """Write a checkpoint in the transaction of `on`, fenced; the run is explicit from now."""

    async def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """End the task in the transaction of `on` with a result (JSON text), fenced."""

    async def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """Enqueue a child, fenced; in the transaction of `on` if there is one."""

    async def inputs(self) -> Sequence[InputRow]:
        """What the tasks that this one follows have come to."""

    async def now(self) -> float:
        """The database's clock, as far as this process knows it: seconds of the epoch."""

    def has_raised(self, phase: str, error: Exception) -> None:
        """Say that a tick or the cleanup of a singleton has raised, and that the run goes on."""

    async def in_thread(self, function: Callable[[], T], /) -> T:
        """Call a plain function in a thread, and wait for its end also when cancelled."""


class SyncRunPort(_Port, Protocol):
    """The abilities of one run in a thread or a child: those of RunPort, without await."""

    def save(self, saved: Saved, explicit: bool) -> None:
        """As in RunPort."""

    def transaction(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """As in RunPort."""

    def save_on(self, on: CallersConnection, saved: Saved) -> None:
        """As in RunPort."""

    def complete_on(self, on: CallersConnection, result: str, saved: Saved) -> None:
        """As in RunPort."""

    def enqueue(self, task: NewTask[Any, Any], on: CallersConnection | None) -> Enqueued:
        """As in RunPort."""

    def inputs(self) -> Sequence[InputRow]:
        """As in RunPort."""
