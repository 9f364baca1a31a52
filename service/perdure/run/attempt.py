"""One run from claim to ending: decode, limits, handler, errors.

An attempt is handed in exactly once, to the completer, after its code has stopped; every other part
of the runtime only asks it to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.state import LeftBehind
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import InvalidPayload, NewerCheckpoint, TaskStopped, UnencodableValue
from perdure.run import report
from perdure.run.child_run import ChildRun
from perdure.run.completer import Ended, Handed
from perdure.run.events import TaskStarted, run_fields
from perdure.run.port import FencedRun, ThreadPort, Tools
from perdure.store.queue import Done, Saving, Settling
from perdure.tasks.checkpoints import load_execution_metadata
from perdure.tasks.decide import Ending, Run, decide_end, decide_start
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Claimed, Mail, Move, Ready, Waiting

OUTCOMES = (Success, Failure, Retry, Suspended, Cancelled)
ABANDONED_SECONDS = 1.0
"""A run that is given up at the end of the grace waits this long, so that its process is gone."""
HELD_MAIL = Mail(id=0, kind="cancel")


class Attempt(FencedRun):
    """One run of one task."""

    __slots__ = ("_abandoned", "_breaking", "_child", "_hard", "_task", "_timers", "_working",
                 "asked_at", "context", "definition", "reason")  # fmt: skip

    def __init__(self, claimed: Claimed, tools: Tools) -> None:
        super().__init__(claimed, tools)
        self.definition: TaskDefinition = tools.registry[claimed.name]
        self.context: Any = None
        self.reason: str | None = None
        """Why it has been asked to stop; None: it has not."""
        self.asked_at: float | None = None
        self._child: ChildRun | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._working = False
        self._hard = False
        self._breaking = False
        self._abandoned = False

    @property
    def stop_grace(self) -> float:
        """Seconds between the request to stop and the cancellation."""
        own = self.definition.stop_grace
        return self.tools.settings().execution.stop_grace.total_seconds() if own is None else own

    async def run(self) -> None:
        """Decide whether to begin, run the handler, hand in the ending."""
        claimed = self.claimed
        metadata, invalid = None, None
        try:
            metadata = self.definition.metadata.load(claimed.metadata)
            if claimed.execution_metadata is not None:
                self._check_checkpoint()
        except (InvalidPayload, NewerCheckpoint) as error:
            invalid = str(error)
        decision = self._begin(invalid)
        if isinstance(decision, Move):
            self._hand_in(decision, self._start_again(invalid), None)
            return
        self.started = time.monotonic()
        if decision.write_start and not await self._save_start():
            self.tools.holdings.gave(self.lease)
            report.lost(self)
            return
        await self._work(metadata, isolated=decision.isolated)

    def _begin(self, invalid: str | None) -> Run | Move:
        """Run it, or what becomes of it instead; the plain case costs a few comparisons."""
        claimed, tools = self.claimed, self.tools
        plain = (
            invalid is None
            and not claimed.recovered and not claimed.crashes
            and not claimed.suspect and not claimed.cancelled
        )  # fmt: skip
        if plain and claimed.version <= self.definition.version and not tools.cancelled:
            return Run(isolated=self.definition.handler.isolated, write_start=False)
        cancelled = claimed.cancelled or claimed.task_id in tools.cancelled
        mail: Sequence[Mail] = (HELD_MAIL,) if cancelled else ()
        tools.cancelled.discard(claimed.task_id)
        decision = self._decide_start(invalid, mail)
        if isinstance(decision, Run):
            apart = decision.isolated and tools.application is not None
            return decision._replace(isolated=apart or self.definition.handler.isolated)
        return decision

    def _decide_start(self, invalid: str | None, mail: Sequence[Mail]) -> Run | Move:
        execution = self.tools.settings().execution
        return decide_start(
            self.claimed,
            version=self.definition.version,
            mail=mail,
            isolate_after=execution.isolate_after,
            max_crashes=execution.max_crashes,
            invalid=invalid,
            on_exhausted=self.definition.on_exhausted,
        )

    def _start_again(self, invalid: str | None) -> Callable[[Sequence[Mail]], Move]:
        """Decides anew with the mail that `settle` has found; what may run after all goes back."""

        def decide(mail: Sequence[Mail]) -> Move:
            decision = self._decide_start(invalid, mail)
            if isinstance(decision, Run):
                return Move(to=Ready())
            return decision

        return decide

    def _check_checkpoint(self) -> None:
        """Read what was saved, so that a checkpoint which does not fit ends the task readably."""
        definition, claimed = self.definition, self.claimed
        load_execution_metadata(
            definition.execution_metadata, definition.version, definition.upgrades,
            claimed.execution_metadata, claimed.version,
        )  # fmt: skip

    async def _save_start(self) -> bool:
        """Write that the run has begun, before it does: a crash from now on is known."""
        saving = Saving(self.lease, self.claimed.task_id, self.attempt, self.started_at)
        return await self.tools.completer.save(saving)

    async def _work(self, metadata: Any, *, isolated: bool) -> None:
        tools, claimed, definition = self.tools, self.claimed, self.definition
        running = tools.holdings.running
        running[claimed.task_id] = self
        if tools.bus.heard("task.started"):
            tools.bus.emit(
                TaskStarted(task_id=claimed.task_id, name=claimed.name, attempt=self.attempt)
            )
        run_fields.set({"task_id": claimed.task_id, "name": claimed.name, "attempt": self.attempt})
        if not isolated:
            self._set_timers()
        try:
            if isolated:
                ending = await self._in_child()
            elif definition.handler.mode == "async":
                self.context = TaskContext(definition, claimed, metadata, self)
                ending = await self._guard(lambda: definition.handler.make()(self.context))
            else:
                ending = await self._in_thread(metadata)
        finally:
            for timer in self._timers:
                timer.cancel()
            running.pop(claimed.task_id, None)
        if not self._abandoned:
            self._end(ending)

    async def _in_child(self) -> Ending | None:
        self._child = ChildRun(self, self._set_timers)
        ending = await self._child.run()
        if ending is None:
            self._completed()
            return None
        return replace(ending, stop_reason=self.reason, hard_timeout=self._hard)

    async def _in_thread(self, metadata: Any) -> Ending | None:
        context = SyncTaskContext(
            self.definition, self.claimed, metadata, ThreadPort(self, asyncio.get_running_loop())
        )
        self.context = context

        def call() -> Any:
            return self.definition.handler.make()(context)

        return await self._guard(lambda: self.tools.threads.run(call))

    async def _guard(self, call: Callable[[], Awaitable[Any]]) -> Ending | None:
        """Run the code and sort what came out of it: the one `match` over a handler's end.

        None: a plain success has been handed in already.
        """
        self._task = asyncio.current_task()
        self._working = True
        exception: BaseException | None = None
        value: Any = None
        try:
            value = await call()
        except BaseException as error:  # noqa: BLE001  (whatever a handler raises is its ending)
            exception = error
        finally:
            self._working = False
            if self._task is not None:
                while self._task.cancelling():
                    self._task.uncancel()
        if exception is not None:
            return self._raised(exception)
        return self._returned(value if isinstance(value, OUTCOMES) else Success(value))

    def _raised(self, error: BaseException) -> Ending:
        unwound = self.reason is not None and isinstance(
            error, asyncio.CancelledError | TaskStopped
        )
        try:
            left = self.context.left_behind()
        except Exception:  # noqa: BLE001  (the last saved one holds)
            left = LeftBehind(None, self.claimed.explicit, None)
        return Ending(
            attempt=self.attempt,
            exception=error,
            stop_reason=self.reason,
            unwound=unwound,
            hard_timeout=self._hard,
            saved=left.saved if unwound else None,
            explicit=left.explicit,
        )

    def _returned(self, outcome: Outcome[Any, Any]) -> Ending | None:
        """Encode what the handler returned; the ending, or None if a transaction has ended it."""
        try:
            left: LeftBehind = self.context.left_behind()
        except (UnencodableValue, InvalidPayload) as error:
            return self._raised(error)
        if left.completed is not None:
            self.context.warn_if_ignored(outcome)
            if left.completed.certain:
                self._completed()
                return None
        result, typed, problem = report.encoded(
            self.definition, outcome, self.tools.settings().limits.result_bytes
        )
        return Ending(
            attempt=self.attempt,
            outcome=outcome,
            stop_reason=self.reason,
            result=result,
            error=typed,
            problem=problem,
            saved=left.saved,
            explicit=left.explicit,
        )

    def _completed(self) -> None:
        """A transaction of the handler's has completed the task: nothing is left to hand in."""
        self.tools.holdings.gave(self.lease)
        report.completed(self)

    def _end(self, ending: Ending | None) -> None:
        """Hand in: plainly where nothing but a result is to be written, else by a move."""
        if ending is None:
            return
        completer, claimed = self.tools.completer, self.claimed
        pending = completer.forget(claimed.task_id)
        if pending is not None:
            self.progress = self.progress or pending.progress
            ending = replace(ending, last_saved=pending.saved)
        plain = (
            isinstance(ending.outcome, Success)
            and ending.problem is None and ending.saved is None and self.progress is None
        )  # fmt: skip
        if plain:
            seconds = time.monotonic() - self.started
            result = ending.result or "null"
            done = Done(self.lease, claimed.task_id, self.attempt, self.started_at, result)
            lane = self.tools.queue_of(claimed.lane)
            completer.end(Ended(done, claimed.name, lane, seconds, self._refuse))
            return
        decide = self._decider(ending)
        self._hand_in(decide(()), decide, self.progress)

    def _decider(self, ending: Ending) -> Callable[[Sequence[Mail]], Move]:
        """Decides the end, again and again with the mail at hand; settings as they are then."""
        u = self.tools.rng.random()

        def decide(mail: Sequence[Mail]) -> Move:
            settings = self.tools.settings()
            return decide_end(
                self.claimed, ending, mail,
                retry=self.definition.retry, defaults=self.tools.retry_defaults(), u=u,
                on_exhausted=self.definition.on_exhausted,
                isolate_after=settings.execution.isolate_after,
                error_bytes_max=settings.limits.error_bytes,
            )  # fmt: skip

        return decide

    def _hand_in(
        self, move: Move, decide: Callable[[Sequence[Mail]], Move], progress: str | None
    ) -> None:
        self.tools.completer.hand_in(self._handed(move, decide, progress))

    def _handed(
        self, move: Move, decide: Callable[[Sequence[Mail]], Move], progress: str | None = None
    ) -> Handed:
        started_at = None if move.attempt is None else self.started_at
        settling = Settling(
            self.lease, self.claimed.task_id, started_at, move, progress, self._abandoned
        )
        return Handed(settling, decide, self._refused, lambda done: report.settled(self, done))

    def _refused(self, error: BaseException) -> Move:
        """The database refused the very value: the task ends with that as its error."""
        ending = Ending(
            attempt=self.attempt, outcome=Success(None), explicit=self.claimed.explicit,
            problem=f"the database cannot store what the run has left: {report.refusal(error)}",
        )  # fmt: skip
        return self._decider(ending)(())

    def _refuse(self, error: BaseException) -> Handed:
        move = self._refused(error)
        return self._handed(move, lambda _: move)

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
        elif self._working and self._task is not None:
            self._breaking = True
            if self.definition.handler.mode == "async":
                self._task.cancel()

    def abandon(self) -> None:
        """The last release: the task waits a second and runs elsewhere; nothing more is written."""
        self._abandoned = True
        ending = Ending(
            attempt=self.attempt, stop_reason=self.reason or "shutdown", unwound=True,
            explicit=True,
        )  # fmt: skip
        decide_plainly = self._decider(ending)

        def decide(mail: Sequence[Mail]) -> Move:
            move = decide_plainly(mail)
            if move.interruptions and not isinstance(move.to, Waiting) and move.run is not None:
                goal = Waiting(reason="interruption", delay=ABANDONED_SECONDS)
                return replace(move, to=goal)
            return move

        self._hand_in(decide(()), decide, self.progress)
