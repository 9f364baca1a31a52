"""TaskService: settings and declarations in, a wired service out; it alone knows everybody."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.client.opening import open_database
from perdure.client.requests import entry_of
from perdure.client.schedule_requests import schedule_entry
from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.kind import NewTask
from perdure.declare.lifespans import Lifespan
from perdure.declare.new_schedule import NewSchedule
from perdure.declare.registry import Registry
from perdure.errors import ConfigurationError, PerdureError, RegistrationError
from perdure.run import logs
from perdure.run.bus import Bus
from perdure.run.events import Reloaded, ReloadRefused, SettingsOdd
from perdure.run.options import Options
from perdure.run.pulse import pulse_file
from perdure.run.supervisor import EXIT_RECYCLE
from perdure.run.worker import Worker
from perdure.settings import Loaded, Settings, check, differences, load, masker, reload
from perdure.store import operations
from perdure.store.database import Database
from perdure.store.operations import Added, Operation
from perdure.store.schedule_operations import put_schedule

if TYPE_CHECKING:
    from perdure.client.client import TaskClient

EXIT_OK = 0
EXIT_SECOND_SIGNAL = 1
OBJECTS_BETWEEN_COLLECTIONS = 20_000


class TaskService:
    """Handlers and settings, wired.

    Build one with `TaskService.builder()`. Settings are loaded at the first use, so that the module
    which holds a service can be imported without a database, and by a command line that overrides
    some of them.
    """

    def __init__(self, declared: Declared) -> None:
        check(declared.settings)
        self._schedules = _puts(declared.schedules)
        self._declared = declared
        self._loaded: Loaded | None = None
        self._overrides: tuple[Mapping[str, Any], Path | None] = ({}, None)
        self._client: TaskClient | None = None
        self._end_logging: Callable[[], None] = lambda: None

    @staticmethod
    def builder() -> ServiceBuilder[TaskService]:
        """Begin to declare a service."""
        return ServiceBuilder(TaskService)

    @property
    def registry(self) -> Registry:
        """The tasks of this service."""
        return self._declared.registry

    @property
    def lifespans(self) -> tuple[Lifespan[Any], ...]:
        """What each worker process of this service sets up, in this order."""
        return self._declared.lifespans

    @property
    def loaded(self) -> Loaded:
        """The settings, and where each came from.

        Raises:
            ConfigurationError: every wrong key, one line each.
        """
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    @property
    def settings(self) -> Settings:
        """The settings; errors as `loaded`."""
        return self.loaded.settings

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is allowed, but looks like a mistake: in the settings, and in what is declared."""
        return (*self.loaded.warnings, *self._declared.doubts)

    @property
    def client(self) -> TaskClient:
        """A client for producers in the same program; use it as an async context manager."""
        if self._client is None:
            from perdure.client.client import TaskClient  # noqa: PLC0415  (a worker needs none)

            self._client = TaskClient(settings=self.settings, unique_key_of=self._unique_key_of)
        return self._client

    def override(self, command_line: Mapping[str, Any], toml: Path | None = None) -> None:
        """Let values of a command line (dotted keys) win over all others."""
        self._overrides = (command_line, toml)
        self._loaded = None

    def database(self) -> Database:
        """A database as the settings say; the caller closes it.

        Raises:
            ConfigurationError: there is no DSN, or a setting is wrong.
        """
        return open_database(settings=self.settings)

    @asynccontextmanager
    async def worker(self, options: Options | None = None) -> AsyncIterator[Worker]:
        """A worker inside a running event loop, for the life of the block: for ASGI programs."""
        database = self.database()
        bus = Bus()
        for event, listener in self._declared.listeners:
            bus.on(event, listener)
        detach = logs.attach(bus, self.settings.logging.level)
        worker = self._worker(database, bus, options)
        try:
            async with worker:
                yield worker
        finally:
            detach()
            await database.close()

    def run(self, options: Options | None = None) -> int:
        """Be a worker until SIGTERM or SIGINT; a second signal ends at once. SIGHUP reloads.

        Returns:
            The exit code: 0, or 75 when the worker asks to be replaced by a fresh one.

        Raises:
            ConfigurationError, PerdureError: it could not start.
        """
        logs.configure(self.settings.logging, hide=masker(self.settings))
        options = options or Options()
        if options.health_file is None:
            options = options._replace(health_file=pulse_file())
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            return runner.run(self._serve(options))

    async def _serve(self, options: Options) -> int:
        database = self.database()
        bus = Bus()
        for event, listener in self._declared.listeners:
            bus.on(event, listener)
        self.log(bus)
        if options.supervisor_pid is None:  # else the supervisor has said it, once
            for warning in self.doubts:
                bus.emit(SettingsOdd(warning=warning))
        worker = self._worker(database, bus, options)
        signals = _Signals(worker, supervised=options.supervisor_pid is not None)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload, worker, bus)
        _collect_less()
        try:
            await worker.start()
            await worker.stopped()
            await worker.stop()
            if worker.abandoned or not worker.clean or signals.count > 1:
                # Threads and handlers that do not end must not hold the exit.
                _leave(EXIT_OK)
        finally:
            # A pool that is connecting obeys no cancel, and would hold the exit for ever.
            await database.close()
        return EXIT_RECYCLE if worker.stop_reason == "recycle" else EXIT_OK

    def _worker(self, database: Database, bus: Bus, options: Options | None) -> Worker:
        return Worker(
            self.registry, self.settings, database, bus=bus, operation_of=self.operation_of,
            options=options, schedules=self._schedules, lifespans=self.lifespans,
            constraints=self._declared.constraints,
        )  # fmt: skip

    def _reload(self, worker: Worker, bus: Bus) -> None:
        """SIGHUP: what can be applied is; a wrong file changes nothing."""
        worker.problem = self.reload(bus)
        if worker.problem is None:
            worker.reload(self.settings)
        worker.beat_now()

    def reload(self, bus: Bus) -> str | None:
        """For the runtime: read the settings again, as an entry point was asked to; told on `bus`.

        What can be applied holds from now on, in `settings` and in the log; a wrong file changes
        nothing, and what is wrong is returned.
        """
        try:
            loaded = self._load()
        except ConfigurationError as error:
            bus.emit(ReloadRefused(error=str(error)))
            return str(error)
        old, news = self.settings, reload(self.settings, loaded.settings)
        self._loaded = loaded._replace(settings=news.settings)
        self.log(bus)
        bus.emit(
            Reloaded(
                applied=differences(old, loaded.settings, news.applied),
                needs_restart=differences(old, loaded.settings, news.needs_restart),
            )
        )
        return None

    def is_configured(self) -> bool:
        """For the runtime: whether a process that starts now would find settings to use."""
        try:
            self._load()
        except ConfigurationError:
            return False
        return True

    def log(self, bus: Bus) -> None:
        """For the runtime: have the log of this process as the settings say; again: anew."""
        logs.configure(self.settings.logging, hide=masker(self.settings))
        self._end_logging()
        self._end_logging = logs.attach(bus, self.settings.logging.level)

    def _unique_key_of(self, task: NewTask[Any, Any]) -> tuple[str, str] | None:
        """The key that the task's definition derives from its metadata, and its policy."""
        definition = self.registry.get(task.name)
        if definition is None or definition.unique_key is None:
            return None
        metadata = definition.metadata.load(task.metadata_json())
        return definition.unique_key.function(metadata), definition.unique_key.policy

    def operation_of(self, task: NewTask[Any, Any]) -> Operation[Added]:
        """For the runtime: how a handler's child is enqueued."""
        return operations.enqueue(entry_of(task, self._unique_key_of))

    def _load(self) -> Loaded:
        command_line, toml = self._overrides
        return load(builder=self._declared.settings, command_line=command_line, toml=toml)


def _puts(schedules: Iterable[NewSchedule]) -> dict[str, Operation[str]]:
    """How each schedule of a program is put, by its key.

    Raises:
        RegistrationError: those that have an option that cannot be meant.
    """
    puts: dict[str, Operation[str]] = {}
    problems: list[str] = []
    for schedule in schedules:
        try:
            puts[schedule.key] = put_schedule(schedule_entry(schedule, declared=True))
        except PerdureError as error:
            problems.append(f"schedule {schedule.key!r}: {error}")
    if problems:
        raise RegistrationError(problems)
    return puts


class _Signals:
    """The first signal begins the stop protocol; the second releases what runs and ends at once.

    A supervised worker may get the first SIGTERM twice, by a service manager that sends one to each
    process, and by its supervisor: for it the second signal is SIGINT.
    """

    def __init__(self, worker: Worker, *, supervised: bool) -> None:
        self.count = 0
        self._worker = worker
        self._supervised = supervised
        self._last: asyncio.Task[None] | None = None

    def stop(self, number: signal.Signals) -> None:
        if self._supervised and self.count and number == signal.SIGTERM:
            return
        self.count += 1
        self._worker.ask_to_stop("shutdown")
        if self.count > 1 and self._last is None:
            self._last = asyncio.create_task(self._end_now())

    async def _end_now(self) -> None:
        await self._worker.abandon()
        _leave(EXIT_SECOND_SIGNAL)


def _collect_less() -> None:
    """Spare the garbage collector of this process what it can only look at in vain.

    What was imported stays for good. Thousands of tasks are on their way at once, all of them freed
    by their last reference: looking for cycles among them every 700 objects took a third of the
    time of a drain.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])


def _fastest_loop() -> Any:
    """Uvloop where it is installed: about a quarter more statements per second."""
    try:
        import uvloop  # noqa: PLC0415  (an extra)
    except ImportError:
        return None
    return uvloop.new_event_loop


def _leave(code: int) -> None:
    """End without waiting for threads; what was written has been written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
