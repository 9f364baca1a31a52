"""What becomes of a unique key with real workers: lines, updates, debounces, and keys that rest."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.logins import as_login, new_login
from tests.kit.running import Running, running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.declare.kind import Answer, TaskKind
from perdure.errors import KeyTaken
from perdure.service import TaskService
from perdure.store.migrate import grant
from perdure.tasks.policies import Delays, RetryPolicy

work: TaskKind[dict[str, Any], None, None, None] = TaskKind("work", dict[str, Any])


class Worked:
    """A service whose task notes each run, and fails or waits for `go` where it is told to."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, float, float]] = []
        self.saw: list[tuple[int, dict[str, Any]]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        builder = TaskService.builder()
        builder.task(work, retry=RetryPolicy(max_retries=1, backoff=Delays([0])))(self.work)
        self.service: TaskService = builder.build()

    async def work(self, context: TaskContext[dict[str, Any], None]) -> None:
        start = time.monotonic()
        self.saw.append((context.task_id, dict(context.metadata)))
        self.began.set()
        try:
            if context.metadata.get("waits"):
                await self.go.wait()
            if context.metadata.get("fails") == context.attempt or context.metadata.get("dies"):
                raise ValueError
            await asyncio.sleep(0)  # whoever overlaps begins now
        finally:
            self.spans.append((context.task_id, start, time.monotonic()))


async def send(worker: Running, metadata: str, **options: object) -> tuple[int, str]:
    """An enqueue with the key: the id and the answer."""
    values = {"name": "work", "metadata": metadata, "unique_key": "k", **options}
    arguments = ", ".join(f"{key} => %s" for key in values)
    rows = await worker.ask(
        f"select task_id, answer from perdure.enqueue({arguments})", *values.values()
    )
    return rows[0]["task_id"], rows[0]["answer"]


async def answer(worker: Running, call: str, *parameters: object) -> Any:
    """What a function of SQL says."""
    return (await worker.ask(f"select perdure.{call} as answer", *parameters))[0]["answer"]


@pytest.mark.conformance("C63")
async def test_those_that_are_appended_run_one_after_the_other_whatever_becomes_of_them(
    database: Database,
) -> None:
    worked = Worked()
    async with running(database, worked.service) as worker:
        sent = [await send(worker, '{"waits": true}', unique_policy="append")]
        await worked.began.wait()
        later = ('{"dies": true}', "{}", "{}", '{"fails": 1}')
        sent += [await send(worker, metadata, unique_policy="append") for metadata in later]
        ids = [task_id for task_id, _ in sent]
        assert [said for _, said in sent] == ["created", *["appended"] * 4]
        for before, after in pairwise(ids):
            row = await worker.task(after)
            assert (row["state"], row["waiting_for"]) == ("blocked", f"task {before}")
        # The first runs: what is cancelled behind it lets nobody pass.
        assert await answer(worker, "cancel(%s::bigint)", ids[2]) == "cancelled"
        assert (await worker.task(ids[3]))["waiting_for"] == f"task {ids[1]}"
        worked.go.set()
        states = [(await worker.ended(task_id))["state"] for task_id in ids]
        assert states == ["completed", "failed", "cancelled", "completed", "completed"]
        free = await send(worker, "{}", unique_policy="reject")
        assert free[1] == "created"
        await worker.ended(free[0])
    runs = [task_id for task_id, _, _ in worked.spans]
    assert runs == [ids[0], ids[1], ids[1], ids[3], ids[4], ids[4], free[0]]
    assert all(end < start for (_, _, end), (_, start, _) in pairwise(worked.spans))
    database.check_drained()


@pytest.mark.conformance("C64")
async def test_an_update_changes_what_a_waiting_task_runs_with_and_keeps_what_it_is(
    database: Database,
) -> None:
    worked = Worked()
    async with running(database, worked.service) as worker:
        task_id, _ = await send(worker, '{"n": 1, "fails": 1}', retry_delays=[3600])
        failed = await worker.state(task_id, "retrying")
        same = await send(worker, '{"n": 2}', unique_policy="update", tags=["new"], priority=1)
        assert same == (task_id, "updated")
        updated = await worker.task(task_id)
        kept = ("id", "state", "failures", "attempt", "due_at", "created_at")
        assert [updated[name] for name in kept] == [failed[name] for name in kept]
        assert (updated["tags"], updated["priority"]) == (["new"], 1)
        with pytest.raises(psycopg.Error, match="of another name") as refused:
            await send(worker, "{}", name="other", unique_policy="update")
        assert refused.value.sqlstate == "PD004"
        assert await answer(worker, "run_now(%s::bigint)", task_id) == "hastened"
        ended = await worker.ended(task_id)
        assert (ended["state"], ended["failures"], ended["attempt"]) == ("completed", 1, 2)
        history = await worker.ask("select event, details from perdure.history(%s)", task_id)
        (before,) = [row["details"]["before"] for row in history if row["event"] == "update"]
        assert before["metadata"] == {"n": 1, "fails": 1}
        assert [row["event"] for row in history].count("run_now") == 1
    assert worked.saw == [(task_id, {"n": 1, "fails": 1}), (task_id, {"n": 2})]
    database.check_drained()


@pytest.mark.conformance("C64")
async def test_an_update_of_a_running_task_is_seen_by_its_next_run_alone(
    database: Database,
) -> None:
    worked = Worked()
    async with running(database, worked.service) as worker:
        task_id, _ = await send(worker, '{"n": 1, "fails": 1, "waits": true}')
        await worked.began.wait()
        assert await send(worker, '{"n": 2}', unique_policy="update") == (task_id, "updated")
        call = "update_task(%s::bigint, metadata => %s)"
        assert await answer(worker, call, task_id, '{"n": 3}') == "applied_next_run"
        assert await answer(worker, "update_task(%s::bigint, delay => '1 h')", task_id) == (
            "not_applied"
        )
        worked.go.set()
        assert (await worker.ended(task_id))["failures"] == 1
        assert await answer(worker, call, task_id, "{}") == "not_applied"
        assert await answer(worker, call, 10**12, "{}") == "not_found"
    assert [metadata["n"] for _, metadata in worked.saw] == [1, 3]
    database.check_drained()


@pytest.mark.conformance("C64")
@pytest.mark.alone
async def test_updates_with_a_delay_run_once_and_no_later_than_the_bound(
    database: Database,
) -> None:
    worked = Worked()
    async with running(database, worked.service) as worker:
        first = time.monotonic()
        answers = []
        for turn in range(5):
            # The time between two calls is what is told of here.
            await asyncio.sleep(max(0.0, first + turn * 0.5 - time.monotonic()))
            answers.append(
                await send(
                    worker, f'{{"n": {turn}}}', unique_policy="update", delay="3 s",
                    max_delay="4 s",
                )
            )  # fmt: skip
        task_id = answers[0][0]
        assert answers == [(task_id, "created"), *[(task_id, "updated")] * 4]
        assert not worked.saw
        bound = (
            "select extract(epoch from w.due_at - t.created_at)::float from perdure.waiting as w"
            " join perdure.tasks as t on t.id = w.task_id"
        )
        assert abs(database.value(bound) - 4) < 0.5
        await worker.ended(task_id)
    assert worked.saw == [(task_id, {"n": 4})]
    assert worked.spans[0][1] - first > 3.9
    database.check_drained()


@pytest.mark.conformance("C65")
async def test_a_key_may_be_held_after_the_end_and_may_be_refused(database: Database) -> None:
    worked = Worked()
    async with running(database, worked.service) as worker, TaskClient(database.dsn) as client:
        handle = await client.enqueue(work, {"n": 1}, unique_key="k", unique_for=3600)
        with pytest.raises(KeyTaken, match=f"held by task {handle.id}"):
            await client.enqueue(work, {}, unique_key="k", unique_policy="reject")
        await worker.ended(handle.id)
        kept = await client.enqueue(work, {}, unique_key="k")
        assert (kept.id, kept.answer) == (handle.id, Answer.KEPT)
        with pytest.raises(KeyTaken, match=f"held by task {handle.id}") as refused:
            await client.enqueue(work, {}, unique_key="k", unique_policy="reject")
        assert getattr(refused.value.__cause__, "sqlstate", None) == "PD006"
        await worker.ask(
            "update perdure.outcomes set finished_at = finished_at - interval '1 hour'"
        )
        made = await client.enqueue(work, {"n": 2}, unique_key="k")
        assert (made.id != handle.id, made.answer) == (True, Answer.CREATED)
        await worker.ended(made.id)
        # The time was said by the first one alone.
        again = await client.enqueue(work, {"n": 3}, unique_key="k", unique_policy="reject")
        assert again.answer is Answer.CREATED
        await worker.ended(again.id)
    assert [task_id for task_id, _ in worked.saw] == [handle.id, made.id, again.id]
    database.check_drained()


@pytest.mark.conformance("C65")
def test_a_plain_insert_and_a_copy_cannot_set_a_key(database: Database) -> None:
    with new_login(database.dsn, "producer") as login:
        grant(database.dsn, database.schema, "producer", login)
        with psycopg.connect(as_login(database.dsn, login), autocommit=True) as producer:
            for text in (
                "insert into perdure.tasks (name, unique_key) values ('work', 'k')",
                "copy perdure.tasks (name, unique_key) from stdin",
            ):
                with pytest.raises(psycopg.Error, match="permission denied") as refused:
                    producer.execute(text.encode())
                assert refused.value.sqlstate == "42501"
            producer.execute("select from perdure.enqueue('work', unique_key => 'k')")
    assert database.rows("select unique_key from perdure.tasks") == [("k",)]
