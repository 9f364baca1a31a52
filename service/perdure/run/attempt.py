"""One run from claim to ending: decode, limits, handler, errors.

An attempt is handed in exactly once, to the completer, after its code has stopped; every other part
of the runtime only asks it to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from perdure.declare.context import TaskContext
from perdure.declare.definition import OUTCOMES, outcome_of
from perdure.declare.lifespans import provide
from perdure.declare.state import LeftBehind
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import InvalidPayload, NewerCheckpoint, TaskStopped, UnencodableValue
from perdure.run import report
from perdure.run.child_run import ChildRun
from perdure.run.completer import Handed
from perdure.run.events import LoopFailed, TaskStarted, run_fields
from perdure.run.port import Tools
from perdure.run.stopping import StoppableRun
from perdure.run.thread_port import ThreadPort
from perdure.store.queue import Saving, Settling
from perdure.tasks.checkpoints import load_execution_metadata
from perdure.tasks.decide import Ending, Run, decide_end, decide_start, expires
from perdure.tasks.outcomes import Success
from perdure.tasks.places import Claimed, Mail, Move, Ready, Saved, Waiting

BESIDE = Waiting(reason=None, delay=0.25)
"""Where a task waits whose run before has lost its lease and has not stopped yet in this worker."""
ABANDONED_SECONDS = 1.0
"""A run that is given up at the end of the grace waits this long, so that its process is gone."""
HERE = Run(isolated=False, write_start=False)
APART = Run(isolated=True, write_start=False)
HELD_MAIL = Mail(id=0, kind="cancel")


class Attempt(StoppableRun):
    """One run of one task."""

    __slots__ = ("_abandoned", "_handed", "begun", "ended", "result", "saved")

    def __init__(self, claimed: Claimed, tools: Tools, slot: asyncio.Task[Any]) -> None:
        super().__init__(claimed, tools, slot)
        self._abandoned = False
        self._handed = False
        self.begun = False
        """Whether its handler may have been called: then a death of the process is its crash."""
        self.result = "null"
        """JSON text of what a plain success has returned."""
        self.saved: Saved | None = None
        """The checkpoint that a plain success leaves, if it is not what was saved last."""
        self.ended = 0.0
        """When the handler of a plain success had returned, by the monotonic clock."""

    async def run(self) -> None:
        """Decide whether to begin, run the handler, hand in the ending.

        A fault of ours on the way is told, and ends the run as a failure: no task is left behind.
        """
        try:
            metadata, invalid = self._read()
            decision = self._begin(invalid)
            if isinstance(decision, Move):
                self._hand_in(decision, self._start_again(invalid, Ready()), None)
                return
            running, task_id = self.tools.holdings.running, self.task_id
            if task_id in running:
                # Under a lease that was lost: until its code has stopped it is seen, and asked.
                self._hand_in(Move(to=BESIDE), self._start_again(invalid, BESIDE), None)
                return
            self.started = time.monotonic()
            running[task_id] = self
            try:
                if decision.write_start and not await self._save_start():
                    self.tools.holdings.gave(self.lease, self.task_id)
                    report.lost(self)
                    return
                self.begun = True
                ending = await self._work(metadata, isolated=decision.isolated)
            finally:
                self._cancel_timers()
                del running[task_id]
            if not self._abandoned:
                self._end(ending)
        except Exception as error:  # noqa: BLE001  (a slot that dies would keep its task for ever)
            self.tools.bus.emit(LoopFailed(loop="slot", error=error))
            if not self._handed:
                self._end(
                    Ending(attempt=self.attempt, exception=error, explicit=self.claimed.explicit)
                )

    def _read(self) -> tuple[Any, str | None]:
        """The metadata, and why it or the checkpoint cannot be read: which of them, and where."""
        try:
            metadata = self.definition.metadata.load(self.claimed.metadata)
        except InvalidPayload as error:
            return None, f"metadata: {error}"
        if self.claimed.execution_metadata is not None:
            try:
                self._check_checkpoint()
            except (InvalidPayload, NewerCheckpoint) as error:
                return None, f"execution metadata: {error}"
        return metadata, None

    def _begin(self, invalid: str | None) -> Run | Move:
        """Run it, or what becomes of it instead; the plain case costs a few comparisons."""
        claimed, tools = self.claimed, self.tools
        if not (
            invalid is not None
            or claimed.recovered or claimed.crashes or claimed.suspect or claimed.cancelled
            or claimed.expires_at is not None
            or claimed.version > self.definition.version or tools.cancelled
        ):  # fmt: skip
            return APART if self.definition.handler.isolated else HERE
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
            expired=expires(self.claimed, self.tools.holdings.now()),
            on_exhausted=self.definition.on_exhausted,
        )

    def _start_again(
        self, invalid: str | None, back: Ready | Waiting
    ) -> Callable[[Sequence[Mail]], Move]:
        """Decides anew with the mail that `settle` has found; what may run after all goes back."""

        def decide(mail: Sequence[Mail]) -> Move:
            decision = self._decide_start(invalid, mail)
            if isinstance(decision, Run):
                return Move(to=back)
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
        saving = Saving(self.lease, self.task_id, self.attempt, self.started_at)
        return await self.tools.completer.save(saving)

    async def _work(self, metadata: Any, *, isolated: bool) -> Ending | str | None:
        """Call the handler; its ending, as text where it is a plain success, or None where
        nothing is left to hand in."""
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
        if tools.lifespans:
            provide(tools.lifespans)
        self._set_timers()
        handler = definition.handler
        self._working = True
        try:
            if handler.mode == "async":
                self.context = TaskContext(definition, claimed, metadata, self)
                value = await handler.make()(self.context)
            else:
                port = ThreadPort(self, asyncio.get_running_loop())
                self.context = SyncTaskContext(definition, claimed, metadata, port)
                value = await tools.threads.run(lambda: handler.make()(self.context))
        except BaseException as error:  # noqa: BLE001  (whatever a handler raises is its ending)
            return self._raised(report.handlers_own(error))
        finally:
            self._working = False
            while self.slot.cancelling():
                self.slot.uncancel()
        return self._returned(value)

    async def _in_child(self) -> Ending | None:
        self._child = ChildRun(self, self._set_timers)
        ending = await self._child.run()
        if ending is None:
            self._completed()
            return None
        return replace(ending, stop_reason=self.reason, hard_timeout=self._hard)

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

    def _returned(self, value: Any) -> Ending | str | None:
        """Encode what the handler returned; as text if it is a plain success."""
        most = self.tools.settings().limits.result_bytes
        # Whoever waits for its end is told with it.
        awaited = self.claimed.followed or self.claimed.limited
        if self.context.untouched and not awaited and not isinstance(value, OUTCOMES):
            text, problem = report.result_text(self.definition, value, most)
            if text is not None:
                return text
        outcome = outcome_of(value)
        try:
            left: LeftBehind = self.context.left_behind()
        except (UnencodableValue, InvalidPayload) as error:
            return self._raised(error)
        if left.completed is not None:
            self.context.warn_if_ignored(outcome)
            if left.completed.certain:
                self._completed()
                return None
        result, typed, problem = report.encoded(self.definition, outcome, most)
        # Whoever saves in transactions may have left one open: it is not to hold up all endings.
        is_plain = not (left.explicit and left.saved) and not awaited
        if result is not None and problem is None and is_plain:
            self.saved = left.saved
            return result
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
        self.tools.holdings.gave(self.lease, self.task_id)
        report.completed(self)

    def _end(self, ending: Ending | str | None) -> None:
        """Hand in: a plain success with many others in one statement, the rest by a move."""
        if ending is None:
            return
        self._handed = True
        pending = self.tools.completer.forget(self)
        if pending is not None:
            self.progress = self.progress or pending.progress
        if isinstance(ending, str):
            if self.progress is None:
                self.result = ending
                self.ended = time.monotonic()
                # It and its context know each other: let go, so that no collector has to find them.
                self.context = None
                self.tools.completer.end(self)
                return
            ending = Ending(
                attempt=self.attempt, outcome=Success(None), result=ending, saved=self.saved
            )
        elif pending is not None:
            ending = replace(ending, last_saved=pending.saved)
        decide = self._decider(ending)
        self._hand_in(decide(()), decide, self.progress)

    def _decider(self, ending: Ending) -> Callable[[Sequence[Mail]], Move]:
        """Decides the end, again and again with the mail at hand; settings as they are then."""
        u, over = self.tools.rng.random(), self.claimed.expires_at

        def decide(mail: Sequence[Mail]) -> Move:
            settings = self.tools.settings()
            return decide_end(
                self.claimed, ending, mail,
                retry=self.definition.retry, defaults=self.tools.retry_defaults(), u=u,
                on_exhausted=self.definition.on_exhausted,
                isolate_after=settings.execution.isolate_after,
                expired=over is not None and over <= self.tools.holdings.now(),
                error_bytes_max=settings.limits.error_bytes,
            )  # fmt: skip

        return decide

    def _hand_in(
        self, move: Move, decide: Callable[[Sequence[Mail]], Move], progress: str | None
    ) -> None:
        self._handed = True
        self.tools.completer.hand_in(self._settling(move, decide, progress)._replace(run=self))

    def _settling(
        self, move: Move, decide: Callable[[Sequence[Mail]], Move], progress: str | None = None
    ) -> Handed:
        started_at = None if move.attempt is None else self.started_at
        settling = Settling(self.lease, self.task_id, started_at, move, progress, self._abandoned)
        return Handed(settling, decide, self._refused, lambda done: report.settled(self, done))

    def _refused(self, error: BaseException) -> Callable[[Sequence[Mail]], Move]:
        """The database refused the very value: the task ends with that as its error."""
        ending = Ending(
            attempt=self.attempt, outcome=Success(None), explicit=self.claimed.explicit,
            problem=f"the database cannot store what the run has left: {report.refusal(error)}",
        )  # fmt: skip
        return self._decider(ending)

    def refuse(self, error: BaseException) -> Handed:
        """What is written instead of a result that the database refuses."""
        decide = self._refused(error)
        return self._settling(decide(()), decide)

    def rewind(self) -> Handed:
        """Its end as that of a run that was broken off: what it had written may be gone."""
        ending = Ending(
            attempt=self.attempt, stop_reason=self.reason or "shutdown", unwound=True,
            explicit=self.claimed.explicit,
        )  # fmt: skip
        decide = self._decider(ending)
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
