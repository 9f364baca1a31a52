"""Clients on the test's database, and factories that stand in for a worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import TaskKind


class Request(BaseModel):
    url: str


class Checkpoint(BaseModel):
    token: str | None = None


class Report(BaseModel):
    rows: int


class Problem(BaseModel):
    reason: str


IMPORT = TaskKind(
    "catalogue.import", Request, execution_metadata=Checkpoint, result=Report, error=Problem
)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[TaskClient]:
    async with TaskClient(database.dsn) as made:
        yield made


@pytest.fixture
def sync_client(database: Database) -> Iterator[SyncTaskClient]:
    with SyncTaskClient(database.dsn) as made:
        yield made


class End(Protocol):
    def __call__(
        self, task_id: int, state: str = "completed", *, result: Any = None, error: Any = None
    ) -> None: ...


@pytest.fixture
def end(database: Database) -> End:
    """Ends a task that is ready, as a worker would."""

    def ended(
        task_id: int, state: str = "completed", *, result: Any = None, error: Any = None
    ) -> None:
        texts = [None if value is None else json.dumps(value) for value in (result, error)]
        moved = database.execute(
            """
            with taken as (delete from perdure.ready where task_id = %s::bigint returning task_id)
            insert into perdure.outcomes (task_id, attempt, state, started_at, result, error)
            select t.task_id, coalesce(p.attempt, 0) + 1, %s::text, clock_timestamp(),
                %s::jsonb, %s::jsonb
            from taken as t left join perdure.progress as p on p.task_id = t.task_id
            """,
            [task_id, state, *texts],
        )
        assert moved == 1, f"task {task_id} is not ready"

    return ended


@pytest.fixture
def suspend(database: Database) -> Callable[[int, str | None], None]:
    """Suspends a task that is ready."""

    def suspended(task_id: int, wait_key: str | None = None) -> None:
        moved = database.execute(
            """
            with taken as (delete from perdure.ready where task_id = %s::bigint returning task_id)
            insert into perdure.waiting (task_id, reason, wait_key)
            select task_id, 'suspended', %s::text from taken
            """,
            [task_id, wait_key],
        )
        assert moved == 1, f"task {task_id} is not ready"

    return suspended


@pytest.fixture
def commits(database: Database) -> Callable[[], int]:
    """How many different transactions have written the tasks that are there."""

    def counted() -> int:
        return int(database.value("select count(distinct xmin::text) from perdure.tasks"))

    return counted
