"""What a worker may meet: metadata that does not fit, other versions of a checkpoint, odd names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.declare.context import TaskContext
from perdure.errors import RegistrationError
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure
from perdure.tasks.policies import Delays

Context = TaskContext[dict[str, Any], None]


class Request(BaseModel):
    """Metadata."""

    url: str
    page: int = 0


class Old(BaseModel):
    """The checkpoint as it was in version 1."""

    r: int = 0


class New(BaseModel):
    """The checkpoint as it is now."""

    rows: int = 0
    trail: list[int] = []


def to_2(old: dict[str, Any]) -> dict[str, Any]:
    return {"rows": old["r"], "trail": [1]}


def to_3(old: dict[str, Any]) -> dict[str, Any]:
    return {"rows": old["rows"] * 10, "trail": [*old["trail"], 2]}


def counting(
    version: int, upgrades: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] | None = None
) -> tuple[TaskService, list[Any]]:
    """A service whose first run fails with a checkpoint of this version, and what its runs saw."""
    seen: list[Any] = []

    async def count(context: TaskContext[dict[str, Any], Any]) -> int | Failure[str]:
        checkpoint = context.execution_metadata
        seen.append(checkpoint.model_copy())
        if context.attempt == 1:
            match checkpoint:
                case Old():
                    checkpoint.r = 4
                case New():
                    checkpoint.rows = 4
            return Failure("not yet")
        return int(checkpoint.rows)

    type_: type[Old | New] = Old if version == 1 else New
    service = (
        TaskService.builder()
        .add_task(
            lambda task: (
                task.named("count")
                .with_execution_metadata(type_, version=version, upgrades=upgrades)
                .handled_by(count)
                .with_retry(backoff=Delays([60]))
            )
        )
        .build()
    )
    return service, seen


@pytest.mark.conformance("C100")
async def test_metadata_that_does_not_fit_fails_without_a_run(database: Database) -> None:
    builder = TaskService.builder()
    called: list[int] = []

    @builder.task("fetch")
    async def fetch(context: TaskContext[Request, None]) -> str:
        called.append(context.task_id)
        return context.metadata.url

    async with running(database, builder.build(), execution__concurrency=1) as worker:
        wrong = [
            await worker.enqueue("fetch", metadata)
            for metadata in ('{"url": 7}', '{"url": "u", "page": "seven"}', "{}")
        ]
        right = await worker.enqueue("fetch", '{"url": "u"}')
        rows = [await worker.ended(task) for task in wrong]
        for row, field in zip(rows, ("url", "page", "url"), strict=True):
            assert (row["state"], row["reason"]) == ("failed", "invalid")
            assert (row["attempt"], row["failures"], row["started_at"]) == (0, 0, None)
            assert row["error"]["kind"] == "invalid"
            assert row["error"]["message"].startswith(f"metadata: $.{field}")
        assert (await worker.ended(right))["result"] == "u"
    assert called == [right]
    assert database.value("select count(*) from perdure.attempts") == 0
    database.check_drained()


@pytest.mark.conformance("C101")
async def test_a_checkpoint_of_version_1_is_upgraded_twice_for_version_3(
    database: Database,
) -> None:
    before, _ = counting(1)
    async with running(database, before) as worker:
        task = await worker.enqueue("count")
        row = await worker.state(task, "retrying")
        assert row["execution_metadata"] == {"r": 4}
    after, seen = counting(3, {1: to_2, 2: to_3})
    async with running(database, after) as worker:
        await worker.past(task)
        assert (await worker.ended(task))["result"] == 40
    assert seen == [New(rows=40, trail=[1, 2])]
    database.check_drained()


async def test_an_upgrade_that_raises_ends_the_task_as_invalid(database: Database) -> None:
    before, _ = counting(1)
    async with running(database, before) as worker:
        task = await worker.enqueue("count")
        await worker.state(task, "retrying")
    broken, seen = counting(2, {1: lambda old: {"rows": old["gone"]}})
    async with running(database, broken) as worker:
        await worker.past(task)
        row = await worker.ended(task)
        assert (row["state"], row["reason"], row["attempt"]) == ("failed", "invalid", 1)
        assert row["execution_metadata"] == {"r": 4}
    assert seen == []
    database.check_drained()


@pytest.mark.conformance("C101")
@pytest.mark.parametrize("upgrades", [{}, {1: to_2}, {2: to_3}])
def test_a_gap_in_the_upgrades_fails_the_build(
    upgrades: dict[int, Callable[[dict[str, Any]], dict[str, Any]]],
) -> None:
    with pytest.raises(RegistrationError, match="no upgrade from"):
        counting(3, upgrades)


@pytest.mark.conformance("C101")
async def test_a_newer_checkpoint_waits_for_a_worker_that_knows_it(database: Database) -> None:
    newer, seen = counting(3, {1: to_2, 2: to_3})
    older, unseen = counting(2, {1: to_2})
    async with running(database, newer) as worker:
        task = await worker.enqueue("count")
        await worker.state(task, "retrying")
    counters = "select attempt, failures, interruptions, crashes, version from perdure.progress"
    kept = database.rows(counters)
    async with running(database, older) as worker:
        await worker.past(task)
        row = await worker.state(task, "scheduled")
        assert row["reason"] == "newer_checkpoint"
        assert database.rows(counters) == kept == [(1, 1, 0, 0, 3)]
    async with running(database, newer) as worker:
        await worker.past(task)
        row = await worker.ended(task)
        assert (row["result"], row["attempt"], row["failures"]) == (4, 2, 1)
    assert (len(seen), unseen) == (2, [])
    database.check_drained()


@pytest.mark.conformance("C102")
async def test_an_unknown_name_waits_for_a_worker_that_knows_it(database: Database) -> None:
    async def work(context: Context) -> str:
        return context.name

    def service(name: str, *aliases: str) -> TaskService:
        return (
            TaskService.builder()
            .add_task(lambda task: task.named(name).with_aliases(*aliases).handled_by(work))
            .build()
        )

    async with running(database, service("known")) as worker:
        later, aliased, unwanted = [
            await worker.enqueue(name) for name in ("later", "old", "nobody.knows")
        ]
        # What is known comes through behind them, twice: the worker has passed them by.
        for _ in range(2):
            await worker.ended(await worker.enqueue("known"))
        for task, name in ((later, "later"), (aliased, "old"), (unwanted, "nobody.knows")):
            row = await worker.task(task)
            assert (row["state"], row["attempt"]) == ("pending", 0)
            assert row["waiting_for"] == f"no live worker knows {name}"
        listed = await worker.ask(
            "select id from perdure.task_states where state = 'pending' order by id"
        )
        assert [row["id"] for row in listed] == [later, aliased, unwanted]
        (answer,) = await worker.ask("select perdure.cancel(%s::bigint) as word", unwanted)
        assert answer["word"] == "cancelled"
        row = await worker.task(unwanted)
        assert (row["state"], row["reason"]) == ("cancelled", "requested")
    async with running(database, service("later")) as worker:
        assert (await worker.ended(later))["result"] == "later"
        assert (await worker.task(aliased))["state"] == "pending"
    async with running(database, service("new", "old")) as worker:
        assert (await worker.ended(aliased))["result"] == "old"
    database.check_drained()


@pytest.mark.conformance("C102")
async def test_a_name_is_never_imported(database: Database) -> None:
    builder = TaskService.builder()

    @builder.task("known")
    async def known(_: Context) -> None:
        """Shows that the worker has passed the others by."""

    names = ("os.system", "antigravity.fly", "this:s", "a" * 200)
    async with running(database, builder.build()) as worker:
        tasks = [await worker.enqueue(name, '{"args": ["true"]}') for name in names]
        for _ in range(2):
            await worker.ended(await worker.enqueue("known"))
        assert {(await worker.task(task))["state"] for task in tasks} == {"pending"}
    assert not {"antigravity", "this"} & sys.modules.keys()


@pytest.mark.conformance("C102")
def test_a_name_that_is_none_is_refused(database: Database) -> None:
    for name in ("a;b", "a" * 201, "", "-a", "a b", "a\nb", "ä"):
        for statement in (
            "insert into perdure.tasks (name) values (%s)",
            "select perdure.enqueue(%s)",
        ):
            with pytest.raises(psycopg.Error) as caught:
                database.execute(statement, (name,))
            assert caught.value.sqlstate == "PD004"
    assert database.value("select count(*) from perdure.tasks") == 0
