"""A worker says at its start how safe the server is, and refuses an unsafe one."""

from __future__ import annotations

import pytest
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.errors import ConfigurationError
from perdure.run.events import WorkerStarted
from perdure.service import TaskService


async def test_a_worker_refuses_a_server_without_fsync_unless_that_is_accepted(
    database: Database,
) -> None:
    service = TaskService.builder().build()
    with pytest.raises(ConfigurationError, match="allow_unsafe_durability"):
        async with running(database, service, persistence__allow_unsafe_durability=False):
            raise AssertionError


async def test_the_durability_class_is_told_at_the_start(database: Database) -> None:
    told: list[WorkerStarted] = []
    service = TaskService.builder().on("worker.started", told.append).build()
    async with running(database, service):
        pass
    assert [event.durability for event in told] == ["unsafe"]
