"""Mistakes that the type checker must refuse, on exactly the lines that are marked so."""

from __future__ import annotations

from tests.types.right_lifespans import Uses, client, number
from tests.types.right_lifespans import builder as lifespans
from tests.types.right_use import (
    FetchContext,
    Fetching,
    ImportProblem,
    ImportProgress,
    ImportReport,
    ImportRequest,
    Queued,
    builder,
    catalogue_import,
    double,
    fetch,
    fetch_page,
    machine,
    nightly_cleanup,
)

from perdure.declare.context import TaskContext
from perdure.declare.kind import NewTask, TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.tasks.outcomes import End, Failure, Next, Success
from perdure.tasks.triggers import Every


class WrongResult:
    async def execute(self, context: TaskContext[ImportRequest, ImportProgress]) -> str:
        return context.metadata.url


class WrongMetadata:
    async def execute(self, context: TaskContext[ImportReport, ImportProgress]) -> ImportReport:
        return context.metadata


class WrongContext:
    def execute(self, context: TaskContext[ImportRequest, ImportProgress]) -> ImportReport:
        return ImportReport(rows=context.execution_metadata.rows)


class WrongError:
    async def execute(
        self, context: TaskContext[ImportRequest, ImportProgress]
    ) -> ImportReport | Failure[str]:
        return Failure(context.metadata.url)


async def right(context: TaskContext[ImportRequest, ImportProgress]) -> ImportReport:
    await fetch(context.metadata.urll)  # refused: no such field
    context.metadata = ImportRequest(url="b")  # refused: metadata are not replaced
    context.execution_metadata.rows = "many"  # refused: a number
    context.execution_metadata = ImportReport(rows=1)  # refused: another model
    context.checkpoint()  # refused: forgotten await
    context.step("forgotten", fetch, "a")  # refused: forgotten await
    await context.step("wrong argument", double, "text")  # refused: takes a number
    text: str = await context.step("wrong type", double, 3)  # refused: gives a number
    async with context.step("block", returns=int) as step:
        step.value = text  # refused: a number
    with context.transaction():  # refused: async with
        pass
    await context.checkpoint(on="connection")  # refused: no connection
    await context.complete(ImportReport(rows=1))  # refused: needs on=
    await context.enqueue(catalogue_import)  # refused: needs metadata
    await context.enqueue(catalogue_import, ImportReport(rows=1))  # refused: another model
    await context.enqueue("by.name", priorty=3)  # refused: no such option
    if context.stop:
        await context.stop.check()  # refused: nothing to await
    return ImportReport()  # refused: rows are missing


def plain(context: SyncTaskContext[ImportRequest, ImportProgress]) -> ImportReport:
    with context.transaction() as connection:
        connection.executte("select 1")  # refused: no such method
    text: str = context.step("wrong type", double, 3)  # refused: gives a number
    context.stop.wait("long")  # refused: seconds
    return ImportReport(rows=len(text))


@builder.task(catalogue_import)  # refused: another result
async def wrong_result(context: TaskContext[ImportRequest, ImportProgress]) -> str:
    return context.metadata.url


@builder.task(nightly_cleanup)  # refused: other metadata
async def wrong_metadata(context: TaskContext[ImportRequest, None]) -> None:
    context.progress(1)


@machine.on(Queued)  # refused: no such state
async def wrong_state(state: Queued, context: FetchContext) -> Next[ImportReport]:
    return Next(ImportReport(rows=len(state.kind) + context.attempt))


@machine.on(Fetching)  # refused: another state
async def other_state(state: Queued, context: FetchContext) -> Next[Queued]:
    return Next(Queued(kind=state.kind)) if context.attempt else Next(state)


@machine.on(Queued)  # refused: another result
async def wrong_end(state: Queued, context: FetchContext) -> End[Queued, str]:
    return End(state, Success(context.metadata.url))


@machine.on(Fetching)  # refused: neither Next nor End
async def no_end(state: Fetching, context: FetchContext) -> ImportReport:
    await context.checkpoint()
    return ImportReport(rows=len(state.url))


TaskKind("wrong", ImportRequest, metadata=3)  # refused: said twice
TaskKind(ImportRequest)  # refused: a name first
NewTask(catalogue_import, ImportRequest(url="a"), unique_policy="drop")  # refused: no such policy
NewTask(catalogue_import, ImportProblem(reason="a"))  # refused: another model
NewTask(catalogue_import, ImportRequest(url="a"), execution_metadata=3)  # refused: another model
NewTask(nightly_cleanup, ImportRequest(url="a"))  # refused: takes none

builder.add_task(lambda task: task.of(catalogue_import).handled_by(WrongResult()))  # refused
builder.add_task(lambda task: task.of(catalogue_import).handled_by(WrongMetadata()))  # refused
builder.add_task(lambda task: task.of(catalogue_import).handled_by(WrongContext()))  # refused
builder.add_task(lambda task: task.of(catalogue_import).handled_by(WrongError()))  # refused
builder.add_task(lambda task: task.of(catalogue_import).made_by(WrongResult))  # refused
builder.add_task(lambda task: task.of(catalogue_import).with_retries(max=3))  # refused
builder.add_task(lambda task: task.named("a").with_retry(give_up_on="ValueError"))  # refused
builder.add_task(lambda task: task.named("a").with_unique_key(str, policy="drop"))  # refused
builder.add_task(lambda task: task.of(catalogue_import).with_unique_key(lambda m: m.id))  # refused
builder.add_task(lambda task: task.of(catalogue_import).handled_by(machine))  # refused
builder.add_task(lambda task: task.of(fetch_page).made_by(machine))  # refused
builder.task("name", timeout="soon")  # refused: seconds
builder.configur_execution(concurrency=3)  # refused: no such method
lifespans.add_task(lambda task: task.named("a").made_by(Uses, number, client))  # refused: order
lifespans.add_task(lambda task: task.named("a").made_by(Uses, client))  # refused: takes two
lifespans.add_lifespan("seven", lambda: 7)  # refused: no context manager, no generator
lifespans.add_singleton("seven", lambda: 7)  # refused: the same
number.value.upper()  # refused: a number
builder.add_schedule("a", catalogue_import, Every(60), ImportProblem(reason="a"))  # refused
builder.add_schedule("a", catalogue_import, Every(60))  # refused: takes metadata
builder.add_schedule("a", nightly_cleanup, "@daily")  # refused: a trigger
builder.add_schedule("a", nightly_cleanup, Every(60), overlap="both")  # refused: no such word
builder.schedule(Every(60), jiter=5)  # refused: no such option
