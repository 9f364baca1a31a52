"""Two installations in one database, with odd names, that do not see each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel
from tests.kit.databases import Database, Server, new_database
from tests.kit.fleet import PATIENCE, QUICK

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import Answer
from perdure.run.worker import Worker
from perdure.service import TaskService
from perdure.store.database import Database as Store
from perdure.store.database import statements
from perdure.store.migrate import migrate

NAMES = ('the "first" $x$ one', "100% 'second' perdure.")
DEAD = """
    insert into perdure.workers (id, name, host, pid, version, lease_seconds, heartbeat_at)
    values (7, 'dead', 'h', 7, '1', 1, '2020-01-01')
"""
HELD = """
    with taken as (delete from perdure.ready returning task_id)
    insert into perdure.leases (id, worker_id, task_ids)
    select %s, 7, array_agg(task_id) from taken
"""


class Origin(BaseModel):
    """Metadata: the schema in which the task was enqueued."""

    schema_name: str


class Installation(NamedTuple):
    """One schema of the database, and which tasks a worker of it has run."""

    database: Database
    ran: list[str]

    @property
    def channel(self) -> str:
        return Store({}, self.database.schema).channel

    def client(self) -> TaskClient:
        return TaskClient(self.database.dsn, schema_name=self.database.schema)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """A worker of this schema."""
        builder = TaskService.builder()

        @builder.task("origin")
        async def run(context: TaskContext[Origin, None]) -> None:
            self.ran.append(context.metadata.schema_name)

        service = builder.build()
        own = {"dsn": self.database.dsn, "persistence.schema_name": self.database.schema}
        service.override({**QUICK, **own})
        async with service.worker() as worker:
            yield worker

    def insert(self, count: int = 1) -> None:
        self.database.execute(
            "insert into perdure.tasks (name, metadata) select 'origin',"
            " jsonb_build_object('schema_name', %s::text) from generate_series(1, %s::integer)",
            [self.database.schema, count],
        )

    def states(self) -> list[str]:
        return [row[0] for row in self.database.rows("select state from perdure.task_states")]


@pytest.fixture
def installations(server: Server) -> Iterator[Sequence[Installation]]:
    with new_database(server) as database:
        made = []
        for name in NAMES:
            migrate(database.dsn, schema_name=name)
            made.append(Installation(Database(server, database.name, name), []))
        yield made
        for installation in made:
            installation.database.check()
            installation.database.close()


async def ended(installation: Installation) -> None:
    """Wait until all tasks of the schema have ended."""
    async with installation.client() as client:
        ids = [task.id async for task in client.search()]
        for id_ in ids:
            await client.result(id_, timeout=PATIENCE)


async def test_each_worker_runs_the_tasks_of_its_own_schema(
    installations: Sequence[Installation],
) -> None:
    async with AsyncExitStack() as stack:
        for installation in installations:
            await stack.enter_async_context(installation.worker())
            client = await stack.enter_async_context(installation.client())
            handle = await client.enqueue("origin", {"schema_name": installation.database.schema})
            installation.insert(9)
            await handle.result(timeout=PATIENCE)
        for installation in installations:
            await ended(installation)
            assert installation.ran == [installation.database.schema] * 10
    for installation in installations:
        installation.database.check_drained()


async def test_a_task_waits_for_a_worker_of_its_own_schema(
    installations: Sequence[Installation],
) -> None:
    first, second = installations
    for installation in installations:
        installation.insert(3)
    async with second.worker():
        await ended(second)
        assert first.states() == ["pending"] * 3
        async with first.worker():
            await ended(first)
    assert [len(installation.ran) for installation in installations] == [3, 3]


async def test_workers_keys_and_pauses_are_those_of_their_schema(
    installations: Sequence[Installation],
) -> None:
    first, second = installations
    async with first.client() as one, second.client() as other, first.worker():
        assert [len(await client.workers()) for client in (one, other)] == [1, 0]
        assert await one.pause_queue("default") == "paused"
        assert await other.resume_queue("default") == "not_paused"
        keyed: dict[str, Any] = {"unique_key": "k", "delay": 60}
        handles = [await client.enqueue("origin", {}, **keyed) for client in (one, other)]
        assert [handle.answer for handle in handles] == [Answer.CREATED] * 2
        assert (await one.cancel_where(unique_key="k")).cancelled == 1
    assert (first.states(), second.states()) == (["cancelled"], ["scheduled"])


def test_a_dead_worker_is_recovered_in_its_own_schema(
    installations: Sequence[Installation],
) -> None:
    recovered = []
    for number, installation in enumerate(installations):
        installation.insert(2)
        installation.database.execute(DEAD)
        installation.database.execute(HELD, [UUID(int=number + 1)])
    for installation in installations:
        recover = statements(installation.database.schema)["recover"]
        answer = installation.database.connection.execute(recover, {"reported_only": False})
        recovered.append(answer.fetchall())
        assert installation.states() == ["pending"] * 2
        assert installation is not installations[0] or installations[1].states() == ["running"] * 2
    assert recovered == [[(7, "dead", 2, 0)]] * 2


def test_a_notification_is_heard_in_its_own_schema(
    installations: Sequence[Installation],
) -> None:
    first, second = installations
    types = '[{"name": "origin", "queue": "default", "priority": 5}]'
    with psycopg.connect(first.database.dsn, autocommit=True) as ears:
        for installation in installations:
            installation.database.execute("select perdure.register_types(%s::jsonb)", [types])
            awaits = statements(installation.database.schema)["await_work"]
            values = {"queues": ["default"], "seconds": 60}
            installation.database.connection.execute(awaits, values)
            for channel in (installation.channel, f"{installation.channel}_mail"):
                ears.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        first.insert()
        second.database.execute("select perdure.pause_queue('default')")
        heard = [notify.channel for notify in ears.notifies(timeout=PATIENCE, stop_after=2)]
    assert first.channel != second.channel
    assert heard == [first.channel, f"{second.channel}_mail"]
