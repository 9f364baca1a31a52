"""A month of invoices: each page is added up, a report follows all of them, tidying follows it."""

import asyncio
import sys

from pydantic import BaseModel

from perdure import Edge, NewTask, TaskClient, TaskContext, TaskKind, TaskService


class Month(BaseModel):
    month: str


class Page(BaseModel):
    text: str


class Total(BaseModel):
    euros: int = 0


fetch = TaskKind("invoices.fetch", Month, result=Total)
page = TaskKind("invoices.page", Page, result=Total)
report = TaskKind("invoices.report", result=Total)
tidy = TaskKind("invoices.tidy", result=str)

builder = TaskService.builder().configure_execution(max_retry_count=0)


@builder.task(fetch)
async def fetch_balance(context: TaskContext[Month, None]) -> Total:
    return Total(euros=100 if context.metadata.month.endswith("-01") else 0)


@builder.task(page)
async def add_page(context: TaskContext[Page, None]) -> Total:
    return Total(euros=sum(map(int, context.metadata.text.split())))


@builder.task(report)
async def write_report(context: TaskContext[None, None]) -> Total:
    inputs = await context.inputs()
    before = inputs["balance"].result_as(Total)  # by its label
    pages = [one.result_as(Total) for one in inputs.all("invoices.page")]  # by name, in order
    return Total(euros=before.euros + sum(added.euros for added in pages))


@builder.task(tidy)
async def tidy_up(context: TaskContext[None, None]) -> str:
    inputs = await context.inputs()
    return f"the report has {inputs['invoices.report'].state}"


service = builder.build()


async def enqueue_month(client: TaskClient, texts: list[str]) -> list[int]:
    balance = NewTask(fetch, Month(month="2026-01"))
    pages = [NewTask(page, Page(text=text)) for text in texts]
    total = NewTask(report, after=[Edge(balance, label="balance")])
    last = NewTask(tidy, after=[Edge(total, on_failure="run")])
    handles = await client.chain(balance, pages, total, last)
    return [handle.id for handle in handles]


async def main() -> None:
    """Enqueue a month whose pages are the arguments; print the ids of its tasks in order."""
    async with TaskClient() as client:
        print(*await enqueue_month(client, sys.argv[1:]))


if __name__ == "__main__":
    asyncio.run(main())
