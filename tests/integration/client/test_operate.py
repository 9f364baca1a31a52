"""Results, states, signals, bulk actions and queues through the asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import pytest
from tests.integration.client.conftest import IMPORT, End, Problem, Report, Request
from tests.kit.databases import Database
from tests.kit.fleet import PATIENCE

from perdure.client.client import TaskClient
from perdure.errors import (
    InvalidArgument,
    InvalidPayload,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TooLarge,
)

FAILED = {"kind": "error", "type": None, "message": None, "traceback": None, "error": None}


@pytest.mark.conformance("C107")
async def test_a_result_comes_typed_and_a_timeout_changes_nothing(
    client: TaskClient, end: End
) -> None:
    handle = await client.enqueue(IMPORT, Request(url="u"))
    with pytest.raises(TimeoutError, match=f"task {handle.id} has not ended within 0.05 s"):
        await handle.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        await handle.result(timeout=timedelta(0))
    assert (await client.get(handle.id)).state == "pending"  # type: ignore[union-attr]

    waiting = asyncio.ensure_future(handle.result(timeout=PATIENCE))
    end(handle.id, result={"rows": 7})
    report = assert_type(await waiting, Report)
    assert report == Report(rows=7)
    assert await client.result(handle.id) == {"rows": 7}


@pytest.mark.conformance("C107")
async def test_a_failure_brings_the_typed_error(client: TaskClient, end: End) -> None:
    handle = await client.enqueue(IMPORT, Request(url="u"))
    end(handle.id, "failed", error={**FAILED, "error": {"reason": "quota"}})

    with pytest.raises(TaskFailed, match="quota") as caught:
        await handle.result()
    assert caught.value.error == Problem(reason="quota")
    assert caught.value.record["kind"] == "error"
    with pytest.raises(TaskFailed) as untyped:
        await client.result(handle.id)
    assert untyped.value.error == {"reason": "quota"}


async def test_every_other_end_of_waiting_has_an_error_of_its_own(
    client: TaskClient, end: End
) -> None:
    thrown, odd, wrong, cancelled, untyped = [
        await client.enqueue(IMPORT, Request(url="u")) for _ in range(5)
    ]
    end(thrown.id, "failed", error={**FAILED, "type": "ValueError", "message": "no"})
    end(odd.id, "failed", error={**FAILED, "error": {"of": "an older version"}})
    end(wrong.id, result={"rows": "many"})
    end(untyped.id)
    assert await cancelled._client.cancel(cancelled.id) == "cancelled"

    with pytest.raises(TaskFailed) as caught:
        await thrown.result()
    assert (caught.value.error, caught.value.record["type"]) == (None, "ValueError")
    with pytest.raises(TaskFailed) as older:
        await odd.result()
    assert older.value.error == {"of": "an older version"}
    with pytest.raises(InvalidPayload):
        await wrong.result()
    with pytest.raises(TaskCancelled, match="requested"):
        await cancelled.result()
    with pytest.raises(TaskNotFound):
        await client.result(10**12)
    assert await client.result(untyped.id) is None


@pytest.mark.conformance("C50")
async def test_retry_and_repeat_say_what_they_did(
    client: TaskClient, database: Database, end: End
) -> None:
    failed = await client.enqueue("a", {"n": 1}, unique_key="k", tags=["t"])
    assert await client.retry(failed.id) == "live"
    end(failed.id, "failed", error=FAILED)
    copy_id = await client.repeat(failed.id)
    assert await client.retry(failed.id) == "retried"
    end(failed.id, "failed", error=FAILED)
    holder = await client.enqueue("a", unique_key="k")
    assert await client.retry(failed.id) == "key_taken"
    end(holder.id)
    assert await client.retry(holder.id) == "completed"
    assert await client.retry(10**12) == "not_found"
    assert await client.repeat(10**12) is None

    assert copy_id is not None
    copied = await client.get(copy_id)
    assert copied is not None
    assert (copied.state, copied.metadata, copied.tags) == ("pending", {"n": 1}, ["t"])
    assert copied.unique_key is None
    events = [entry.event for entry in await client.history(failed.id)]
    assert events == [
        "created", "started", "failure", "repeat", "retry", "started", "failed"
    ]  # fmt: skip


async def test_erase_takes_the_payload_of_an_ended_task_only(client: TaskClient, end: End) -> None:
    handle = await client.enqueue(IMPORT, Request(url="secret"))
    assert await client.erase(handle.id) == "live"
    end(handle.id, result={"rows": 1})
    assert await client.erase(handle.id) == "erased"
    assert await client.erase(10**12) == "not_found"

    task = await client.get(handle.id)
    assert task is not None
    assert (task.state, task.metadata, task.result) == ("completed", {}, None)


@pytest.mark.conformance("C55")
async def test_proceed_patches_replaces_and_refuses(
    client: TaskClient, suspend: Callable[[int, str | None], None]
) -> None:
    handle = await client.enqueue("a", execution_metadata={"a": 1, "b": 2})
    suspend(handle.id, None)
    with pytest.raises(InvalidArgument, match="exclude each other"):
        await client.proceed(handle.id, patch={}, execution_metadata={})
    wrong: Any = [1]
    with pytest.raises(InvalidArgument, match="patch must be a JSON object"):
        await client.proceed(handle.id, patch=wrong)
    with pytest.raises(TooLarge):
        await client.proceed(handle.id, patch={"a": "x" * 2**20})
    assert (await client.get(handle.id)).state == "suspended"  # type: ignore[union-attr]

    later = datetime.now(UTC) + timedelta(hours=1)
    assert await client.proceed(handle.id, patch={"a": None}, run_at=later) == "scheduled"
    assert await client.proceed(handle.id, patch={"c": 3}, signal_key="s") == "proceeded"
    assert await client.proceed(handle.id, patch={"c": 4}, signal_key="s") == "repeated"
    task = await client.get(handle.id)
    assert task is not None
    assert (task.state, task.execution_metadata) == ("pending", {"b": 2, "c": 3})


@pytest.mark.conformance("C54")
async def test_proceed_waiting_finds_the_one_that_waits(
    client: TaskClient, suspend: Callable[[int, str | None], None]
) -> None:
    first, second = [await client.enqueue("a") for _ in range(2)]
    assert await client.proceed_waiting("k", keep_for=0) == "not_found"
    assert await client.proceed_waiting("early", patch={"x": 1}, keep_for=60) == "kept"
    suspend(first.id, "k")
    suspend(second.id, "k")
    assert await client.proceed_waiting("k") == "ambiguous"
    assert await client.proceed(first.id) == "proceeded"
    assert await client.proceed_waiting("k", patch={"x": 1}) == "proceeded"


@pytest.mark.conformance("C58")
async def test_proceed_of_an_ended_task_changes_nothing(client: TaskClient, end: End) -> None:
    handle = await client.enqueue("a")
    end(handle.id)
    before = await client.get(handle.id)
    assert await client.proceed(handle.id, patch={"a": 1}) == "ended"
    assert await client.get(handle.id) == before
    assert await client.proceed(10**12) == "not_found"


@pytest.mark.conformance("C49")
async def test_bulk_actions_do_what_they_counted(client: TaskClient, end: End) -> None:
    tagged = [await client.enqueue("a", tags=["x", str(n)]) for n in range(3)]
    failed = [await client.enqueue("b") for _ in range(2)]
    end(failed[0].id, "failed", error={**FAILED, "type": "ValueError"})
    end(failed[1].id, "failed", error={**FAILED, "type": "KeyError"})

    with pytest.raises(InvalidArgument, match="at least one filter"):
        await client.cancel_where()
    for dry_run in (True, False):
        counted = await client.cancel_where(tag="x", dry_run=dry_run)
        assert (counted.cancelled, counted.requested) == (3, 0)
    assert await client.cancel(tagged[0].id) == "ended"
    since = datetime.now(UTC) - timedelta(hours=1)
    for dry_run in (True, False):
        assert await client.retry_where(error_type="KeyError", since=since, dry_run=dry_run) == 1
    states = {task.id: task.state async for task in client.search(name="b")}
    assert states == {failed[0].id: "failed", failed[1].id: "pending"}


async def test_an_update_says_what_it_did_and_takes_typed_metadata(client: TaskClient) -> None:
    handle = await client.enqueue(IMPORT, Request(url="u"), delay=3600)
    answer = await client.update(
        handle.id, metadata=Request(url="v"), priority=1, queue="q", delay=timedelta(hours=9),
        tags=["t"], requires=["c"], headers={"h": 1}, max_retries=7, retry_delays=[1, timedelta(1)],
        expires_at=datetime(2100, 1, 1, tzinfo=UTC), deadline_at=datetime(2100, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    assert answer == "applied"
    task = await client.get(handle.id)
    assert task is not None
    assert (task.metadata, task.priority, task.queue) == ({"url": "v"}, 1, "q")
    assert (task.tags, task.headers) == (["t"], {"h": 1})
    assert (await client.update(handle.id, clear=["queue", "tags"])) == "applied"
    assert await client.update(10**12, priority=1) == "not_found"
    with pytest.raises(InvalidArgument, match="nothing to change"):
        await client.update(handle.id)
    with pytest.raises(InvalidArgument, match="priority must be 0 to 9"):
        await client.update(handle.id, priority=12)
    assert await client.run_now(handle.id) == "hastened"
    assert await client.run_now(handle.id) == "not_waiting"
    assert await client.reschedule_where(name=IMPORT.name, delay=60, dry_run=True) == 1
    assert await client.reschedule_where(name=IMPORT.name, delay=timedelta(minutes=1)) == 1
    moved = await client.get(handle.id)
    assert moved is not None
    assert (moved.state, moved.queue, moved.tags) == ("scheduled", "default", None)
    assert await client.cancel(handle.id) == "cancelled"
    assert await client.update(handle.id, priority=1) == "not_applied"


async def test_queues_are_paused_resumed_and_shown(client: TaskClient, database: Database) -> None:
    await client.enqueue("a", queue="q")
    assert await client.pause_queue("q") == "paused"
    assert await client.pause_queue("q", stop_running=True) == "already_paused"
    state = {queue.queue: queue for queue in await client.queues()}["q"]
    assert (state.ready, state.running, state.paused) == (1, 0, True)
    assert await client.resume_queue("q") == "resumed"
    assert await client.resume_queue("q") == "not_paused"
    with pytest.raises(InvalidArgument, match="queue is not valid"):
        await client.pause_queue("")

    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
        " values (1, 'w', 'h', 2, '0.1', 10)"
    )
    (worker,) = await client.workers()
    assert (worker.name, worker.alive, worker.held) == ("w", True, 0)


async def test_watch_tells_the_present_the_changes_and_the_end(
    client: TaskClient, end: End
) -> None:
    first, second = [await client.enqueue("a", tags=["t"]) for _ in range(2)]
    seen: list[tuple[int, str]] = []
    async for task in client.watch(ids=[first.id, second.id, 10**12]):
        seen.append((task.id, task.state))
        if len(seen) == 2:
            end(first.id)
        elif len(seen) == 3:
            end(second.id, "failed", error=FAILED)
    assert seen == [
        (first.id, "pending"), (second.id, "pending"),
        (first.id, "completed"), (second.id, "failed"),
    ]  # fmt: skip

    tagged = [task.state async for task in client.watch(tag="t")]
    assert tagged == ["completed", "failed"]
    with pytest.raises(InvalidArgument, match="one of"):
        await anext(client.watch())
