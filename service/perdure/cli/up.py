"""The command up: for development, everything in one terminal, ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from perdure.cli.given import Given
from perdure.cli.migrations import limits_of
from perdure.cli.opening import command_line, load_settings
from perdure.cli.output import Output
from perdure.cli.worker import Wanted, load_service, project_application, supervise
from perdure.embedded import EmbeddedServer
from perdure.errors import EmbeddedServerError
from perdure.settings import Loaded, show_dsn, variable_of
from perdure.store.migrate import current, migrate

FOLDER: Final = Path(".perdure")
"""What is kept between two starts: data of the server, and a file with its DSN."""


def up(given: Given, application: str | None) -> int:
    """Run until SIGTERM or SIGINT: PostgreSQL if no DSN is given, the schema, and workers of -A.

    Raises:
        ConfigurationError: a setting or -A is wrong.
        EmbeddedServerError: there is no PostgreSQL to start, or it did not start.
    """
    output = Output()
    _forget_the_last()
    application = application or project_application()
    # Before anything starts: what is wrong with the service is said once, and ends this.
    service = load_service(given, application) if application else None
    loaded = service.loaded if service else load_settings(given)
    with _database(loaded, output) as dsn:
        schema = loaded.settings.persistence.schema_name
        migrate(dsn, schema, limits=limits_of(loaded))
        output.line(f"schema    {schema}, at revision {current(dsn, schema)}")
        if service is None or application is None:
            output.line("worker    none: give -A module:service")
            asyncio.run(_signalled(output))
            return 0
        service.override(command_line(given), given.config)  # and look for the DSN again
        output.line(f"worker    {application}, {', '.join(sorted(service.registry.names()))}")
        # Each worker says in the log when it has registered: it is a process of its own.
        _say_last(output, "starting")
        return supervise(service, application, Wanted(application).arguments(given))


@contextmanager
def _database(loaded: Loaded, output: Output) -> Iterator[str]:
    """The DSN to use; a server of our own lives as long as the block."""
    given = loaded.settings.dsn
    if given is not None:
        output.line(f"database  {show_dsn(given.get_secret_value())}")
        yield given.get_secret_value()
        return
    FOLDER.mkdir(mode=0o711, exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
    with _alone(), EmbeddedServer(data_dir=FOLDER / "postgres") as server:
        dsn = server.dsn()
        # In a file, because what stands in a variable is seen by every child of every worker.
        file = FOLDER / "dsn"
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(f"{dsn}\n", encoding="utf-8")
        variable = f"{variable_of('dsn')}_FILE"
        os.environ[variable] = str(file.absolute())
        output.line(f"database  PostgreSQL {server.version}, data in {FOLDER / 'postgres'}")
        output.line(f"psql      psql '{dsn}'")
        output.line(f"shell     export {variable}={file.absolute()}")
        try:
            yield dsn
        finally:
            file.unlink(missing_ok=True)
            del os.environ[variable]
            output.line("stopping the database")


def _forget_the_last() -> None:
    """This shell may still name the file of an `up` that has ended, as it was told to."""
    variable, file = f"{variable_of('dsn')}_FILE", (FOLDER / "dsn").absolute()
    if os.environ.get(variable) == str(file) and not file.exists():
        del os.environ[variable]


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else starts a server in this folder; the lock goes with the process that holds it.

    Raises:
        EmbeddedServerError: somebody has it already.
    """
    with (FOLDER / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedServerError(
                f"`perdure up` is already running in this folder, as process {file.read().strip()}:"
                f" end it first, or use its database: export {variable_of('dsn')}_FILE="
                f"{(FOLDER / 'dsn').absolute()}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _say_last(output: Output, state: str) -> None:
    output.line(f"{state}; Ctrl-C ends it")
    sys.stdout.flush()


async def _signalled(output: Output) -> None:
    """Say that all is ready, and wait for SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    _say_last(output, "ready")
    await asked.wait()
