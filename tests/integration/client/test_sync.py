"""The synchronous client: the same words as the asynchronous one, and the same answers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.client.conftest import IMPORT, End, Problem, Report, Request
from tests.kit.databases import Database
from tests.kit.logins import as_login, logins_of

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import Answer, NewTask
from perdure.errors import ConfigurationError, NotPermitted, TaskFailed

FAILED = {"kind": "error", "type": None, "message": None, "traceback": None}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(client: type) -> dict[str, list[str]]:
        members = inspect.getmembers(client, inspect.isroutine)
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in members
            if not name.startswith("_")
        }

    assert methods(TaskClient) == methods(SyncTaskClient)
    assert len(methods(TaskClient)) > 20


def test_enqueue_wait_and_operate(
    sync_client: SyncTaskClient, database: Database, end: End
) -> None:
    handle = sync_client.enqueue(IMPORT, Request(url="u"), tags=["t"], unique_key="k")
    assert sync_client.enqueue(IMPORT, Request(url="v"), unique_key="k").answer is Answer.KEPT
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.03)
    end(handle.id, result={"rows": 3})
    assert handle.result(timeout=5) == Report(rows=3)

    many = sync_client.enqueue_many([NewTask(IMPORT, Request(url="u")), NewTask("b", tags=["t"])])
    assert sync_client.enqueue_many([]) == []
    end(many[0].id, "failed", error={**FAILED, "error": {"reason": "r"}})
    with pytest.raises(TaskFailed) as caught:
        many[0].result()
    assert caught.value.error == Problem(reason="r")

    assert sync_client.copy("c", ({"n": n} for n in range(3))) == 3
    assert [task.id for task in sync_client.search(tag="t", order="asc")] == [handle.id, many[1].id]
    assert sync_client.search(name="c").page(limit=2).after is not None
    assert sync_client.cancel(many[1].id) == "cancelled"
    assert [task.state for task in sync_client.watch(ids=[many[1].id])] == ["cancelled"]
    assert sync_client.retry(many[1].id) == "retried"
    assert sync_client.proceed(many[1].id) == "kept"
    assert sync_client.update(many[1].id, priority=0, delay=60) == "applied"
    assert sync_client.run_now(many[1].id) == "hastened"
    assert sync_client.reschedule_where(name="c", delay=60) == 3
    assert sync_client.cancel_where(name="c").cancelled == 3
    assert sync_client.queue_depth("default") == 1
    assert [queue.queue for queue in sync_client.queues()] == ["default"]


def test_threads_may_share_a_client(sync_client: SyncTaskClient, database: Database) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = threads.map(lambda _: sync_client.enqueue("a", unique_key="k").answer, range(40))
        assert list(answers).count(Answer.CREATED) == 1
    assert database.value("select count(*) from perdure.tasks") == 1


async def test_a_producer_enqueues_waits_and_cancels_its_own_and_no_more(
    database: Database, end: End
) -> None:
    with logins_of(database) as logins:
        dsn = as_login(database.dsn, logins.names["producer"])
        mine = database.value("select task_id from perdure.enqueue('another')")
        async with TaskClient(dsn) as client:
            handle = await client.enqueue("a", {"n": 1}, unique_key="k", priority=1)
            assert await client.copy("a", [{}], queue="q", tags=["t"]) == 1
            assert len(await client.enqueue_many([NewTask("a"), NewTask("b")])) == 2
            end(handle.id, result=[1])
            assert await handle.result(timeout=5) == [1]
            assert [task.state async for task in client.watch(ids=[handle.id])] == ["completed"]
            assert (await client.get(mine), await client.cancel(mine)) == (None, "not_found")
            for refused in (client.search().page(), client.pause_queue("q"), client.workers()):
                with pytest.raises(NotPermitted):
                    await refused


def test_a_client_without_a_database_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PERDURE_DSN", "DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="PERDURE_DSN"):
        TaskClient()


def test_a_client_that_does_not_search_loads_no_sqlalchemy() -> None:
    program = (
        "import sys, perdure.client.client, perdure.client.sync;"
        "print([m for m in ('sqlalchemy', 'alembic', 'rich', 'typer') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert ran.stdout.strip() == "[]"
