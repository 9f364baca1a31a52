"""The command `perdure` as a process of its own: started, signalled, read, ended with the test."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.fleet import PATH, QUICK, ROOT, STARTING, Process
from tests.kit.ledger import VARIABLE, Ledger


class Command(Process):
    """A command that runs; `said` is what it wrote on its standard output and error so far."""

    def __init__(self, popen: subprocess.Popen[bytes], output: Path) -> None:
        super().__init__(popen)
        self._output = output

    @property
    def said(self) -> str:
        """Both outputs, in the order of writing."""
        return self._output.read_text(encoding="utf-8", errors="replace")


class Commands:
    """Starts commands with the quick times; what still runs at the end is killed.

    `dsn` None: no database is named. Settings are dotted names with `__` for the dot.
    """

    def __init__(self, dsn: str | None, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.jsonl")
        self._dsn = dsn
        self._folder = folder
        self._running: list[Command] = []

    def start(self, *words: str, cwd: Path = ROOT, **settings: str) -> Command:
        """Run `perdure` with these words."""
        values = QUICK | {key.replace("__", "."): value for key, value in settings.items()}
        named = {f"PERDURE_{key.replace('.', '__')}".upper(): v for key, v in values.items()}
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "PG"))}
        environment = {**ours, **named, VARIABLE: str(self.ledger.path), "PYTHONPATH": PATH}
        environment.pop("DATABASE_URL", None)
        if self._dsn is not None:
            environment["PERDURE_DSN"] = self._dsn
        output = self._folder / f"command-{len(self._running)}.txt"
        with output.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", "perdure", *words],
                env=environment, cwd=cwd, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        command = Command(popen, output)
        self._running.append(command)
        return command

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for command in self._running:
            if command.alive:
                command.signal(signal.SIGTERM)
                if not gone(command.pid, timeout=5):
                    command.signal(signal.SIGKILL)
                command.wait()
            if error is not None:
                sys.stdout.write(command.said)


def gone(pid: int, timeout: float = STARTING) -> bool:
    """Wait until a process, a child of ours or not, has ended; whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)
