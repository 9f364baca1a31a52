"""The command worker: -A, one process, or several under a supervisor."""

from __future__ import annotations

import asyncio
import importlib
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import typer

from perdure.cli.given import Given
from perdure.cli.opening import command_line, dsn_of
from perdure.declare.builder import ServiceBuilder
from perdure.errors import ConfigurationError
from perdure.run.bus import Bus
from perdure.run.events import SettingsOdd
from perdure.run.options import Options
from perdure.run.supervisor import Supervisor, worker_command
from perdure.service import TaskService

_PROJECT_FILE: Final = "pyproject.toml"


class Wanted(NamedTuple):
    """What `worker` was told; `queues` as Q or Q:SLOTS."""

    application: str | None
    queues: tuple[str, ...] = ()
    concurrency: int | None = None
    processes: int | None = None
    burst: bool = False
    tasks_most: int | None = None
    memory_most_mb: int | None = None

    def arguments(self, given: Given) -> list[str]:
        """The same for each child of a supervisor."""
        named = {
            "--config": given.config,
            "--schema": given.schema,
            "--concurrency": self.concurrency,
            "--max-tasks-per-process": self.tasks_most,
            "--max-memory-mb": self.memory_most_mb,
        }
        said = [f"{name}={value}" for name, value in named.items() if value is not None]
        said += [f"--queue={queue}" for queue in self.queues]
        return [*said, "--burst"] if self.burst else said


def work(given: Given, wanted: Wanted, supervisor_pid: int | None) -> int:
    """Be a worker, that of a supervisor if its process is named; or supervise several.

    Returns:
        0; 75 where a supervised worker wants to be replaced.

    Raises:
        ConfigurationError: the service cannot be loaded, a setting is wrong, there is no schema.
    """
    queues = dict(_queue(text) for text in wanted.queues)
    application = application_of(wanted.application)
    values = {
        "execution.concurrency": wanted.concurrency,
        "execution.processes": wanted.processes,
    }
    service = load_service(given, application, values)
    dsn_of(service.settings)
    recycles = wanted.tasks_most is not None or wanted.memory_most_mb is not None
    if supervisor_pid is None and (recycles or service.settings.execution.processes > 1):
        return supervise(service, application, wanted.arguments(given), burst=wanted.burst)
    return service.run(
        Options(
            queues,
            wanted.burst,
            wanted.tasks_most,
            wanted.memory_most_mb,
            application,
            supervisor_pid,
        )
    )


def supervise(
    service: TaskService, application: str, arguments: list[str], *, burst: bool = False
) -> int:
    """Run `execution.processes` workers until SIGTERM or SIGINT; the exit code."""
    bus = Bus()
    service.log(bus)

    def grace() -> float:
        return service.settings.execution.shutdown_grace.total_seconds()

    for warning in service.doubts:
        bus.emit(SettingsOdd(warning=warning))
    supervisor = Supervisor(
        worker_command(application, arguments),
        service.settings.execution.processes,
        service.database(),
        grace=grace(),
        burst=burst,
        bus=bus,
        reload=lambda: grace() if service.reload(bus) is None else None,
        is_configured=service.is_configured,
    )
    return asyncio.run(supervisor.run())


def application_of(named: str | None) -> str:
    """The service that -A names, else the project's own.

    Raises:
        ConfigurationError: neither names one.
    """
    application = named or project_application()
    if application is None:
        raise ConfigurationError(
            "no service is named: give -A module:service, or set app under [tool.perdure] in "
            f"{_PROJECT_FILE}"
        )
    return application


def project_application() -> str | None:
    """`app` under [tool.perdure] in pyproject.toml here; ConfigurationError if it is odd."""
    try:
        project = tomllib.loads(Path(_PROJECT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{_PROJECT_FILE} cannot be read: {error}") from None
    table = project.get("tool", {}).get("perdure", {})
    application = table.get("app") if isinstance(table, dict) else None
    if application is not None and not isinstance(application, str):
        raise ConfigurationError(f"app under [tool.perdure] in {_PROJECT_FILE} must be a text")
    return application


def load_service(
    given: Given, application: str | None, values: Mapping[str, int | None] | None = None
) -> TaskService:
    """Import `module:service`, with the current folder importable, and override its settings.

    Raises:
        ConfigurationError: there is no such module or service, or its import failed.
    """
    application = application_of(application)
    module_name, colon, path = application.partition(":")
    dotted = all(map(str.isidentifier, module_name.split(".")))
    if not (colon and path and dotted) or module_name.endswith(".py"):
        raise ConfigurationError(f"-A {application}: write {_module_of(module_name, path)}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"-A {application}: module {module_name!r} needs {error.name!r}, which is not "
                "installed"
            ) from error
        raise ConfigurationError(
            f"-A {application}: there is no module {module_name!r}; it is looked for in {folder} "
            "and among what is installed"
        ) from error
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"-A {application}: importing {module_name!r} failed with {type(error).__name__}: "
            f"{error} (--debug shows where)"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            services = [k for k, v in vars(found).items() if isinstance(v, TaskService)]
            hint = f"; it has {', '.join(services)}" if services else ""
            raise ConfigurationError(
                f"-A {application}: module {module_name!r} has no attribute {path!r}{hint}"
            )
        found = getattr(found, part)
    if not isinstance(found, TaskService):
        remedy = "end it with .build()" if isinstance(found, ServiceBuilder) else "name the service"
        raise ConfigurationError(
            f"-A {application}: {path!r} is a {type(found).__name__}, not a TaskService: {remedy}"
        )
    found.override(command_line(given, values), given.config)
    return found


def _module_of(module: str, path: str) -> str:
    """What to write instead of a module that is none: where it is a file, its module."""
    file = Path(module)
    if file.suffix != ".py" and len(file.parts) < 2:  # noqa: PLR2004  (a folder and a name)
        return "module:service, such as shop.jobs:app"
    parts = file.with_suffix("").parts
    dotted = ".".join(parts) if all(map(str.isidentifier, parts)) else file.stem
    where = "" if len(parts) == 1 or "." in dotted else f", in the folder {file.parent}"
    return f"its module instead of a file: {dotted}:{path or 'service'}{where}"


def _queue(text: str) -> tuple[str, int | None]:
    """`imports` or `imports:8`: a queue's name and its slots."""
    name, colon, slots = text.rpartition(":")
    if not (colon and slots.isascii() and slots.isdigit()):
        name, slots = text, ""
    if not name or slots == "0":
        raise typer.BadParameter(
            f"{text!r}: write a queue, or a queue and at least one slot, such as imports:8",
            param_hint="--queue",
        )
    return name, int(slots) if slots else None
