"""A wake-up is heard whenever it comes."""

from __future__ import annotations

from typing import Any

from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.service import TaskService


async def test_a_wake_up_that_arrives_with_the_answer_to_a_beat_is_heard(
    database: Database,
) -> None:
    builder = TaskService.builder()

    @builder.task("work")
    async def work(_: TaskContext[dict[str, Any], None]) -> None:
        """Nothing."""

    async with running(database, builder.build()) as worker:
        await worker.ended(await worker.enqueue("work"))
        await worker.until(lambda: worker.worker._enqueuer.empty_since)
        # The beat's own transaction enqueues: the server sends the notification with its answer.
        database.execute(
            "create function enqueue_once() returns trigger language plpgsql as $$ begin"
            " if (select count(*) from perdure.tasks) = 1 then"
            " insert into perdure.tasks (name) values ('work'); end if; return null; end $$;"
            "create trigger enqueue_once after update on perdure.workers"
            " for each row execute function enqueue_once()"
        )
        second = await worker.until(
            lambda: database.value("select max(id) from perdure.tasks having count(*) = 2")
        )
        await worker.ended(second, timeout=1.5)
    database.check_drained()
