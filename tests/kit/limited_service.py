"""A service whose one task may run twice at once for each tenant, and notes when it does."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.declare.task_builder import TaskBuilder
from perdure.service import TaskService

AT_ONCE = 2


class Visit(BaseModel):
    """Whose task it is, and for how long it runs."""

    tenant: str
    seconds: float = 0.03


async def visit(context: TaskContext[Visit, None]) -> None:
    """Note the begin and the end."""
    note("begin", context.task_id, tenant=context.metadata.tenant)
    await asyncio.sleep(context.metadata.seconds)
    note("end", context.task_id, tenant=context.metadata.tenant)


def limited(task: TaskBuilder[Any, Any, Any, Any]) -> TaskBuilder[Any, Any, Any, Any]:
    """Say what it is."""
    return task.named("visit").with_max_instances(AT_ONCE, key="tenant").handled_by(visit)


service: Any = TaskService.builder().add_task(limited).build()
