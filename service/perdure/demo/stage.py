"""Where a demo plays: a PostgreSQL of its own, workers, a console, and the verdict at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from rich.console import Console
from rich.table import Table

from perdure.demo.fleet import Fleet
from perdure.embedded import EmbeddedServer
from perdure.errors import PerdureError
from perdure.store.migrate import migrate

STEP_SECONDS_MAX = 60.0
"""Whatever is waited for: after this the demo has failed, and says what it waited for."""
LOOK_SECONDS = 0.02


class Stage(NamedTuple):
    """One database, its workers, and who is told of them."""

    dsn: str
    connection: psycopg.Connection[Any]
    fleet: Fleet
    console: Console

    def say(self, text: str) -> None:
        """One sentence, or a few."""
        self.console.print(f"  {text}")

    def row(self, question: str, *values: object) -> tuple[Any, ...]:
        """The first row of an answer; empty without one."""
        return self.connection.execute(question.encode(), values).fetchone() or ()

    def value(self, question: str, *values: object) -> Any:
        """The first value of an answer; None without one."""
        return next(iter(self.row(question, *values)), None)

    def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Look until it is so.

        Raises:
            PerdureError: it took too long, or a worker has ended that nobody asked to.
        """
        end = time.monotonic() + STEP_SECONDS_MAX
        while not reached():
            dead = self.fleet.failed()
            if dead is not None:
                raise PerdureError(f"{dead} has ended by itself while waiting until {what}")
            if time.monotonic() > end:
                raise PerdureError(f"not within {STEP_SECONDS_MAX:.0f} s: {what}")
            time.sleep(LOOK_SECONDS)

    def holder(self, task_id: int) -> int:
        """The process id of the worker that holds a task; waits until one does."""
        question = (
            "select w.pid from perdure.leases as l join perdure.workers as w on w.id = l.worker_id"
            " where %s::bigint = any (l.task_ids)"
        )
        found: list[int] = []

        def asked() -> bool:
            found.extend(self.row(question, task_id))
            return bool(found)

        self.until(f"a worker holds task {task_id}", asked)
        return found[0]


@contextmanager
def open_stage(console: Console, application: str) -> Iterator[Stage]:
    """A stage with the schema and no worker yet; everything is gone at the end.

    Raises:
        PerdureError: the server could not be started.
    """
    with EmbeddedServer() as server:
        dsn = server.dsn()
        migrate(dsn)
        console.print(f"[bold]PostgreSQL {server.version}[/] of our own is up, with the schema.")
        fleet = Fleet(dsn, application)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                yield Stage(dsn, connection, fleet, console)
        finally:
            fleet.close()


def console_of(*, as_json: bool) -> Console:
    """Where the story is told: with `as_json` nothing but the object is on standard output."""
    console = Console(stderr=as_json, highlight=False)
    console.soft_wrap = not console.is_terminal  # a pipe gets each sentence on one line
    return console


def verdict(
    console: Console, report: Mapping[str, Any], claims: Mapping[str, bool], *, as_json: bool
) -> int:
    """The table at the end, which claims do not hold, and the exit code."""
    table = Table(title="What the database says", title_style="bold", show_header=False)
    for key, value in report.items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        table.add_row(key.replace("_", " "), shown)
    console.print(table)
    untrue: Sequence[str] = [claim for claim, holds in claims.items() if not holds]
    if untrue:
        console.print("[bold red]Not true:[/] " + "; ".join(untrue))
    else:
        console.print("[bold green]Nothing lost, nothing done twice.[/]")
    if as_json:
        Console(highlight=False, soft_wrap=True).print(json.dumps(report), markup=False)
    return 1 if untrue else 0
