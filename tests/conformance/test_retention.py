"""Retention: what goes after its time, what stays, and pruning and erasing by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE
from tests.kit.running import Running, running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.policies import Delays, RetryPolicy

Context = TaskContext[dict[str, Any], None]


def made() -> TaskService:
    """Names with times of their own, and one that keeps no results."""
    builder = TaskService.builder()

    async def work(context: Context) -> str:
        if context.metadata.get("fails"):
            raise ValueError("a secret")
        if context.metadata.get("commits"):
            async with context.transaction(result="done"):
                pass
        return "done"

    retry = RetryPolicy(max_retries=1, backoff=Delays([0]))
    builder.task("plain", retry=retry)(work)
    builder.add_task(lambda t: t.named("hour").handled_by(work).keep_results_for(3600))
    builder.add_task(
        lambda t: t.named("year").handled_by(work).keep_results_for(timedelta(days=365))
    )
    builder.add_task(lambda t: t.named("nothing").handled_by(work).keep_results_for(0))
    return builder.build()


async def ended_ago(
    worker: Running, days: float, name: str = "plain", metadata: str = "{}", **options: object
) -> int:
    """A task that has run, and whose end lies so many days ago."""
    task_id = await worker.enqueue(name, metadata, **options)
    await worker.ended(task_id)
    await worker.ask(
        "update perdure.outcomes set finished_at = clock_timestamp() - make_interval(secs => %s)"
        " where task_id = %s::bigint", days * 86_400.0, task_id,
    )  # fmt: skip
    return task_id


async def maintain(worker: Running) -> None:
    """Let the worker do the upkeep of a minute, to its end."""
    # Statistics are pruned last of all; there before a beat may find that the minute is over.
    await worker.ask(
        "insert into perdure.statistics (worker_id, minute, name, state, count, seconds)"
        " values (0, '2001-01-01', 'a', 'completed', 1, 0)"
    )
    await worker.ask(
        "update perdure.settings set value = to_jsonb(clock_timestamp() - interval '2 minutes')"
        " where key = 'upkeep_at'"
    )
    worker.worker.beat_now()
    await worker.until(lambda: _pruned(worker))


async def _pruned(worker: Running) -> bool:
    return not await worker.ask("select from perdure.statistics where worker_id = 0")


async def days_pass(worker: Running, days: int) -> None:
    """As if all so far had been enqueued that long ago, and ids had begun a new range since."""
    await worker.ask(
        "update perdure.tasks set created_at = clock_timestamp() - make_interval(days => %s)",
        days,
    )
    await worker.ask(
        "update perdure.settings set value = to_jsonb(clock_timestamp() - interval '2 days')"
        " where key = 'range_began_at'"
    )
    await worker.ask("select setval('perdure.tasks_id_seq', 2000)")


@pytest.mark.conformance("C109")
async def test_what_ended_long_ago_goes_with_all_of_it_and_what_is_needed_stays(
    database: Database,
) -> None:
    async with running(database, made()) as worker:
        gone = [
            await ended_ago(worker, 8),
            await ended_ago(worker, 8, unique_key="over", unique_for="1 day"),
            await ended_ago(worker, 31, metadata='{"fails": true}'),
            await ended_ago(worker, 0.1, "hour"),
        ]
        cancelled = await worker.enqueue("plain", delay="1 hour")
        await worker.ask("select perdure.cancel(%s::bigint)", cancelled)
        gone.append(cancelled)
        await worker.ask(
            "update perdure.outcomes set finished_at = now() - interval '8 days'"
            " where task_id = %s::bigint", cancelled,
        )  # fmt: skip
        parent = await ended_ago(worker, 40)
        stays = {
            parent: "completed",
            await worker.enqueue(
                "plain", after=f'[{{"task": {parent}}}]', delay="1 hour"
            ): "scheduled",
            await ended_ago(worker, 40, unique_key="held", unique_for="90 days"): "completed",
            await ended_ago(worker, 40, "year", '{"fails": true}', max_retries=0): "failed",
            await ended_ago(worker, 6): "completed",
            await ended_ago(worker, 8, metadata='{"fails": true}'): "failed",
            await worker.enqueue("plain", delay="1000 days"): "scheduled",
        }
        by_hand.leave(database, gone[0])
        await days_pass(worker, 40)
        await maintain(worker)
        assert {task_id: by_hand.left(database, task_id) for task_id in gone} == {
            task_id: [] for task_id in gone
        }
        assert {task_id: (await worker.task(task_id))["state"] for task_id in stays} == stays
        assert await worker.ask("select key from perdure.unique_keys") == [{"key": "held"}]

        # In the range that is filled now, where nothing is dropped as a whole.
        short, plain = await ended_ago(worker, 0.1, "hour"), await ended_ago(worker, 0.1)
        late = await ended_ago(worker, 10)
        await maintain(worker)
        assert not by_hand.left(database, short)
        assert not by_hand.left(database, late), "its range has not gone for two days"
        assert (await worker.task(plain))["state"] == "completed"
    database.check()


@pytest.mark.conformance("C109")
async def test_pruning_counts_and_erasing_leaves_the_counters_and_no_payload(
    database: Database,
) -> None:
    async with (
        running(database, made()) as worker,
        TaskClient(database.dsn, schema_name=database.schema) as client,
    ):
        old = [await ended_ago(worker, 2) for _ in range(3)]
        failed = await ended_ago(worker, 2, metadata='{"fails": true}')
        live = await worker.enqueue("plain", after=f'[{{"task": {old[0]}}}]', delay="1 hour")
        held = await ended_ago(worker, 2, unique_key="k", unique_for="90 days")
        recent = await ended_ago(worker, 0.5)
        assert await client.prune(86_400, states=["completed"], dry_run=True) == 2
        assert await client.prune(86_400, states=["completed"]) == 2
        assert [by_hand.left(database, one) for one in old[1:]] == [[], []]
        for one in (old[0], failed, live, held, recent):
            assert await client.get(one) is not None

        before = await worker.task(failed)
        assert (before["attempt"], before["failures"]) == (2, 2)
        assert await client.erase(failed) == "erased"
        after = await worker.task(failed)
        assert {key: after[key] for key in after if after[key] != before[key]} == {
            "metadata": {}, "error": None,
        }  # fmt: skip
        texts = await worker.ask(
            "select t.metadata::text || coalesce(o.error::text, '') || coalesce(a.error::text, '')"
            " as text from perdure.tasks as t join perdure.outcomes as o on o.task_id = t.id"
            " join perdure.attempts as a on a.task_id = t.id where t.id = %s::bigint", failed,
        )  # fmt: skip
        assert [row["text"] for row in texts] == ["{}"]
        assert await client.prune(timedelta(days=1)) == 1


async def test_a_name_that_keeps_no_results_stores_none(database: Database) -> None:
    async with (
        running(database, made()) as worker,
        TaskClient(database.dsn, schema_name=database.schema) as client,
    ):
        for metadata in ("{}", '{"commits": true}'):
            handle = await client.enqueue("nothing", json.loads(metadata))
            task_id = handle.id
            assert await handle.result(timeout=PATIENCE) is None
            (row,) = await worker.ask(
                "select result from perdure.outcomes where task_id = %s::bigint", task_id
            )
            assert row["result"] is None
        kept = await worker.enqueue("plain")
        assert (await worker.ended(kept))["result"] == "done"
        await maintain(worker)
        assert (await worker.task(task_id))["state"] == "completed"
