"""A connection that is lost: what is repeated, what is unknown, and what never happened."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from tests.kit.databases import Database
from tests.kit.fleet import QUICK
from tests.kit.logins import new_login
from tests.kit.proxy import Proxy, Where, proxied
from tests.kit.running import Running

from perdure.client.client import TaskClient, TaskHandle
from perdure.client.opening import open_database
from perdure.client.sync import SyncTaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import Answer, NewTask
from perdure.errors import DatabaseUnavailable, QueueFull, UnknownOutcome
from perdure.service import TaskService
from perdure.store.commit import committed_sync
from perdure.store.operations import DOCUMENT_TASKS_MAX
from perdure.tasks.policies import UniquePolicy

PATIENCE_SECONDS = 0.5
"""How long a pool of these tests waits for a server that is not there."""
UNSAMPLED = "update perdure.queues set sampled_at = null"


@pytest.fixture
def cutter(database: Database) -> Iterator[Proxy]:
    with proxied(database.dsn) as made:
        yield made


def tasks(database: Database) -> int:
    return int(database.value("select count(*) from perdure.tasks"))


def nowhere(database: Database) -> str:
    """The same database on a server that is not there."""
    return make_conninfo(database.dsn, host="127.0.0.1", port=1)


async def test_an_enqueue_without_a_key_is_unknown_and_not_repeated(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        with pytest.raises(UnknownOutcome, match="may or may not have taken effect"):
            await client.enqueue("a")
        assert (cutter.cuts, tasks(database)) == (1, 1)
        assert (await client.enqueue("a")).answer is Answer.CREATED

        cutter.cut(b"enqueue_many")
        both = await asyncio.gather(
            client.enqueue("a"), client.enqueue("a"), return_exceptions=True
        )
        assert [type(answer) for answer in both] == [UnknownOutcome, UnknownOutcome]
        assert both[0] is not both[1]
        assert tasks(database) == 4


async def test_an_enqueue_with_a_key_is_repeated_and_makes_one_task(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        handle = await client.enqueue("a", unique_key="k")
        cutter.cut(b"enqueue_many")
        gathered = await asyncio.gather(
            *(client.enqueue("a", unique_key=f"g{n}") for n in range(5))
        )

        cutter.cut(b"enqueue")
        replacing = await client.enqueue("a", unique_key="k", unique_policy="replace")

    assert cutter.cuts == 3
    assert (handle.answer, replacing.answer) == (Answer.CREATED, Answer.REPLACED)
    assert len({each.id for each in gathered}) == 5
    assert tasks(database) == 7
    assert database.value("select max(id) from perdure.tasks") == replacing.id


@pytest.mark.parametrize("policy", ["keep", "update", "reject"])
async def test_what_leaves_one_task_of_a_key_is_repeated_and_answered_as_it_was(
    database: Database, cutter: Proxy, policy: UniquePolicy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        made = await client.enqueue("a", unique_key="k", unique_policy=policy)
        assert made.answer is Answer.CREATED
        if policy == "update":
            cutter.cut(b"enqueue")
            updated = await client.enqueue("a", {"n": 1}, unique_key="k", unique_policy=policy)
            assert (updated.id, updated.answer) == (made.id, Answer.UPDATED)
            audited = "select count(*) from perdure.audit where action = 'update'"
            assert (cutter.cuts, database.value(audited)) == (2, 1)
    assert tasks(database) == 1


async def test_what_appends_to_a_line_is_unknown_and_not_repeated(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        with pytest.raises(UnknownOutcome, match="unless it appends"):
            await client.enqueue("a", unique_key="k", unique_policy="append")
        # Each goes with its kind: what can be repeated is.
        cutter.cut(b"enqueue_many")
        both = [client.enqueue("a", unique_key="k", unique_policy="append") for _ in range(2)]
        kept, *lost = await asyncio.gather(
            client.enqueue("a", unique_key="l"), *both, return_exceptions=True
        )
        assert isinstance(kept, TaskHandle)
        assert kept.answer is Answer.CREATED
        assert [type(each) for each in lost] == [UnknownOutcome, UnknownOutcome]
    assert (cutter.cuts, tasks(database)) == (2, 4)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_repeat_that_finds_no_server_does_not_deny_the_first_try(
    database: Database, cutter: Proxy, count: int
) -> None:
    async with TaskClient(cutter.dsn) as client:
        pool = await client._database.pool()
        await pool.wait()  # Else a second connection is made for who comes before the first.
        pool.timeout = PATIENCE_SECONDS
        cutter.cut(b"enqueue", then=partial(cutter.lead_to, nowhere(database)))
        answers = await asyncio.gather(
            *(client.enqueue("a", unique_key=f"k{n}") for n in range(count)),
            return_exceptions=True,
        )
        after = await asyncio.gather(client.enqueue("a", unique_key="k"), return_exceptions=True)

    assert [type(answer) for answer in answers] == [UnknownOutcome] * count
    assert {type(answer.__cause__) for answer in answers if isinstance(answer, Exception)} == {
        DatabaseUnavailable
    }
    assert [type(answer) for answer in after] == [DatabaseUnavailable]
    assert (cutter.cuts, tasks(database)) == (1, count)


def test_a_repeat_of_a_thread_that_finds_no_server_does_not_deny_the_first_try(
    database: Database, cutter: Proxy
) -> None:
    with SyncTaskClient(cutter.dsn) as client:
        client.get(1)  # Now there is a connection, and it is not waited for.
        client._database.sync_pool().timeout = PATIENCE_SECONDS
        cutter.cut(b"enqueue", then=partial(cutter.lead_to, nowhere(database)))
        with pytest.raises(UnknownOutcome) as caught:
            client.enqueue("a", unique_key="k")
    assert isinstance(caught.value.__cause__, DatabaseUnavailable)
    assert (cutter.cuts, tasks(database)) == (1, 1)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_repeat_on_a_queue_that_the_first_try_has_filled_is_answered(
    database: Database, cutter: Proxy, count: int
) -> None:
    async with TaskClient(cutter.dsn) as client:
        await client.set_queue("default", max_depth=count)
        cutter.cut(b"enqueue", then=partial(database.execute, UNSAMPLED))
        handles = await asyncio.gather(
            *(client.enqueue("a", unique_key=f"k{n}") for n in range(count))
        )
        with pytest.raises(QueueFull):
            await client.enqueue("a", unique_key="k")

    assert [handle.answer for handle in handles] == [Answer.CREATED] * count
    assert (cutter.cuts, tasks(database)) == (1, count)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_repeat_that_is_refused_does_not_deny_the_first_try(
    database: Database, cutter: Proxy, count: int
) -> None:
    others = (
        "update perdure.queues set max_depth = null;"
        " select perdure.enqueue('b', unique_key => 'k0', unique_policy => 'replace');"
        f" update perdure.queues set max_depth = {count}, sampled_at = null"
    )
    async with TaskClient(cutter.dsn) as client:
        await client.set_queue("default", max_depth=count)
        cutter.cut(b"enqueue", then=partial(database.execute, others))
        answers = await asyncio.gather(
            *(client.enqueue("a", unique_key=f"k{n}") for n in range(count)),
            return_exceptions=True,
        )

    assert [type(answer) for answer in answers] == [UnknownOutcome] * count
    assert {type(answer.__cause__) for answer in answers if isinstance(answer, Exception)} == {
        QueueFull
    }
    assert (cutter.cuts, tasks(database)) == (1, count + 1)


async def test_one_that_replaces_another_on_its_way_waits_for_its_answer(
    database: Database, cutter: Proxy
) -> None:
    options: dict[str, Any] = {"unique_key": "k", "unique_policy": "replace"}
    async with TaskClient(cutter.dsn) as client:
        sent = asyncio.Event()
        loop = asyncio.get_running_loop()
        cutter.cut(b"enqueue", then=partial(loop.call_soon_threadsafe, sent.set))
        first = asyncio.create_task(client.enqueue("a", **options))
        await asyncio.sleep(0)  # It begins, and is in no batch with what comes now.
        await asyncio.sleep(0)
        second = asyncio.create_task(client.enqueue("a", **options))
        answers = await asyncio.gather(first, second)
        assert sent.is_set()
    assert [answer.answer for answer in answers] == [Answer.CREATED, Answer.REPLACED]
    live = "select id from perdure.task_states where state = 'pending'"
    assert database.rows(live) == [(answers[1].id,)]
    assert tasks(database) == 2


async def test_two_that_replace_each_other_at_one_moment_make_a_task_each_when_repeated(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        handles = await asyncio.gather(
            *(client.enqueue("a", unique_key="k", unique_policy="replace") for _ in range(2))
        )

    assert [handle.answer for handle in handles] == [Answer.CREATED, Answer.REPLACED]
    assert (cutter.cuts, tasks(database)) == (1, 2)


async def test_a_lost_commit_names_the_transaction_that_can_be_asked_about(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        for call in (
            lambda: client.enqueue_many([NewTask("a"), NewTask("b")]),
            lambda: client.copy("a", [{}, {}]),
        ):
            cutter.cut(b"COMMIT")
            with pytest.raises(UnknownOutcome) as caught:
                await call()
            question = re.search(r"`(select pg_xact_status\('\d+'\))`", str(caught.value))
            assert question is not None
            assert database.value(question[1]) == "committed"
    assert tasks(database) == 4


async def test_what_is_lost_before_the_commit_is_repeated(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue_many", times=2)
        handles = await client.enqueue_many([NewTask("a"), NewTask("b")])

    assert cutter.cuts == 2
    assert [handle.answer for handle in handles] == [Answer.CREATED] * 2
    assert tasks(database) == 2


async def test_tasks_that_come_during_a_lost_transaction_are_there_in_the_next(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:

        def coming(*, failing: bool = False) -> Iterator[NewTask[None, None]]:
            yield from (NewTask("a") for _ in range(DOCUMENT_TASKS_MAX))
            cutter.cut(b"enqueue_many")
            yield from (NewTask("b") for _ in range(5))
            if failing:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.enqueue_many(coming(failing=True))
        assert tasks(database) == 0
        handles = await client.enqueue_many(coming())

    assert len({handle.id for handle in handles}) == DOCUMENT_TASKS_MAX + 5
    assert tasks(database) == DOCUMENT_TASKS_MAX + 5


async def test_reads_are_repeated_and_give_up_after_a_while(
    database: Database, cutter: Proxy
) -> None:
    async with TaskClient(cutter.dsn) as client:
        handle = await client.enqueue("a")
        cutter.cut(b"task", times=2)
        assert (await client.get(handle.id)) is not None
        cutter.cut(b"task", times=3)
        with pytest.raises(DatabaseUnavailable):
            await client.get(handle.id)


def test_the_synchronous_client_does_the_same(database: Database, cutter: Proxy) -> None:
    with SyncTaskClient(cutter.dsn) as client:
        cutter.cut(b"enqueue")
        with pytest.raises(UnknownOutcome):
            client.enqueue("a")
        cutter.cut(b"enqueue")
        assert client.enqueue("a", unique_key="k").answer is Answer.CREATED
        cutter.cut(b"COMMIT")
        with pytest.raises(UnknownOutcome, match="pg_xact_status"):
            client.enqueue_many([NewTask("a")])
        cutter.cut(b"COMMIT")
        with pytest.raises(UnknownOutcome, match="pg_xact_status"):
            client.copy("a", [{}])
    assert tasks(database) == 4


async def test_connections_that_died_in_the_pool_are_not_noticed(database: Database) -> None:
    async with TaskClient(database.dsn) as client:
        await asyncio.gather(*(client.get(n) for n in range(8)))
        hang_up(database)
        assert (await client.enqueue("a")).answer is Answer.CREATED
        assert len(await asyncio.gather(*(client.history(n) for n in range(8)))) == 8
    with SyncTaskClient(database.dsn) as sync_client:
        sync_client.get(1)
        hang_up(database)
        assert sync_client.enqueue("a").answer is Answer.CREATED


async def test_a_server_that_is_not_there_is_unavailable(database: Database) -> None:
    dsn = nowhere(database)
    client = TaskClient(dsn)
    with pytest.raises(DatabaseUnavailable):
        await client.enqueue("a")
    with pytest.raises(DatabaseUnavailable), SyncTaskClient(dsn):
        pass
    await client.close()


def hang_up(database: Database) -> None:
    """End every other session of the database, and wait until they are gone."""
    database.execute(
        """
        select pg_terminate_backend(pid, 10000) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
        """
    )


def test_nothing_of_a_dsn_is_in_an_error(database: Database) -> None:
    with new_login(database.dsn) as login:
        dsn = make_conninfo(database.dsn, user=login, password="s3cret!")
        with pytest.raises(DatabaseUnavailable) as caught, SyncTaskClient(dsn):
            pass
    assert "s3cret" not in str(caught.value)


def test_a_thread_is_told_so_of_its_own_transaction(database: Database, cutter: Proxy) -> None:
    ours = open_database(cutter.dsn)
    try:
        cutter.cut(b"COMMIT")
        with pytest.raises(UnknownOutcome), committed_sync(ours) as connection:
            connection.execute("select perdure.enqueue('a')")
        cutter.cut(b"enqueue", where="request")
        with pytest.raises(DatabaseUnavailable), committed_sync(ours) as connection:
            connection.execute("select perdure.enqueue('a')")
    finally:
        ours.close_sync()
    assert (cutter.cuts, tasks(database)) == (2, 1)


@pytest.mark.parametrize(
    ("words", "where", "told", "children"),
    [
        (b"COMMIT", "reply", UnknownOutcome, 1),
        (b'"perdure".fence(', "request", DatabaseUnavailable, 0),
    ],
)
async def test_a_handler_is_told_when_nobody_knows_of_its_child(
    database: Database,
    cutter: Proxy,
    words: bytes,
    where: Where,
    told: type[BaseException],
    children: int,
) -> None:
    builder = TaskService.builder()

    @builder.task("parent")
    async def parent(context: TaskContext[dict[str, object], None]) -> None:
        cutter.cut(words, where=where)
        with pytest.raises(told):
            await context.enqueue("child", delay=3600)

    service = builder.build()
    service.override(QUICK | {"dsn": cutter.dsn})
    async with (
        service.worker() as worker,
        aclosing(Running(database, service, worker)) as asked,
    ):
        assert (await asked.ended(await asked.enqueue("parent")))["state"] == "completed"
    assert (cutter.cuts, tasks(database)) == (1, 1 + children)
