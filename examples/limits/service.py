"""Limits: two exports of a tenant at once at most, and refreshes that give way to the newest."""

import asyncio

from pydantic import BaseModel

from perdure import TaskContext, TaskKind, TaskService


class Export(BaseModel):
    tenant: str
    table: str = "orders"


class Refresh(BaseModel):
    page: str


export = TaskKind("tenant.export", Export, result=str)
refresh = TaskKind("page.refresh", Refresh)


async def write_export(context: TaskContext[Export, None]) -> str:
    await asyncio.sleep(0.05)  # reads the tenant's database, which bears two of us
    return f"{context.metadata.tenant}/{context.metadata.table}.csv"


async def render(context: TaskContext[Refresh, None]) -> None:
    await asyncio.sleep(0.05)
    context.stop.check()


service = (
    TaskService.builder()
    .add_task(
        lambda task: task.of(export).with_max_instances(2, key="tenant").handled_by(write_export)
    )
    .add_task(
        lambda task: (
            task.of(refresh)
            .with_max_instances(1, key="page", when_full="cancel_previous")
            .handled_by(render)
        )
    )
    .build()
)
