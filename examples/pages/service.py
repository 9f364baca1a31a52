"""An import that commits each page together with its checkpoint: the example of the README."""

from pydantic import BaseModel

from perdure import TaskContext, TaskKind, TaskService


class ImportRequest(BaseModel):  # metadata: what was asked
    pages: int


class ImportProgress(BaseModel):  # execution metadata: the checkpoint
    page: int = 0


class ImportReport(BaseModel):  # result
    rows: int


catalogue_import = TaskKind(
    "catalogue.import", ImportRequest, execution_metadata=ImportProgress, result=ImportReport
)
builder = TaskService.builder().configure_execution(max_retry_count=3)


@builder.task(catalogue_import)
async def import_catalogue(context: TaskContext[ImportRequest, ImportProgress]) -> ImportReport:
    progress = context.execution_metadata
    while progress.page < context.metadata.pages:
        context.stop.check()  # a deploy: end here, go on elsewhere
        async with context.transaction() as connection:  # the row and the checkpoint, or neither
            await connection.execute("create table if not exists catalogue (page int)")
            await connection.execute("insert into catalogue (page) values (%s)", (progress.page,))
            progress.page += 1
    return ImportReport(rows=progress.page)


service = builder.build()
