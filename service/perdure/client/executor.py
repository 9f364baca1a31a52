"""Who carries an operation out, if its arguments are right: the pool, or the caller's own."""

from __future__ import annotations

from typing import TypeVar

from perdure.client.arguments import checked
from perdure.store import binding
from perdure.store.database import Database, statements
from perdure.store.operations import Operation
from perdure.store.perform import perform, perform_sync

A = TypeVar("A")


class Executor:
    """On the event loop: what every part of `TaskClient` stands on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _do(self, operation: Operation[A], on: object | None = None) -> A:
        checked(operation, statements(self._database.schema_name)[operation.statement])
        if on is None:
            return await perform(self._database, operation)
        params = operation.params
        rows = await binding.execute(on, self._database, operation.statement, params)
        return operation.read(rows)


class SyncExecutor:
    """In threads: what every part of `SyncTaskClient` stands on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _do(self, operation: Operation[A], on: object | None = None) -> A:
        checked(operation, statements(self._database.schema_name)[operation.statement])
        if on is None:
            return perform_sync(self._database, operation)
        params = operation.params
        rows = binding.execute_sync(on, self._database, operation.statement, params)
        return operation.read(rows)
