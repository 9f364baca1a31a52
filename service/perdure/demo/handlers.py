"""The demo's service, as a user writes one: a long import with a checkpoint, and many small tasks.

The tables that it imports are real: the IANA time zones and countries that come with the `tzdata`
package, or a CSV file of the user's own.
"""

from __future__ import annotations

import asyncio
import csv
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.service import TaskService


class ImportRequest(BaseModel):
    """What is to be imported: a CSV file, or without one the time zones and countries."""

    file: str | None = None
    rows_per_page: int = 10
    seconds_per_page: float = 0.08


class ImportProgress(BaseModel):
    """The checkpoint: how many pages have been stored."""

    pages: int = 0
    rows: int = 0


class ImportReport(BaseModel):
    """What was imported."""

    pages: int
    rows: int


class OffsetRequest(BaseModel):
    """A small task: how far is that zone from UTC?"""

    zone: str


class OffsetReport(BaseModel):
    """Hours east of UTC, at the moment of the run."""

    hours: float


table_import = TaskKind(
    "demo.import", ImportRequest, execution_metadata=ImportProgress, result=ImportReport
)
zone_offset = TaskKind("demo.offset", OffsetRequest, result=OffsetReport)

builder = TaskService.builder()


@builder.task(table_import)
async def import_table(context: TaskContext[ImportRequest, ImportProgress]) -> ImportReport:
    """Store page after page; each commits together with the checkpoint that says so."""
    request, progress = context.metadata, context.execution_metadata
    pages = pages_of(request)
    async with context.transaction() as connection:
        await connection.execute(
            "insert into demo_runs (attempt, first_page) values (%s, %s)",
            (context.attempt, progress.pages),
        )
    while progress.pages < len(pages):
        context.stop.check()  # asked to stop: end between two pages, go on elsewhere
        page = pages[progress.pages]
        async with context.transaction() as connection:
            for row in page:
                await connection.execute(
                    "insert into demo_rows (page, line) values (%s, %s)",
                    (progress.pages, "\t".join(row)),
                )
            # A page takes its time, so that there is a middle in which to be interrupted.
            await asyncio.sleep(request.seconds_per_page)
            progress.pages += 1
            progress.rows += len(page)
        context.progress(progress.pages, len(pages), "pages")
    return ImportReport(pages=progress.pages, rows=progress.rows)


@builder.task(zone_offset)
async def compute_offset(context: TaskContext[OffsetRequest, None]) -> OffsetReport:
    """Look the zone up in the time-zone database."""
    offset = datetime.now(UTC).astimezone(ZoneInfo(context.metadata.zone)).utcoffset()
    return OffsetReport(hours=0.0 if offset is None else offset.total_seconds() / 3600)


def zones() -> list[list[str]]:
    """The rows of the table of time zones: countries, coordinates, name."""
    return [row for row in _table("zone.tab") if len(row) >= 3]  # noqa: PLR2004  (three columns)


def pages_of(request: ImportRequest) -> list[list[list[str]]]:
    """The rows to import, cut into pages."""
    if request.file is None:
        rows = [*_table("iso3166.tab"), *zones()]
    else:
        with Path(request.file).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    size = request.rows_per_page
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _table(name: str) -> list[list[str]]:
    text = files("tzdata").joinpath("zoneinfo", name).read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


service = builder.build()
