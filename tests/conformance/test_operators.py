"""Operators' words: cancel and retry of what matches, retry and repeat of one task."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Cancelled
from perdure.tasks.policies import Delays, RetryPolicy

Context = TaskContext[dict[str, Any], None]


class Played:
    """A service whose task `play` does what its metadata says, run by run."""

    def __init__(self) -> None:
        self.runs: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)
        """Of each task: attempt, failures and reason as its runs saw them."""
        builder = TaskService.builder()
        builder.task("play", retry=RetryPolicy(max_retries=0))(self.play)
        builder.task("later", retry=RetryPolicy(backoff=Delays([3600])))(self.play)
        self.service: TaskService = builder.build()

    async def play(self, context: Context) -> str | Cancelled[None]:
        """Each run does what its letter says: v and k throw, c cancels, o returns."""
        runs = self.runs[context.task_id]
        runs.append((context.attempt, context.failures, context.run_reason))
        match str(context.metadata.get("runs", "o"))[len(runs) - 1]:
            case "v":
                raise ValueError
            case "k":
                raise KeyError
            case "c":
                return Cancelled()
            case _:
                return "done"


async def answer(worker: Running, call: str, *parameters: object) -> Any:
    """What a function of the schema answers."""
    (row,) = await worker.ask(f"select perdure.{call} as answer", *parameters)
    return row["answer"]


async def states(worker: Running) -> dict[int, str]:
    return {
        row["id"]: row["state"] for row in await worker.ask("select * from perdure.task_states")
    }


@pytest.mark.conformance("C49")
async def test_cancel_where_cancels_exactly_what_matches(database: Database) -> None:
    played = Played()
    async with running(database, played.service) as worker:
        await worker.pause("default")
        tagged = [await worker.enqueue("play", tags=["x", str(n)]) for n in range(3)]
        tagged.append(await worker.enqueue("play", tags=["x"], delay="1 hour"))
        others = [await worker.enqueue("play", tags=["xx"]), await worker.enqueue("play")]
        before = await states(worker)
        with pytest.raises(psycopg.Error, match="at least one filter") as refused:
            await worker.ask("select * from perdure.cancel_where()")
        assert refused.value.sqlstate == "PD004"
        (counted,) = await worker.ask(
            "select * from perdure.cancel_where(tag => 'x', dry_run => true)"
        )
        assert counted == {"cancelled": 4, "requested": 0}
        assert await states(worker) == before
        (done,) = await worker.ask("select * from perdure.cancel_where(tag => 'x')")
        assert done == counted
        await worker.ask("select perdure.resume_queue('default')")
        for task_id in others:
            assert (await worker.ended(task_id))["state"] == "completed"
        assert {(await worker.task(task_id))["state"] for task_id in tagged} == {"cancelled"}
        assert set(played.runs) == set(others)
    database.check_drained()


@pytest.mark.conformance("C49")
async def test_retry_where_runs_exactly_the_failed_ones_that_match_again(
    database: Database,
) -> None:
    played = Played()
    async with running(database, played.service) as worker:
        old = await worker.enqueue("play", '{"runs": "vo"}')
        await worker.ended(old)
        since: datetime = (await worker.ask("select clock_timestamp() as now"))[0]["now"]
        recent = [await worker.enqueue("play", '{"runs": "vo"}') for _ in range(2)]
        kept = [await worker.enqueue("play", f'{{"runs": "{runs}"}}') for runs in ("ko", "co", "o")]
        for task_id in recent + kept:
            await worker.ended(task_id)
        before = await states(worker)
        call = "retry_where(error_type => 'ValueError', since => %s"
        assert await answer(worker, f"{call}, dry_run => true)", since) == 2
        assert await states(worker) == before
        assert await answer(worker, f"{call})", since) == 2
        for task_id in recent:
            assert (await worker.ended(task_id))["state"] == "completed"
        after = await states(worker)
        assert after == before | dict.fromkeys(recent, "completed")
        with pytest.raises(psycopg.Error, match="at least one filter") as refused:
            await worker.ask("select perdure.retry_where(state => null)")
        assert refused.value.sqlstate == "PD004"
    assert {task_id: len(runs) for task_id, runs in played.runs.items()} == (
        dict.fromkeys(recent, 2) | dict.fromkeys([old, *kept], 1)
    )
    database.check()


@pytest.mark.conformance("C50")
async def test_retry_of_an_ended_task_goes_on_counting_runs_but_not_failures(
    database: Database,
) -> None:
    played = Played()
    async with running(database, played.service) as worker:
        failed = await worker.enqueue("play", '{"runs": "vko"}')
        cancelled = await worker.enqueue("play", '{"runs": "co"}')
        for _ in range(2):
            assert (await worker.state(failed, "failed"))["reason"] == "exhausted"
            assert await answer(worker, "retry(%s::bigint)", failed) == "retried"
        assert (await worker.ended(cancelled))["reason"] == "handler"
        assert await answer(worker, "retry(%s::bigint)", cancelled) == "retried"
        for task_id in (failed, cancelled):
            assert (await worker.ended(task_id))["state"] == "completed"
            assert await answer(worker, "retry(%s::bigint)", task_id) == "completed"
        assert played.runs[failed] == [(1, 0, "first"), (2, 0, "requeued"), (3, 0, "requeued")]
        assert played.runs[cancelled] == [(1, 0, "first"), (2, 0, "requeued")]
        kinds = "select kind from perdure.attempts where task_id = %s::bigint order by attempt"
        assert database.rows(kinds, [failed]) == [("failure",), ("failure",)]
        assert database.rows(kinds, [cancelled]) == [("cancellation",)]
        assert (await worker.task(failed))["failures"] == 0
        assert await answer(worker, "retry(%s::bigint)", 10**12) == "not_found"
    database.check_drained()


@pytest.mark.conformance("C50")
async def test_retry_of_a_live_task_and_of_one_whose_key_is_held(database: Database) -> None:
    played = Played()
    async with running(database, played.service) as worker:
        live = await worker.enqueue("play", delay="1 hour")
        assert await answer(worker, "retry(%s::bigint)", live) == "live"
        assert (await worker.task(live))["state"] == "scheduled"

        retrying = await worker.enqueue("later", '{"runs": "vo"}')
        await worker.state(retrying, "retrying")
        assert await answer(worker, "retry(%s::bigint)", retrying) == "hastened"
        hastened = await worker.ended(retrying)
        assert (hastened["state"], hastened["attempt"], hastened["failures"]) == ("completed", 2, 1)
        assert played.runs[retrying] == [(1, 0, "first"), (2, 1, "retry")]

        first = await worker.enqueue("play", '{"runs": "vo"}', unique_key="k")
        await worker.ended(first)
        holder = await worker.enqueue("play", unique_key="k", delay="1 hour")
        assert await answer(worker, "retry(%s::bigint)", first) == "key_taken"
        assert (await worker.task(first))["state"] == "failed"
        await worker.past(holder)
        await worker.ended(holder)
        assert await answer(worker, "retry(%s::bigint)", first) == "retried"
        assert (await worker.ended(first))["state"] == "completed"
        await worker.past(live)
        await worker.ended(live)
    database.check_drained()


@pytest.mark.conformance("C50")
async def test_repeat_of_a_completed_task_is_a_new_task(database: Database) -> None:
    played = Played()
    async with running(database, played.service) as worker:
        original = await worker.enqueue(
            "play", '{"runs": "o", "n": 1}', queue="q", priority=2, tags=["t"], unique_key="k",
            headers='{"h": 1}',
        )  # fmt: skip
        before = await worker.ended(original)
        copy = await answer(worker, "repeat(%s::bigint)", original)
        after = await worker.ended(copy)
        assert await worker.task(original) == before
        assert (copy != original, after["state"], after["attempt"]) == (True, "completed", 1)
        for column in ("name", "metadata", "queue", "priority", "tags", "headers"):
            assert after[column] == before[column]
        assert after["unique_key"] is None
        assert set(played.runs) == {original, copy}
    database.check_drained()
