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
from perdure.declare.state import LeftBehind
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import InvalidPayload, NewerCheckpoint, TaskStopped, UnencodableValue
from perdure.run import report
from perdure.run.child_run import ChildRun
from perdure.run.completer import Ended, Handed
from perdure.run.events import LoopFailed, TaskStarted, run_fields
from perdure.run.port import ThreadPort, Tools
from perdure.run.stopping import StoppableRun
from perdure.store.queue import Done, Saving, Settling
from perdure.tasks.checkpoints import load_execution_metadata
from perdure.tasks.decide import Ending, Run, decide_end, decide_start
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Claimed, Mail, Move, Ready, Waiting

OUTCOMES = (Success, Failure, Retry, Suspended, Cancelled)
ABANDONED_SECONDS = 1.0
"""A run that is given up at the end of the grace waits this long, so that its process is gone."""
HELD_MAIL = Mail(id=0, kind="cancel")


class Attempt(StoppableRun):
    """One run of one task."""

    __slots__ = ("_abandoned", "_handed")

    def __init__(self, claimed: Claimed, tools: Tools) -> None:
        super().__init__(claimed, tools)
        self._abandoned = False
        self._handed = False

    async def run(self) -> None:
        """Decide whether to begin, run the handler, hand in the ending.

        A fault of ours on the way is told, and ends the run as a failure: no task is left behind.
        """
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  (a slot that dies would keep its task for ever)
            self.tools.bus.emit(LoopFailed(loop="slot", error=error))
            if not self._handed:
                self._end(
                    Ending(attempt=self.attempt, exception=error, explicit=self.claimed.explicit)
                )

    async def _run(self) -> None:
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
        running = self.tools.holdings.running
        running[claimed.task_id] = self
        try:
            if decision.write_start and not await self._save_start():
                self.tools.holdings.gave(self.lease)
                report.lost(self)
                return
            ending = await self._work(metadata, isolated=decision.isolated)
        finally:
            self._cancel_timers()
            running.pop(claimed.task_id, None)
        if not self._abandoned:
            self._end(ending)

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

    async def _work(self, metadata: Any, *, isolated: bool) -> Ending | None:
        """Call the handler; its ending, or None where nothing is left to hand in."""
        tools, claimed, definition = self.tools, self.claimed, self.definition
        if self.reason is not None:
            # Asked to stop while its start was being written.
            return Ending(attempt=self.attempt, stop_reason=self.reason, unwound=True)
        if tools.bus.heard("task.started"):
            tools.bus.emit(
                TaskStarted(task_id=claimed.task_id, name=claimed.name, attempt=self.attempt)
            )
        run_fields.set({"task_id": claimed.task_id, "name": claimed.name, "attempt": self.attempt})
        if isolated:
            return await self._in_child()
        self._set_timers()
        if definition.handler.mode == "async":
            self.context = TaskContext(definition, claimed, metadata, self)
            return await self._guard(lambda: definition.handler.make()(self.context))
        return await self._in_thread(metadata)

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
            exception = report.handlers_own(error)
        finally:
            self._working = False
            if self._task is not None:
                while self._task.cancelling():
                    self._task.uncancel()
        if exception is not None:
            return self._raised(exception)
        return self._returned(value if isinstance(value, OUTCOMES) else Success(value))

    def _raised(self, error: BaseException) -> Ending | None:
        """What an exception means; nothing, if a transaction has completed the task before."""
        unwound = self.reason is not None and isinstance(
            error, asyncio.CancelledError | TaskStopped
        )
        try:
            left = self.context.left_behind()
        except Exception:  # noqa: BLE001  (the last saved one holds)
            left = LeftBehind(None, self.claimed.explicit, None)
        if left.completed is not None and left.completed.certain:
            self._completed()
            return None
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
        self._handed = True
        self.tools.holdings.gave(self.lease)
        report.completed(self)

    def _end(self, ending: Ending | None) -> None:
        """Hand in: plainly where nothing but a result is to be written, else by a move."""
        if ending is None:
            return
        self._handed = True
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
        self._handed = True
        self.tools.completer.hand_in(self._settling(move, decide, progress))

    def _settling(
        self, move: Move, decide: Callable[[Sequence[Mail]], Move], progress: str | None = None
    ) -> Handed:
        started_at = None if move.attempt is None else self.started_at
        settling = Settling(
            self.lease, self.claimed.task_id, started_at, move, progress, self._abandoned
        )
        return Handed(settling, decide, self._refused, lambda done: report.settled(self, done))

    def _refused(self, error: BaseException) -> Callable[[Sequence[Mail]], Move]:
        """The database refused the very value: the task ends with that as its error."""
        ending = Ending(
            attempt=self.attempt, outcome=Success(None), explicit=self.claimed.explicit,
            problem=f"the database cannot store what the run has left: {report.refusal(error)}",
        )  # fmt: skip
        return self._decider(ending)

    def _refuse(self, error: BaseException) -> Handed:
        decide = self._refused(error)
        return self._settling(decide(()), decide)

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
