"""A publication of all tables, as logical replication and change capture make one."""

from __future__ import annotations

from typing import Any

from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended

Context = TaskContext[dict[str, Any], None]


async def test_tasks_go_their_way_in_a_database_that_publishes_all_tables(
    database: Database,
) -> None:
    database.execute("create publication everything for all tables")
    builder = TaskService.builder()

    @builder.task("plain")
    async def plain(_context: Context) -> None:
        pass

    @builder.task("retried")
    async def retried(context: Context) -> None:
        if context.attempt == 1:
            raise RuntimeError("on purpose")

    @builder.task("suspended")
    async def suspended(context: Context) -> Suspended | None:
        return Suspended() if context.attempt == 1 else None

    @builder.task("written")
    async def written(context: Context) -> None:
        async with context.transaction() as connection:
            await connection.execute("select")

    async with running(database, builder.build()) as worker:
        names = ("plain", "retried", "suspended", "written")
        tasks = {name: await worker.enqueue(name, unique_key=name) for name in names}
        await worker.state(tasks["retried"], "retrying")
        await worker.past(tasks["retried"])
        await worker.state(tasks["suspended"], "suspended")
        await worker.ask("select perdure.proceed(%s::bigint)", tasks["suspended"])
        for task_id in tasks.values():
            assert (await worker.ended(task_id))["state"] == "completed"
        later = await worker.enqueue("plain", delay="1 hour")
        assert await worker.ask("select perdure.cancel(%s::bigint)", later)
    database.check_drained()


def test_every_table_has_an_identity_for_a_publication(database: Database) -> None:
    assert database.rows("select 1 from pg_class where relnamespace = 'perdure'::regnamespace")
    without = database.rows(
        """
        select c.relname from pg_class as c
        where c.relnamespace = 'perdure'::regnamespace and c.relkind in ('r', 'p')
            and c.relreplident = 'd'
            and not exists (select from pg_index as i where i.indrelid = c.oid and i.indisprimary)
        """
    )
    assert without == []
