"""An import that goes on from its checkpoint, and a report that is built in a thread."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from perdure import Failure, SyncTaskContext, TaskContext, TaskKind, TaskService


class ImportRequest(BaseModel):
    """Metadata: what was asked."""

    pages: int = 10
    seconds_per_page: float = 0.0


class ImportProgress(BaseModel):
    """Execution metadata: the checkpoint."""

    page: int = 0


class ImportReport(BaseModel):
    """Result."""

    rows: int


class ImportProblem(BaseModel):
    """Error."""

    reason: str


catalogue_import = TaskKind(
    "catalogue.import",
    ImportRequest,
    execution_metadata=ImportProgress,
    result=ImportReport,
    error=ImportProblem,
)

builder = TaskService.builder().configure_execution(max_retry_count=3)


@builder.task(catalogue_import)
async def import_catalogue(
    context: TaskContext[ImportRequest, ImportProgress],
) -> ImportReport | Failure[ImportProblem]:
    """Store page after page; each row commits together with the checkpoint, or neither."""
    progress = context.execution_metadata
    if context.metadata.pages < 0:
        return Failure(ImportProblem(reason="pages must be 0 or more"), final=True)
    while progress.page < context.metadata.pages:
        context.stop.check()
        async with context.transaction() as connection:
            await connection.execute(
                "create table if not exists catalogue (task_id bigint, page int)"
            )
            await connection.execute(
                "insert into catalogue (task_id, page) values (%s, %s)",
                (context.task_id, progress.page),
            )
            progress.page += 1
        context.progress(progress.page, context.metadata.pages, "pages")
        await asyncio.sleep(context.metadata.seconds_per_page)
    return ImportReport(rows=progress.page)


@builder.task("report.build")
def build_report(context: SyncTaskContext[ImportRequest, None]) -> ImportReport:
    """A plain function runs in a thread; `context.stop.check()` lets it be stopped."""
    for _ in range(context.metadata.pages):
        context.stop.check()
    return ImportReport(rows=context.metadata.pages)


service = builder.build()
