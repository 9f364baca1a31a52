"""Scheduler: what an asynchronous program does with schedules."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from typing_extensions import Unpack

from perdure.client import schedule_requests as requests
from perdure.client.executor import Executor
from perdure.declare.kind import TaskKind
from perdure.declare.new_schedule import NewSchedule, PutPolicy, ScheduleOptions
from perdure.store import schedule_operations as operations
from perdure.store.schedule_views import FireView, Occurrence, ScheduleState, ScheduleView
from perdure.tasks.triggers import Trigger

if TYPE_CHECKING:
    from perdure.declare.kind import CallersConnection

M = TypeVar("M")


class Scheduler(Executor):
    """Puts, pauses, runs and shows schedules: of `TaskClient`."""

    @overload
    async def put_schedule(
        self,
        key: str,
        task: TaskKind[None, Any, Any, Any],
        trigger: Trigger,
        metadata: None = None,
        *,
        policy: PutPolicy = "update",
        keep_phase: bool = True,
        on: CallersConnection | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> str: ...

    @overload
    async def put_schedule(
        self,
        key: str,
        task: TaskKind[M, Any, Any, Any],
        trigger: Trigger,
        metadata: M,
        *,
        policy: PutPolicy = "update",
        keep_phase: bool = True,
        on: CallersConnection | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> str: ...

    @overload
    async def put_schedule(
        self,
        key: str,
        task: str,
        trigger: Trigger,
        metadata: Any = None,
        *,
        policy: PutPolicy = "update",
        keep_phase: bool = True,
        on: CallersConnection | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> str: ...

    async def put_schedule(
        self,
        key: str,
        task: Any,
        trigger: Trigger,
        metadata: Any = None,
        *,
        policy: PutPolicy = "update",
        keep_phase: bool = True,
        on: Any = None,
        **options: Any,
    ) -> str:
        """Make a schedule, or change it: created, updated, unchanged, kept, replaced.

        Args:
            key: its name; 1 to 500 bytes.
            task: a kind, or the name of a task.
            trigger: Every, Cron or Once.
            metadata: what each of its tasks is asked.
            policy: if the key is there: `update` (the default) leaves its phase, its pause and what
                runs alone; `keep` changes nothing; `replace` begins anew, and cancels what runs;
                `reject` raises KeyTaken.
            keep_phase: False: an interval begins anew now.
            on: your connection: it is part of that transaction.
            options: timing and what else its tasks have; see `ScheduleOptions`.

        Raises:
            InvalidArgument: what cannot be meant; field, value and remedy are named.
            KeyTaken: the key is there, and the policy is `reject`.
        """
        new = NewSchedule(key, task, trigger, metadata, cast("ScheduleOptions", options))
        entry = requests.schedule_entry(new, policy=policy, keep_phase=keep_phase)
        return await self._do(operations.put_schedule(entry), on)

    async def pause_schedule(self, key: str, *, on: CallersConnection | None = None) -> str:
        """Let nothing of it fire; what runs goes on: paused, already_paused, not_found.

        One that is finished or broken cannot be paused: it answers its state.
        """
        return await self._do(operations.pause_schedule(key), on)

    async def resume_schedule(
        self, key: str, *, catch_up: bool = False, on: CallersConnection | None = None
    ) -> str:
        """Let it go on with its next instant from now on: resumed, not_paused, not_found.

        With `catch_up` the instants of the pause are treated as any that are late.
        """
        operation = operations.resume_schedule(key, catch_up=catch_up)
        return await self._do(operation, on)

    async def run_schedule(
        self, key: str, *, force: bool = False, on: CallersConnection | None = None
    ) -> Occurrence:
        """Make one extra task now, also while it is paused; nothing else of it changes.

        It obeys `overlap` and says so (fired, queued, skipped; not_found), unless it is forced.
        """
        operation = operations.run_schedule(key, force=force)
        return await self._do(operation, on)

    async def override_next(
        self, key: str, at: datetime | None, *, on: CallersConnection | None = None
    ) -> str:
        """Have its next instant happen at another time, once; None takes that back.

        Answers set, not_found. A time in the past fires at once.
        """
        return await self._do(operations.override_next(key, at), on)

    async def delete_schedule(self, key: str, *, on: CallersConnection | None = None) -> str:
        """Remove it: deleted, not_found. Tasks that it has made go on."""
        return await self._do(operations.delete_schedule(key), on)

    async def schedules(self) -> list[ScheduleState]:
        """Every schedule, by key."""
        return await self._do(operations.schedule_states())

    async def get_schedule(self, key: str) -> ScheduleView | None:
        """Everything about one; None for an unknown one."""
        return await self._do(operations.schedule(key))

    async def schedule_fires(
        self, key: str, *, before: datetime | None = None, limit: int = 100
    ) -> list[FireView]:
        """What became of its instants, the newest first; `limit` 1 to 1,000, `before` for pages."""
        operation = requests.fires_of(key, before, limit)
        return await self._do(operation)

    async def preview_schedule(self, schedule: str | Trigger, count: int = 10) -> list[datetime]:
        """The next `count` instants (1 to 1,000) that will fire, in UTC; nothing changes.

        Of a schedule by its key, or of one that were made now with a trigger. They are the nominal
        ones: with jitter its tasks come later. A paused one is taken as if it were resumed now; one
        that is finished or broken has none.

        Raises:
            ScheduleNotFound: there is none of that key.
        """
        requests.check_count("count", count)
        if isinstance(schedule, str):
            timing = operations.schedule_timing(schedule)
            return requests.preview_row(schedule, await self._do(timing), count)
        now = await self._do(operations.clock())
        return requests.preview_trigger(schedule, now, count)
