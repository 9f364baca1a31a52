"""Execution metadata, and the ways to save it: alone, with business writes, or as steps."""

import os

import psycopg
from pydantic import BaseModel

from perdure import SyncTaskContext, TaskContext, TaskKind, TaskService


class Feed(BaseModel):
    pages: int


class Cursor(BaseModel):  # made with its defaults for the first run
    page: int = 0


class Order(BaseModel):
    number: int


feed_import = TaskKind("feed.import", Feed, execution_metadata=Cursor, result=int)
builder = TaskService.builder()


@builder.task(feed_import)
async def import_feed(context: TaskContext[Feed, Cursor]) -> int:
    cursor = context.execution_metadata
    while cursor.page < context.metadata.pages:
        context.stop.check()
        async with context.transaction() as connection:  # a psycopg.AsyncConnection
            await connection.execute("insert into pages (page) values (%s)", (cursor.page,))
            cursor.page += 1
    return cursor.page


@builder.task("feed.crawl")
async def crawl(context: TaskContext[Feed, Cursor]) -> int:
    cursor = context.execution_metadata
    while cursor.page < context.metadata.pages:
        cursor.page += 1
        if cursor.page % 10:
            context.checkpoint_soon()  # cheap: with whatever is written next
        else:
            await context.checkpoint()  # durable when it returns
    return cursor.page


def buy_label(number: int, key: str) -> str:
    return f"label {number}, bought as {key}"


@builder.task("order.ship")
async def ship(context: TaskContext[Order, None]) -> str:
    number = context.metadata.number
    label = await context.step("label", buy_label, number, context.step_key("label"))
    async with context.step("mail") as step:
        if not step.done:
            step.value = f"mailed as {step.key}"
    async with context.transaction(result=label) as connection:  # ends the task, too
        await connection.execute("insert into shipped (number) values (%s)", (number,))
    return label


@builder.task("order.close")
def close(context: SyncTaskContext[Order, None]) -> str:
    number = context.metadata.number
    with psycopg.connect(os.environ["SHOP_DSN"]) as connection:  # a connection of your own
        connection.execute("insert into closed (number) values (%s)", (number,))
        context.complete("closed", on=connection)
    return "closed"


service = builder.build()
