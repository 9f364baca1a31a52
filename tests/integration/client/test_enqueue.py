"""Enqueue through the asynchronous client: what arrives, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from tests.integration.client.conftest import IMPORT, Checkpoint, Request
from tests.kit.databases import Database

from perdure.client.client import TaskClient
from perdure.client.gathering import BATCH_TASKS_MAX
from perdure.declare.kind import Answer, NewTask, TaskKind
from perdure.errors import InvalidArgument, QueueFull, UnencodableValue
from perdure.store.operations import DOCUMENT_TASKS_MAX


async def test_an_enqueue_answers_the_id_of_a_task_that_is_pending(
    client: TaskClient, database: Database
) -> None:
    handle = await client.enqueue(IMPORT, Request(url="https://a"))

    assert handle.answer is Answer.CREATED
    row = "select id, name, metadata from perdure.tasks"
    assert database.rows(row) == [(handle.id, "catalogue.import", {"url": "https://a"})]
    task = await client.get(handle.id)
    assert task is not None
    assert (task.state, task.attempt, task.metadata) == ("pending", 0, {"url": "https://a"})


async def test_every_option_arrives_alone_and_in_a_batch(
    client: TaskClient, database: Database
) -> None:
    options: dict[str, Any] = {
        "queue": "imports: 50%",
        "priority": 2,
        "run_at": datetime(2050, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=5, minutes=30))),
        "tags": ["nightly", 'a "quoted" \\ one'],
        "requires": ["gpu"],
        "headers": {"traceparent": "00-ü"},
        "max_retries": -1,
        "retry_delays": [1, timedelta(minutes=1)],
        "execution_metadata": Checkpoint(token="t"),
    }
    request = Request(url='\\ " \u2028 \n : %s %% 😀')

    alone = await client.enqueue(IMPORT, request, **options)
    first, second = await client.enqueue_many([NewTask(IMPORT, request, **options)] * 2)

    rows = database.rows(
        """
        select t.name, t.metadata, t.queue, t.priority, t.run_at, t.tags, t.requires, t.headers,
            t.max_retries, t.retry_delays, p.execution_metadata
        from perdure.tasks as t join perdure.progress as p on p.task_id = t.id
        """
    )
    assert rows[0] == (
        "catalogue.import", {"url": request.url}, "imports: 50%", 2, options["run_at"],
        options["tags"], ["gpu"], {"traceparent": "00-ü"}, -1, [1.0, 60.0], {"token": "t"},
    )  # fmt: skip
    assert rows[1] == rows[2] == rows[0]
    assert alone.id < first.id < second.id


@pytest.mark.conformance("C4")
async def test_a_delay_schedules_and_excludes_a_time(client: TaskClient) -> None:
    later = await client.enqueue("a", delay=timedelta(minutes=5))
    past = await client.enqueue("a", run_at=datetime(2001, 1, 1, tzinfo=UTC))

    scheduled, pending = await client.get(later.id), await client.get(past.id)
    assert scheduled is not None
    assert pending is not None
    assert (scheduled.state, pending.state) == ("scheduled", "pending")
    assert scheduled.due_at is not None
    assert timedelta(minutes=4) < scheduled.due_at - scheduled.created_at < timedelta(minutes=6)
    with pytest.raises(InvalidArgument, match="run_at and delay exclude each other"):
        await client.enqueue("a", delay=1, run_at=datetime(2050, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prio": 3}, "'prio' is no option"),
        ({"priority": 10}, "priority must be 0 to 9"),
        ({"priority": 2**40}, "whole number"),
        ({"delay": -1}, "between 0 and 100 years"),
        ({"delay": float("nan")}, "between 0 and 100 years|give seconds"),
        ({"delay": "5m"}, "give seconds or a timedelta"),
        ({"run_at": datetime(2050, 1, 1)}, "with a time zone"),  # noqa: DTZ001
        ({"tags": "nightly"}, "a list of texts"),
        ({"queue": "a\0"}, "without NUL"),
        ({"unique_key": "\ud800"}, "lone surrogates"),
        ({"unique_key": "k", "unique_policy": "drop"}, "keep, replace, append, update or reject"),
        ({"unique_policy": "append"}, "unique_policy, unique_for and max_delay"),
        ({"unique_for": 1}, "unique_policy, unique_for and max_delay"),
        ({"headers": {"a": "x" * 9000}}, "headers must be"),
    ],
)
async def test_a_bad_option_is_an_error_that_says_which(
    client: TaskClient, database: Database, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await client.enqueue("a", {}, **options)
    assert database.value("select count(*) from perdure.tasks") == 0


async def test_metadata_of_another_type_never_leaves_the_program(client: TaskClient) -> None:
    wrong: Any = {"url": "x"}
    with pytest.raises(UnencodableValue, match="dict is not a Request"):
        await client.enqueue(IMPORT, wrong)
    with pytest.raises(UnencodableValue, match=r"\$"):
        await client.enqueue("a", {"x": float("nan")})
    with pytest.raises(InvalidArgument, match="metadata must be a JSON object"):
        await client.enqueue("a", ["x"])


async def test_concurrent_enqueues_share_commits(
    client: TaskClient, database: Database, commits: Callable[[], int]
) -> None:
    handles = await asyncio.gather(*(client.enqueue("a", {"n": n}) for n in range(1200)))

    by_id = dict(database.rows("select id, metadata -> 'n' from perdure.tasks"))
    assert by_id == {handle.id: n for n, handle in enumerate(handles)}
    assert commits() == -(-1200 // BATCH_TASKS_MAX)


async def test_of_a_gathered_batch_only_the_bad_one_fails(
    client: TaskClient, database: Database
) -> None:
    priorities = [5, 5, 17, 5, 5]
    answers = await asyncio.gather(
        *(client.enqueue("a", priority=priority) for priority in priorities),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers] == [
        "InvalidArgument" if priority == 17 else "TaskHandle" for priority in priorities
    ]
    assert "entry" not in str(answers[2])
    assert database.value("select count(*) from perdure.tasks") == 4


async def test_an_enqueue_whose_caller_has_gone_harms_nobody_else(
    client: TaskClient, database: Database
) -> None:
    gone = asyncio.ensure_future(client.enqueue("gone"))
    stays = asyncio.ensure_future(client.enqueue("stays"))
    await asyncio.sleep(0)
    gone.cancel()

    assert (await stays).answer is Answer.CREATED
    assert database.value("select count(*) from perdure.tasks where name = 'stays'") == 1


async def test_a_client_that_closes_finishes_what_was_handed_in(database: Database) -> None:
    client = TaskClient(database.dsn)
    enqueues = [asyncio.ensure_future(client.enqueue("a")) for _ in range(20)]
    await asyncio.sleep(0)
    await client.close()

    assert {handle.answer for handle in await asyncio.gather(*enqueues)} == {Answer.CREATED}
    assert database.value("select count(*) from perdure.tasks") == 20


@pytest.mark.conformance("C5")
async def test_enqueue_many_answers_in_order_and_takes_all_or_none(
    client: TaskClient, database: Database, commits: Callable[[], int]
) -> None:
    count = DOCUMENT_TASKS_MAX + 7
    keys = {3: "b", 5: "a", count - 1: "b"}
    tasks = [
        NewTask("a", {"n": n}, unique_key=keys[n]) if n in keys else NewTask("a", {"n": n})
        for n in range(count)
    ]
    handles = await client.enqueue_many(iter(tasks))

    by_id = dict(database.rows("select id, metadata -> 'n' from perdure.tasks"))
    assert handles[-1].answer is Answer.KEPT
    assert handles[-1].id == handles[3].id
    assert [by_id[handle.id] for handle in handles[:-1]] == list(range(count - 1))
    assert len(by_id) == count - 1
    assert commits() == 1
    assert await client.enqueue_many([]) == []

    with pytest.raises(InvalidArgument, match="entry 2: priority"):
        await client.enqueue_many([*tasks[:2], NewTask("a", priority=11), *tasks[:2]])
    with pytest.raises(InvalidArgument, match="entry 1: name"):
        await client.enqueue_many(
            [NewTask("a")] * DOCUMENT_TASKS_MAX + [NewTask("b"), NewTask("!")]
        )
    assert database.value("select count(*) from perdure.tasks") == count - 1


async def test_what_the_tasks_of_enqueue_many_raise_leaves_nothing_behind(
    client: TaskClient, database: Database
) -> None:
    def breaking(count: int, error: type[Exception]) -> Iterator[NewTask[None, None]]:
        yield from (NewTask("a") for _ in range(count))
        raise error("of the iterable")

    # The second looks as if the transaction had to be tried again.
    for error in (ZeroDivisionError, psycopg.errors.SerializationFailure):
        for count in (0, 3, DOCUMENT_TASKS_MAX, DOCUMENT_TASKS_MAX + 3, 2 * DOCUMENT_TASKS_MAX):
            with pytest.raises(error, match="of the iterable"):
                await client.enqueue_many(breaking(count, error))
    async with await psycopg.AsyncConnection.connect(database.dsn) as own:
        tasks = breaking(DOCUMENT_TASKS_MAX + 3, ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await client.enqueue_many(tasks, on=own)
    assert database.value("select count(*) from perdure.tasks") == 0
    assert (await client.enqueue("a")).answer is Answer.CREATED


async def test_copy_makes_as_many_tasks_as_there_are_metadata(
    client: TaskClient, database: Database, commits: Callable[[], int]
) -> None:
    nasty = ["\\", "\\.", "\\N", "\t", "\n", "\r", '"', "😀", "%s", "x" * 300_000]

    async def requests() -> AsyncIterator[Request]:
        for url in nasty:
            yield Request(url=url)

    assert await client.copy(IMPORT, (Request(url=url) for url in nasty)) == len(nasty)
    assert await client.copy(IMPORT, requests()) == len(nasty)
    rows = database.rows("select metadata ->> 'url', queue, tags from perdure.tasks order by id")
    assert rows == [(url, None, None) for url in nasty * 2]
    assert commits() == 2
    assert await client.copy("b", []) == 0

    tags, at = ['a "b" \\ {c},d', "é"], datetime(2050, 1, 1, tzinfo=UTC)
    assert await client.copy("b", [{}, None], queue="q\\", priority=1, tags=tags, run_at=at) == 2
    row = "select distinct metadata, queue, priority, tags, run_at from perdure.tasks"
    assert database.rows(f"{row} where name = 'b'") == [({}, "q\\", 1, tags, at)]


async def test_a_copy_that_fails_leaves_nothing(client: TaskClient, database: Database) -> None:
    with pytest.raises(UnencodableValue):
        await client.copy("a", [{"n": 1}, {"n": float("inf")}])
    with pytest.raises(InvalidArgument, match="priority"):
        await client.copy("a", [{}], priority=11)
    assert await client.copy("a", [{}]) == 1
    assert database.value("select count(*) from perdure.tasks") == 1


@pytest.mark.conformance("C14")
async def test_a_full_queue_refuses_enqueues_and_takes_inserts(
    client: TaskClient, database: Database
) -> None:
    assert await client.set_queue("q", max_depth=2) == "set"
    for _ in range(2):
        await client.enqueue("a", queue="q")
    database.execute("update perdure.queues set sampled_at = null")

    with pytest.raises(QueueFull, match="max_depth of 2"):
        await client.enqueue("a", queue="q")
    with pytest.raises(QueueFull):
        await client.enqueue_many([NewTask("a"), NewTask("a", queue="q")])
    database.execute("insert into perdure.tasks (name, queue) values ('a', 'q')")
    assert await client.queue_depth("q") == 3
    assert await client.set_queue("q", max_depth=None) == "set"
    await client.enqueue("a", queue="q")


async def test_the_queue_of_a_registered_name_is_bound_as_well(
    client: TaskClient, database: Database
) -> None:
    database.execute("insert into perdure.task_types (name, queue) values ('a', 'q')")
    await client.set_queue("q", max_depth=1)
    await client.enqueue("a")
    database.execute("update perdure.queues set sampled_at = null")

    with pytest.raises(QueueFull):
        await client.enqueue("a")
    with pytest.raises(QueueFull):
        await client.enqueue_many([NewTask("a"), NewTask("a")])
    await client.enqueue("a", queue="other")


async def test_a_kind_without_metadata_is_enqueued_without(client: TaskClient) -> None:
    handle = await client.enqueue(TaskKind("tidy"))

    task = await client.get(handle.id)
    assert task is not None
    assert task.metadata == {}


async def test_the_rule_of_a_registry_gives_the_key(database: Database) -> None:
    async with TaskClient(database.dsn) as own:
        client = TaskClient.over(own._database, lambda task: (f"key of {task.name}", "keep"))
        first = await client.enqueue("a")
        second = await client.enqueue("a")
        other = await client.enqueue("a", unique_key="mine")

    assert (second.id, second.answer) == (first.id, Answer.KEPT)
    assert other.answer is Answer.CREATED


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("delay", "1e300"), ("delay", "1e400"), ("delay", '"5m"'), ("delay", "-1"),
        ("retry_delays", '["a"]'), ("retry_delays", "[1e400]"), ("retry_delays", "[null]"),
        ("retry_delays", "[[1]]"), ("retry_delays", "[]"), ("retry_delays", "[-1]"),
        ("tags", "[1]"), ("tags", '[["a"], "b"]'), ("tags", "[null]"), ("requires", "[{}]"),
        ("priority", "1.5"), ("max_retries", "-2"), ("headers", "[]"), ("nothing", "1"),
    ],
)  # fmt: skip
def test_a_wrong_member_of_a_document_is_named_with_its_position(
    database: Database, member: str, value: str
) -> None:
    document = f'[{{"name": "a"}}, {{"name": "a", "{member}": {value}}}]'
    with pytest.raises(psycopg.Error, match=f"entry 1: {member}") as caught:
        database.execute("select * from perdure.enqueue_many(%s::jsonb)", [document])
    assert caught.value.sqlstate == "PD004"


@pytest.mark.parametrize(
    "members",
    ['"delay": 0.5', '"delay": 1e2', '"retry_delays": [1, 2.5, 0]', '"tags": []', '"tags": ["a"]',
     '"delay": null, "tags": null, "retry_delays": null, "requires": ["x", "y"]'],
)  # fmt: skip
def test_right_members_of_a_document_are_taken(database: Database, members: str) -> None:
    document = f'[{{"name": "a", {members}}}]'
    assert database.execute("select * from perdure.enqueue_many(%s::jsonb)", [document]) == 1
