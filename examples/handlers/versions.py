"""A handler whose execution metadata has changed since the last deploy, and its name as well."""

from typing import Any

from pydantic import BaseModel

from perdure import TaskContext, TaskService


class Copy(BaseModel):
    rows: int


class Position(BaseModel):  # version 2; version 1 had `page`, of 100 rows each
    row: int = 0


def from_pages(old: dict[str, Any]) -> dict[str, Any]:
    return {"row": old["page"] * 100}


async def copy(context: TaskContext[Copy, Position]) -> int:
    position = context.execution_metadata
    begun_at = position.row
    position.row = context.metadata.rows
    return position.row - begun_at


service = (
    TaskService.builder()
    .add_task(
        lambda task: (
            task.named("table.copy")
            .handled_by(copy)
            .with_aliases("copy_table")  # its name before
            .with_execution_metadata(Position, version=2, upgrades={1: from_pages})
        )
    )
    .build()
)
