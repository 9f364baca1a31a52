"""What users write, used rightly: the type checker must accept every line of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.kind import Enqueued, NewTask, TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.policies import UNLIMITED, Delays, Exponential, Linear, RetryPolicy, Timeouts
from perdure.testing import arun, run


class ImportRequest(BaseModel):
    url: str


class ImportProgress(BaseModel):
    page_token: str | None = None
    rows: int = 0


class ImportReport(BaseModel):
    rows: int


class ImportProblem(BaseModel):
    reason: str


catalogue_import = TaskKind(
    "catalogue.import",
    ImportRequest,
    execution_metadata=ImportProgress,
    result=ImportReport,
    error=ImportProblem,
)
other_import = replace(catalogue_import, name="other.import")
nightly_cleanup = TaskKind("cleanup")
assert_type(catalogue_import, TaskKind[ImportRequest, ImportProgress, ImportReport, ImportProblem])
assert_type(nightly_cleanup, TaskKind[None, None, None, None])

builder = ServiceBuilder(lambda declared: declared)


class ImportCatalogue:
    def __init__(self, pages: list[str]) -> None:
        self.pages = pages

    async def execute(
        self, context: TaskContext[ImportRequest, ImportProgress]
    ) -> ImportReport | Failure[ImportProblem]:
        if not self.pages:
            return Failure(ImportProblem(reason="empty"), final=True)
        for page in self.pages:
            async with context.transaction() as connection:
                await connection.execute("select 1")
                context.execution_metadata.page_token = page
                context.execution_metadata.rows += 1
        return ImportReport(rows=context.execution_metadata.rows)


class BuildReport:
    def execute(self, context: SyncTaskContext[ImportRequest, ImportProgress]) -> ImportReport:
        with context.transaction(result=ImportReport(rows=1)):
            context.execution_metadata.rows = 1
        return ImportReport(rows=1)


def build_report_handler() -> BuildReport:
    return BuildReport()


async def fetch(url: str, tries: int = 1) -> ImportReport:
    return ImportReport(rows=len(url) * tries)


def double(number: int) -> int:
    return 2 * number


@builder.task(catalogue_import, queue="imports", retry=3, timeout=timedelta(minutes=5))
async def every_outcome(
    context: TaskContext[ImportRequest, ImportProgress],
) -> Outcome[ImportReport, ImportProblem]:
    assert_type(context.metadata, ImportRequest)
    assert_type(context.execution_metadata, ImportProgress)
    report = await context.step("fetch", fetch, context.metadata.url)
    assert_type(report, ImportReport)
    assert_type(await context.step("double", double, 2), int)
    async with context.step("mail", returns=int) as step:
        if not step.done:
            step.value = 3
        assert_type(step.value, int)
    child = await context.enqueue(catalogue_import, ImportRequest(url="b"), priority=2)
    assert_type(child, Enqueued)
    await context.enqueue(nightly_cleanup)
    await context.enqueue("by.name", {"any": 1}, delay=5)
    await context.checkpoint()
    context.checkpoint_soon()
    context.progress(1, 10, "one")
    if context.stop.requested:
        context.stop.check()
        await context.stop.wait()
        return Suspended(wait_key="payment:1")
    match report.rows:
        case 0:
            return Retry(after=timedelta(seconds=5))
        case 1:
            return Cancelled(ImportProblem(reason="not wanted"))
        case _:
            return Success(report)


@builder.task("by.annotations", retry=RetryPolicy(max_retries=UNLIMITED), timeout=Timeouts(soft=5))
def plain(context: SyncTaskContext[ImportRequest, None]) -> int:
    return context.step("double", double, 4)


def upgrade(old: dict[str, object]) -> dict[str, object]:
    return {"rows": old["count"]}


service = (
    builder.configure_persistence(schema_name="perdure")
    .configure_scheduling(batch_size=500, polling_delay=timedelta(milliseconds=500))
    .configure_execution(max_retry_count=3, concurrency=64)
    .add_task(lambda task: task.of(other_import).handled_by(ImportCatalogue(["a"])))
    .add_task(
        lambda task: (
            task.named("report.build")
            .with_metadata(ImportRequest)
            .with_execution_metadata(ImportProgress, version=2, upgrades={1: upgrade})
            .with_result(ImportReport)
            .with_error(ImportProblem)
            .made_by(build_report_handler)
            .isolated()
            .with_retry(max_retries=2, backoff=Exponential(base=1), give_up_on=ValueError)
            .with_retry(backoff=Linear(step=timedelta(seconds=3)), retry_on=(OSError, TimeoutError))
            .with_retry(backoff=Delays([1, timedelta(minutes=1)]), jitter=0.5)
            .with_timeout(soft=60, hard=timedelta(minutes=2))
            .with_stop_grace(3)
            .with_unique_key(lambda metadata: metadata.url, policy="replace")
            .on_queue("reports", priority=3)
            .requires("network", "disk")
            .with_aliases("report.make")
            .on_exhausted("report.apologise")
            .described_as("Builds a report")
        )
    )
    .on("task.completed", print)
    .build()
)
assert_type(service, Declared)

new_tasks = [
    NewTask(catalogue_import, ImportRequest(url="a"), unique_key="catalogue:7"),
    NewTask(catalogue_import, ImportRequest(url="b"), execution_metadata=ImportProgress(rows=1)),
]
assert_type(new_tasks, list[NewTask[ImportRequest, ImportProgress]])
assert_type(NewTask(nightly_cleanup), NewTask[None, None])


async def in_tests() -> None:
    outcome = run(ImportCatalogue([]), ImportRequest(url="a"), execution_metadata=ImportProgress())
    if isinstance(outcome, Failure):
        assert outcome.final
    await arun(plain, ImportRequest(url="a"), stop="shutdown")
