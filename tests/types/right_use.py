"""What users write, used rightly: the type checker must accept every line of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, assert_type

from pydantic import BaseModel

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.kind import Enqueued, NewTask, TaskKind
from perdure.declare.machine import StateMachine
from perdure.declare.sync_context import SyncTaskContext
from perdure.store.schedule_views import ScheduleView
from perdure.tasks.outcomes import (
    Cancelled,
    End,
    Failure,
    Next,
    Outcome,
    Retry,
    Success,
    Suspended,
)
from perdure.tasks.policies import UNLIMITED, Delays, Exponential, Linear, RetryPolicy, Timeouts
from perdure.tasks.triggers import Cron, Every
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


class Queued(BaseModel):
    kind: Literal["queued"] = "queued"


class Fetching(BaseModel):
    kind: Literal["fetching"] = "fetching"
    url: str


State: TypeAlias = Queued | Fetching


class Fetched(BaseModel):
    state: State = Queued()


fetch_page = TaskKind(
    "page.fetch",
    ImportRequest,
    execution_metadata=Fetched,
    result=ImportReport,
    error=ImportProblem,
)
FetchContext: TypeAlias = TaskContext[ImportRequest, Fetched]
machine = StateMachine[ImportRequest, Fetched, State, ImportReport, ImportProblem](max_steps=10)


@machine.on(Queued)
async def queued(state: Queued, context: FetchContext) -> Next[Fetching]:
    assert_type(context.execution_metadata.state, State)
    return Next(Fetching(url=context.metadata.url + state.kind))


@machine.on(Fetching)
async def fetching(
    state: Fetching, context: FetchContext
) -> Next[Queued] | End[State, ImportReport, ImportProblem]:
    match context.attempt:
        case 1:
            return End(state, Suspended(wait_key=state.url))
        case 2:
            return End(Queued(), Failure(ImportProblem(reason="gone"), final=True))
        case 3:
            return Next(Queued())
        case _:
            return End(state, Success(ImportReport(rows=1)))


untyped = StateMachine(field="state")


@untyped.on(Queued)
def at_once(state: Queued, context: SyncTaskContext[ImportRequest, Fetched]) -> End[Queued, int]:
    return End(state, Success(len(context.metadata.url)))


untyped.on(Fetching)(lambda state, _context: End(state, Success(1)))


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
    .add_task(lambda task: task.of(fetch_page).handled_by(machine))
    .add_task(lambda task: task.named("page.count").handled_by(untyped))
    .add_schedule("nightly", "catalogue.import", Cron("@daily"), {"url": "a"}, overlap="queue")
    .add_schedule("import", catalogue_import, Every(60), ImportRequest(url="a"), jitter=5)
    .add_schedule("count", "page.count", Every(timedelta(hours=1)), {"url": "a"}, tags=["a"])
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


async def scheduled(client: TaskClient, blocking: SyncTaskClient) -> None:
    put = await client.put_schedule("a", catalogue_import, Every(60), ImportRequest(url="a"))
    assert_type(put, str)
    await client.put_schedule("b", nightly_cleanup, Cron("@daily"), policy="keep")
    blocking.put_schedule("c", "by.name", Every(60), {"any": 1}, keep_phase=False, flex=30)
    assert_type(await client.get_schedule("a"), ScheduleView | None)
    assert_type(await client.preview_schedule(Every(60), 3), list[datetime])
    assert_type((await client.run_schedule("a")).task_id, int | None)


async def in_tests() -> None:
    outcome = run(ImportCatalogue([]), ImportRequest(url="a"), execution_metadata=ImportProgress())
    if isinstance(outcome, Failure):
        assert outcome.final
    await arun(machine, ImportRequest(url="a"), kind=fetch_page)
    await arun(plain, ImportRequest(url="a"), stop="shutdown")
