"""Unique keys under concurrency: one is created, and who waits gets what became of the first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from tests.integration.client.conftest import End
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE

from perdure.client.client import TaskClient
from perdure.client.results import Patience
from perdure.declare.kind import Answer, NewTask


@pytest.mark.conformance("C61")
async def test_of_fifty_concurrent_enqueues_of_a_key_one_is_created(
    client: TaskClient, database: Database
) -> None:
    async with TaskClient(database.dsn) as other, TaskClient(database.dsn) as third:
        clients = [client, other, third]
        handles = await asyncio.gather(
            *(clients[n % 3].enqueue("a", unique_key="k") for n in range(50))
        )

    answers = [handle.answer for handle in handles]
    assert (answers.count(Answer.CREATED), answers.count(Answer.KEPT)) == (1, 49)
    assert len({handle.id for handle in handles}) == 1
    assert database.value("select count(*) from perdure.tasks") == 1


@pytest.mark.conformance("C66")
@pytest.mark.parametrize(
    ("ending", "answer"), [("commit", Answer.KEPT), ("rollback", Answer.CREATED)]
)
async def test_a_second_enqueue_of_a_key_waits_for_the_first(
    client: TaskClient, database: Database, ending: str, answer: Answer
) -> None:
    async with await psycopg.AsyncConnection.connect(database.dsn) as connection:
        first = await client.enqueue("a", on=connection, unique_key="k")
        second = asyncio.ensure_future(client.enqueue("a", unique_key="k"))
        await waits_for_a_lock(database)
        # Enqueues without a key do not wait for it.
        assert (await client.enqueue("b")).answer is Answer.CREATED
        assert not second.done()
        await (connection.commit() if ending == "commit" else connection.rollback())

    handle = await second
    assert handle.answer is answer
    assert (handle.id == first.id) is (answer is Answer.KEPT)
    assert database.value("select count(*) from perdure.tasks where unique_key = 'k'") == 1


async def test_opposite_orders_of_keys_do_not_deadlock(
    client: TaskClient, database: Database
) -> None:
    keys = [f"k{n}" for n in range(40)]
    async with TaskClient(database.dsn) as other:
        forth, back = await asyncio.gather(
            client.enqueue_many(NewTask("a", unique_key=key) for key in keys),
            other.enqueue_many(NewTask("a", unique_key=key) for key in reversed(keys)),
        )

    assert [handle.id for handle in forth] == [handle.id for handle in reversed(back)]
    assert database.value("select count(*) from perdure.tasks") == 40


async def test_replace_cancels_the_holder_and_an_ended_one_holds_nothing(
    client: TaskClient, end: End
) -> None:
    first = await client.enqueue("a", unique_key="k")
    second = await client.enqueue("a", unique_key="k", unique_policy="replace")
    end(second.id)
    third = await client.enqueue("a", unique_key="k")

    replaced = await client.get(first.id)
    assert replaced is not None
    assert (replaced.state, replaced.reason) == ("cancelled", "replaced")
    assert (second.answer, third.answer) == (Answer.REPLACED, Answer.CREATED)


async def test_gathered_keys_share_commits_too(
    client: TaskClient, commits: Callable[[], int]
) -> None:
    await asyncio.gather(*(client.enqueue("a", unique_key=f"k{n}") for n in range(100)))
    assert commits() == 1


async def waits_for_a_lock(database: Database) -> None:
    patience = Patience(timeout=PATIENCE)
    waiting = (
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
    )
    while not database.value(waiting, [database.name]):
        await patience.wait("nobody has waited for a lock")


async def test_the_line_of_a_key_survives_the_cancel_of_its_last(
    client: TaskClient, database: Database, end: End
) -> None:
    running = await client.enqueue("a", unique_key="k")
    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
        " values (1, 'w', 'h', 2, '0.1', 10)"
    )
    database.execute(
        "with taken as (delete from perdure.ready returning task_id)"
        " insert into perdure.leases (id, worker_id, task_ids)"
        " select gen_random_uuid(), 1, array[task_id] from taken"
    )
    blocked = await client.enqueue("a", unique_key="k", unique_policy="replace")
    assert await client.cancel(blocked.id) == "cancelled"
    assert await client.retry(blocked.id) == "key_taken"

    again = await client.enqueue("a", unique_key="k")
    task = await client.get(again.id)
    assert task is not None
    assert (again.answer, task.state) == (Answer.CREATED, "blocked")
    assert task.waiting_for == f"task {running.id}"
