"""A handler in a child process that can be killed: what runs inside.

One handler at a time, a plain one in the main thread, an async one on a loop of its own. A thread
reads the pipe; when that ends, the worker is gone, and this process ends at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Protocol, cast

from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition, outcome_of
from perdure.declare.kind import NewTask
from perdure.declare.lifespans import Lifespan, provide
from perdure.declare.registry import Registry
from perdure.declare.state import LeftBehind
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import (
    ConfigurationError,
    LifespanError,
    TaskStopped,
)
from perdure.run import logs, report
from perdure.run.bus import Bus
from perdure.run.child_lifespans import InThread
from perdure.run.child_pipe import EXIT_ORPHAN, Pipe
from perdure.run.child_port import AsyncPort, SyncPort
from perdure.run.events import run_fields
from perdure.run.lifespans import Lifespans
from perdure.run.loop import bounded
from perdure.run.pipe import Message, claimed_of, outcome_document
from perdure.run.slots import Threads
from perdure.settings import Settings, masker
from perdure.store.database import Database
from perdure.store.operations import Added, Operation
from perdure.tasks.codec import error_record

PR_SET_PDEATHSIG = 1


class Application(Protocol):
    """What is needed of the service; a TaskService is one."""

    @property
    def registry(self) -> Registry:
        """Its tasks."""

    @property
    def lifespans(self) -> Sequence[Lifespan[Any]]:
        """What each process of it sets up."""

    @property
    def settings(self) -> Settings:
        """Its settings."""

    def override(self, command_line: Message) -> None:
        """Let these values win over all others."""

    def database(self) -> Database:
        """A database as the settings say."""

    def operation_of(self, task: NewTask[Any, Any]) -> Operation[Added]:
        """How a handler's child is enqueued."""


class Stage:
    """One run: all that its handler needs, and what it leaves behind."""

    def __init__(self, pipe: Pipe, message: Message) -> None:
        sys.path[:] = message["path"]
        service = _service(message["application"])
        service.override(message["settings"])
        self.settings = service.settings
        logs.configure(self.settings.logging, hide=masker(self.settings))
        _limit_memory(self.settings.execution.child_memory_mb)
        self._pipe = pipe
        self._claimed = claimed_of(message["claimed"])
        self.definition: TaskDefinition = service.registry[self._claimed.name]
        self._metadata = self.definition.metadata.load(self._claimed.metadata)
        self._database = service.database()
        self._database.timeline.followed = True
        self._operation_of = service.operation_of
        self._bus = Bus()
        logs.attach(self._bus, self.settings.logging.level)
        # A run of its own: what was opened on one loop is of no use on the next.
        self._lifespans = Lifespans(service.lifespans, Threads(), self._bus)
        run_fields.set(
            {
                "task_id": self._claimed.task_id,
                "name": self._claimed.name,
                "attempt": self._claimed.attempt + 1,
            }
        )

    def run(self) -> Message:
        """Call the handler; what the worker is told at its end."""
        provide(self._lifespans.values)
        if self.definition.handler.mode == "async":
            end = asyncio.run(self._on_loop())
            # The loop has put back the default in place of its own handler.
            signal.signal(signal.SIGTERM, _ignore)
            return end
        with InThread(self._lifespans, self._grace) as lifespans:
            try:
                lifespans.enter()
            except LifespanError as error:
                return self._not_begun(error)
            return self._in_main_thread()

    @property
    def _grace(self) -> float:
        """How long a cleanup may take."""
        return self.settings.execution.stop_grace.total_seconds()

    def _not_begun(self, error: LifespanError) -> Message:
        return ENDING | _described(error, self.definition, self.settings)

    def _in_main_thread(self) -> Message:
        """A plain handler; SIGTERM breaks it off wherever it is."""
        port = SyncPort(self._pipe.ask, self._database, self._operation_of, self._claimed.task_id)
        context = SyncTaskContext(self.definition, self._claimed, self._metadata, port)
        inside, broken = True, False

        def break_off(*_: object) -> None:
            nonlocal broken
            if inside and self._pipe.broken_off and not broken:
                broken = True
                raise TaskStopped("the run was broken off: it did not stop in time")

        exception: BaseException | None = None
        value: object = None
        signal.signal(signal.SIGTERM, break_off)
        try:
            self._pipe.begin(context.stop.ask)
            value = self.definition.handler.make()(context)
        except BaseException as error:  # noqa: BLE001  (whatever a handler raises is its ending)
            exception = error
        finally:
            inside = False
        end = self._end(context, exception, value)
        self._database.close_sync()
        # It was torn out of any line of its code: only what it has saved itself is whole.
        return end | {"saved": None} if broken and exception is not None else end

    async def _on_loop(self) -> Message:
        """An async handler; SIGTERM throws CancelledError into it."""
        port = AsyncPort(
            self._pipe.ask, self._database, self._operation_of, self._claimed, self._bus
        )
        context = TaskContext(self.definition, self._claimed, self._metadata, port)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            await self._lifespans.enter()
        except LifespanError as error:
            return self._not_begun(error)
        inside = True

        def break_off() -> None:
            if inside and self._pipe.broken_off and task is not None:
                task.cancel()

        def on_stop(reason: str) -> None:
            loop.call_soon_threadsafe(context.stop.ask, reason)

        exception: BaseException | None = None
        value: object = None
        loop.add_signal_handler(signal.SIGTERM, break_off)
        try:
            self._pipe.begin(on_stop)
            value = await self.definition.handler.make()(context)
        except BaseException as error:  # noqa: BLE001  (whatever a handler raises is its ending)
            exception = error
        finally:
            inside = False
            while task is not None and task.cancelling():
                task.uncancel()
        end = self._end(context, exception, value)
        async with bounded(self._grace):
            await self._lifespans.leave()
        await self._database.close()
        return end

    def _end(
        self,
        context: TaskContext[Any, Any] | SyncTaskContext[Any, Any],
        exception: BaseException | None,
        value: object,
    ) -> Message:
        """The message about a handler that has returned `value`, or raised."""
        # From here on there is nothing to break off: what is said is about to be true.
        signal.signal(signal.SIGTERM, _ignore)
        left = LeftBehind(None, self._claimed.explicit, None)
        try:
            left = context.left_behind()
        except Exception as error:  # noqa: BLE001  (the last saved one holds)
            if exception is None:
                exception = error
        end = ENDING | {"explicit": left.explicit, "saved": left.saved and list(left.saved)}
        if exception is not None:
            return end | _described(exception, self.definition, self.settings)
        outcome = outcome_of(value)
        if left.completed is not None:
            context.warn_if_ignored(outcome)
        result, error_text, problem = report.encoded(
            self.definition, outcome, self.settings.limits.result_bytes
        )
        return end | {
            "well": True,
            "outcome": outcome_document(outcome),
            "result": result,
            "error": error_text,
            "problem": problem,
            "completed": left.completed is not None and left.completed.certain,
        }


ENDING: Message = {
    "what": "end", "well": False, "completed": False, "interrupted": False, "gives_up": False,
    "explicit": False,
} | dict.fromkeys(("outcome", "saved", "result", "error", "problem"))  # fmt: skip
ENDING |= dict.fromkeys(("type", "message", "traceback"))


def main() -> None:
    """Run what the worker sends until it is gone. Arguments: the pipe's number, the worker's id."""
    number, parent = map(int, sys.argv[1:])
    os.set_inheritable(number, False)  # noqa: FBT003  (the function names it so)
    _die_with(parent)
    signal.signal(signal.SIGTERM, _ignore)
    pipe = Pipe(socket.socket(fileno=number))
    threading.Thread(target=pipe.listen, name="perdure pipe", daemon=True).start()
    while True:
        message = pipe.runs.get()
        try:
            stage = Stage(pipe, message)
        except BaseException as error:  # noqa: BLE001  (imports run the user's code)
            pipe.end(ENDING | _described(error))
            continue
        end = stage.run()
        del stage
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        pipe.end(end)


def _ignore(*_: object) -> None:
    """Handles SIGTERM while no task runs; unlike SIG_IGN it is not passed on to programs."""


def _described(
    error: BaseException,
    definition: TaskDefinition | None = None,
    settings: Settings | None = None,
) -> Message:
    """An exception as data: its class stays here."""
    most = (settings or Settings()).limits.error_bytes
    record = json.loads(
        error_record("failure", exception=report.handlers_own(error), error_bytes_max=most)
    )
    return {
        "type": record["type"],
        "message": record["message"],
        "traceback": record["traceback"],
        "interrupted": isinstance(error, asyncio.CancelledError | TaskStopped),
        "gives_up": definition is not None and definition.retry.gives_up(type(error)),
    }


def _service(name: str) -> Application:
    """The service that `module:attribute` names: the worker says it, never the database.

    Raises:
        ConfigurationError: it is none.
    """
    module, _, attribute = name.partition(":")
    found = attrgetter(attribute)(importlib.import_module(module))
    if not isinstance(getattr(found, "registry", None), Registry):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, not a TaskService")
    return cast("Application", found)


def _limit_memory(megabytes: int | None) -> None:
    """Bound the address space; the hard limit stays, so that the next run may have another."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = resource.RLIM_INFINITY if megabytes is None else megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its worker dies, even in the midst of C code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_ORPHAN)
