"""One run in a child process, as its worker sees it: what the handler asks for, and its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from perdure.run.children import Child
from perdure.run.pipe import Message, claimed_document, outcome_of, saved_of, settings_document
from perdure.run.port import FencedRun
from perdure.store.faults import describe
from perdure.tasks.decide import Ending

START_SECONDS = 60.0
"""A child that has not called the handler by then, for its imports, is killed: a failure."""


class ChildRun:
    """One run in a child process: answers what its handler asks for, and brings back its end.

    Every write of the handler's goes through `run`, and so through its fence; what it writes in
    transactions of its own it does itself, with the parameters that `run` has made. `began` is
    called when the handler is.
    """

    def __init__(self, run: FencedRun, began: Callable[[], None]) -> None:
        self._run = run
        self._began = began
        self._child: Child | None = None
        self._begun = False
        self._asked: list[str] = []
        self._broken = False
        self._explicit = run.claimed.explicit

    def ask(self, reason: str) -> None:
        """Pass on that the run should stop; also before the child is there."""
        self._asked.append(reason)
        if self._child is not None and self._begun:
            self._child.send({"what": "stop", "reason": reason})

    def break_off(self) -> None:
        """No more asking: SIGTERM, and SIGKILL two seconds later; at once before it has begun."""
        self._broken = True
        if self._child is not None and self._begun:
            self._child.break_off()
        elif self._child is not None:
            self._child.kill()

    async def run(self) -> Ending | None:
        """The ending without the stop's reason; None: a transaction has completed the task."""
        if self._run.tools.application is None:
            return self._failure(
                "ConfigurationError",
                f"the handler of {self._run.claimed.name!r} runs in a child process, which imports"
                " the service by itself: start the worker with -A module:service",
            )
        children, fresh = self._run.tools.children, self._run.claimed.crashes > 0
        while True:
            try:
                self._child, used = await children.take(fresh=fresh)
            except OSError as error:
                return self._failure("ChildProcessError", f"cannot start a process: {error}")
            try:
                end = await self._converse(self._child)
            except BaseException:
                await children.drop(self._child)
                raise
            if end is None:
                code = await children.gone(self._child)
                if used and not self._begun and not self._broken:
                    # It died between two tasks, which this one is not to blame for.
                    fresh = True
                    continue
                return self._died(code)
            # After a crash a task is to be alone, and what was broken off may be half done.
            if end["well"] and not self._broken and not fresh:
                await children.keep(self._child)
            else:
                await children.drop(self._child)
            return self._ended(end)

    async def _converse(self, child: Child) -> Message | None:
        """Have the child run the handler; what it says at the end, None: it has died."""
        tools = self._run.tools
        child.send({
            "what": "run",
            "application": tools.application,
            "path": sys.path,
            "settings": settings_document(tools.settings()),
            "claimed": claimed_document(self._run.claimed),
        })  # fmt: skip
        if self._broken:
            child.kill()
        late = asyncio.get_running_loop().call_later(START_SECONDS, child.kill)
        async with asyncio.TaskGroup() as group:
            while (message := await child.receive()) is not None:
                match message["what"]:
                    case "begun":
                        self._begun = True
                        late.cancel()
                        self._began()
                        for reason in self._asked:
                            child.send({"what": "stop", "reason": reason})
                    case "end":
                        late.cancel()
                        return message
                    case _:
                        group.create_task(self._answer(child, message))
        late.cancel()
        return None

    async def _answer(self, child: Child, message: Message) -> None:
        answer: Message = {"what": "answer", "id": message["id"]}
        try:
            answer["value"] = await self._do(message)
        except Exception as error:  # noqa: BLE001  (it is raised where it was asked for)
            answer |= {"error": type(error).__name__, "text": describe(error)}
        child.send(answer)

    async def _do(self, message: Message) -> Any:  # noqa: PLR0911  (an answer to each question)
        """What the handler's port asks for."""
        run, saved = self._run, saved_of(message.get("saved"))
        match message["what"]:
            case "retry_defaults":
                return asdict(run.retry_defaults)
            case "deadline_passed":
                return run.deadline_passed
            case "report":
                run.report(message["progress"])
            case "save_soon" if saved is not None:
                run.save_soon(saved)
            case "save" if saved is not None:
                self._explicit |= message["explicit"]
                await run.save(saved, message["explicit"])
            case "now":
                return await run.now()
            case "fence":
                return await self._fenced()
            case "checkpoint" if saved is not None:
                await run.saves_itself()
                return await self._fenced() | run.checkpoint_params(saved)
            case "complete" if saved is not None:
                run.check_result(message["result"])
                await run.saves_itself()
                return await self._fenced() | run.complete_params(message["result"], saved)
            case unknown:
                raise TypeError(f"a child process asked for {unknown!r}")
        return None

    async def _fenced(self) -> dict[str, object]:
        """What fences a transaction of the child's own: the run has a lease of its own from now."""
        self._explicit = True
        await self._run.separate()
        self._run.check_timeline()
        task_id, timeline = self._run.claimed.task_id, self._run.timeline
        return {"lease": self._run.lease, "task": task_id, "timeline": timeline}

    def _ended(self, end: Message) -> Ending | None:
        if end["completed"]:
            return None
        asked = self._broken or bool(self._asked)
        unwound = asked and end["interrupted"]
        outcome, saved = end["outcome"], saved_of(end["saved"])
        return Ending(
            attempt=self._run.attempt,
            outcome=None if outcome is None else outcome_of(outcome),
            unwound=unwound,
            gives_up=end["gives_up"],
            type=end["type"],
            message=end["message"],
            traceback=end["traceback"],
            result=end["result"],
            error=end["error"],
            problem=end["problem"],
            saved=saved if outcome is not None or unwound else None,
            explicit=end["explicit"] or self._explicit,
        )

    def _died(self, code: int) -> Ending:
        """The child is gone without a word: killed by us, or by itself."""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not (self._begun or self._broken):
            text = f"its child process {how} before the handler was called"
            return self._failure("ChildProcessError", text)
        return Ending(
            attempt=self._run.attempt,
            unwound=self._broken,
            child_died=not self._broken,
            message=f"its child process {how}",
            explicit=self._explicit,
        )

    def _failure(self, type_: str, message: str) -> Ending:
        return Ending(
            attempt=self._run.attempt, type=type_, message=message, explicit=self._explicit
        )
