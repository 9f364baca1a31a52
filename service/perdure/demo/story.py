"""What happens in the demo, what is shown, and what must be true at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import NewTask
from perdure.demo import handlers
from perdure.demo.stage import Stage, console_of, open_stage, verdict
from perdure.errors import PerdureError

APPLICATION = "perdure.demo.handlers:service"
RUNS_LEAST = 3
"""The first run of the import, one after SIGTERM, one after SIGKILL."""
LEAST_PAGES = 24
"""Shorter inputs are cut into smaller pages, so that there is a middle to be interrupted in."""


class Counts(NamedTuple):
    """How far things are."""

    tasks: int
    ended: int
    pages: int
    attempts: int


def run(*, as_json: bool, file: Path | None) -> int:
    """Tell the story; 0 if everything that it claims is true, else 1.

    `file` is a CSV file of the user's own to import. With `as_json` the last line is an object and
    nothing else is printed on standard output.

    Raises:
        PerdureError: the file is not there, the server could not be started, or a step took too
            long.
    """
    if file is not None and not file.is_file():
        raise PerdureError(f"there is no file {file}: --input names a CSV file to import")
    console = console_of(as_json=as_json)
    began = time.monotonic()
    with open_stage(console, APPLICATION) as stage:
        story = Story(stage, handlers_request(file))
        story.tell()
        report = story.report(time.monotonic() - began)
    return verdict(console, report, claims_of(report), as_json=as_json)


def handlers_request(file: Path | None) -> handlers.ImportRequest:
    """The import to ask for: pages small enough that there are enough of them."""
    request = handlers.ImportRequest(file=None if file is None else str(file.resolve()))
    rows = sum(map(len, handlers.pages_of(request)))
    if rows == 0:
        raise PerdureError(f"{file} has no rows to import")
    size = max(1, min(request.rows_per_page, rows // LEAST_PAGES))
    return request.model_copy(update={"rows_per_page": size})


class Story:
    """One database, some workers, one long import and many small tasks."""

    def __init__(self, stage: Stage, request: handlers.ImportRequest) -> None:
        self._stage = stage
        self._connection = stage.connection
        self._fleet = stage.fleet
        self._request = request
        self._pages = len(handlers.pages_of(request))
        self._import = 0
        self._bars: tuple[TaskID, TaskID] | None = None
        self._progress = Progress(
            TextColumn("  {task.description:<12}"), BarColumn(40), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"), console=stage.console, transient=True,
        )  # fmt: skip

    def tell(self) -> None:
        """From the first worker to the last task's end."""
        self._connection.execute(
            "create table demo_rows (page int, line text);"
            "create table demo_runs (attempt int, first_page int, at timestamptz default now())"
        )
        first, second = self._fleet.start(), self._fleet.start()
        self._stage.say(f"{first} and {second} have been started.")
        self._enqueue()
        with self._progress:
            bars = [("import", self._pages), ("small tasks", self._counts().tasks - 1)]
            ids = [self._progress.add_task(name, total=total, note="") for name, total in bars]
            self._bars = (ids[0], ids[1])
            self._interrupt_softly()
            self._interrupt_hard()
            self._until("all tasks have ended", lambda now: now.ended >= now.tasks)

    def _enqueue(self) -> None:
        """From Python, by plain SQL, and by COPY."""
        names = [row[2] for row in handlers.zones()]
        with SyncTaskClient(self._stage.dsn) as client:
            self._import = client.enqueue(handlers.table_import, self._request).id
            client.enqueue_many(
                NewTask(handlers.zone_offset, handlers.OffsetRequest(zone=zone)) for zone in names
            )
        inserted = self._connection.execute(
            "insert into perdure.tasks (name, metadata)"
            " select 'demo.offset', jsonb_build_object('zone', z) from unnest(%s::text[]) as z",
            (names,),
        ).rowcount
        with self._connection.cursor().copy(
            "copy perdure.tasks (name, metadata) from stdin"
        ) as copy:
            for zone in names:
                copy.write_row(("demo.offset", json.dumps({"zone": zone})))
        self._stage.say(
            f"Enqueued: one import of {self._pages} pages, {len(names)} small tasks from Python, "
            f"{inserted} by INSERT, {len(names)} by COPY."
        )

    def _interrupt_softly(self) -> None:
        """SIGTERM for the worker that runs the import, as a deploy does it."""
        self._until("a quarter is imported", lambda now: now.pages >= self._pages // 4)
        pid = self._stage.holder(self._import)
        name, pages = self._fleet.names[pid], self._counts().pages
        began = time.monotonic()
        code = self._fleet.terminate(pid)
        self._stage.say(
            f"[yellow]SIGTERM[/] for {name} after {pages} pages: it saved the checkpoint and "
            f"exited with {code} after {time.monotonic() - began:.1f} s."
        )
        self._stage.say(f"{self._fleet.start()} takes its place.")
        self._resumed(runs=2, since=time.monotonic())

    def _interrupt_hard(self) -> None:
        """SIGKILL for the worker that has it now, as a crash does it."""
        self._until("over a half is imported", lambda now: now.pages >= self._pages * 11 // 20)
        pid = self._stage.holder(self._import)
        name, pages = self._fleet.names[pid], self._counts().pages
        self._fleet.kill(pid)
        self._stage.say(f"[red]SIGKILL[/] for {name} after {pages} pages: it could not say a word.")
        self._stage.say(f"{self._fleet.start()} takes its place.")
        self._resumed(runs=3, since=time.monotonic())

    def _resumed(self, *, runs: int, since: float) -> None:
        self._until("the import goes on", lambda now: now.attempts >= runs)
        stored = self._stage.value("select first_page from demo_runs order by at desc limit 1")
        holder = self._fleet.names.get(self._stage.holder(self._import), "a worker")
        self._stage.say(
            f"[green]{holder} goes on with page {stored + 1}[/], "
            f"{time.monotonic() - since:.2f} s later."
        )

    def _until(self, what: str, reached: Callable[[Counts], bool]) -> None:
        def looked() -> bool:
            now = self._counts()
            self._draw(now)
            return reached(now)

        self._stage.until(what, looked)

    def _draw(self, now: Counts) -> None:
        if self._bars is not None:
            pages, small = self._bars
            note = f"run {now.attempts}" if now.attempts else ""
            self._progress.update(pages, completed=now.pages, note=note)
            self._progress.update(small, completed=min(now.ended, now.tasks - 1))

    def _counts(self) -> Counts:
        row = self._connection.execute(
            "select (select count(*) from perdure.tasks), (select count(*) from perdure.outcomes),"
            " (select count(distinct page) from demo_rows), (select count(*) from demo_runs)"
        ).fetchone()
        return Counts(*row) if row else Counts(0, 0, 0, 0)

    def report(self, seconds: float) -> dict[str, Any]:
        """What the database says about it all."""
        pages_twice = (
            "select count(*) from (select page from demo_rows group by page, line"
            " having count(*) > (select count(*) from demo_lines as d"
            " where d.page = demo_rows.page and d.line = demo_rows.line)) as twice"
        )
        value = self._stage.value
        self._connection.execute("create temporary table demo_lines (page int, line text)")
        with self._connection.cursor().copy("copy demo_lines from stdin") as copy:
            for number, page in enumerate(handlers.pages_of(self._request)):
                for row in page:
                    copy.write_row((number, "\t".join(row)))
        first_pages = [
            row[0]
            for row in self._connection.execute("select first_page from demo_runs order by attempt")
        ]
        return {
            "tasks": value("select count(*) from perdure.tasks"),
            "completed": value("select count(*) from perdure.outcomes where state = 'completed'"),
            "failed": value("select count(*) from perdure.outcomes where state <> 'completed'"),
            "interruptions": value(
                "select count(*) from perdure.attempts where kind = 'interruption'"
            ),
            "crashes": value("select count(*) from perdure.attempts where kind = 'crash'"),
            "resumed_from_checkpoint": len(first_pages) >= RUNS_LEAST and min(first_pages[1:]) > 0,
            "duplicated_pages": value(pages_twice),
            "missing_rows": value(
                "select (select count(*) from demo_lines) - (select count(*) from demo_rows)"
            ),
            "misplaced": value("select count(*) from perdure.misplaced_tasks"),
            "seconds": round(seconds, 1),
        }


def claims_of(report: dict[str, Any]) -> dict[str, bool]:
    """What the demo claims, and whether it is so."""
    return {
        "every task ended exactly once, as completed": report["completed"] == report["tasks"],
        "no task failed": report["failed"] == 0,
        "a worker was asked to stop in the middle": report["interruptions"] >= 1,
        "a worker was killed in the middle": report["crashes"] >= 1,
        "the import went on from its checkpoint": report["resumed_from_checkpoint"],
        "no page was imported twice": report["duplicated_pages"] == 0,
        "no row is missing": report["missing_rows"] == 0,
        "nothing is misplaced": report["misplaced"] == 0,
    }
