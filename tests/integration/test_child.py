"""Handlers in child processes, run by a real worker."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.isolated_service import PAGES, go_on, service
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.running import Running, running

from perdure.run.options import Options

APPLICATION = "tests.kit.isolated_service:service"
ISOLATED = Options(application=APPLICATION)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger.jsonl"))
    return Ledger(tmp_path / "ledger.jsonl")


def gone(pid: int, seconds: float) -> bool:
    """Whether a process has ended, or does within so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


async def noted(worker: Running, ledger: Ledger, what: str, task_id: int) -> dict[str, Any]:
    """Wait until the handler has noted this; the record."""
    record: dict[str, Any] = (await worker.until(lambda: ledger.records(what, task_id)))[0]
    return record


async def test_a_handler_runs_in_a_child_which_serves_the_next_task_too(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        for n in (1, 2):
            row = await worker.ended(await worker.enqueue("plain", f'{{"n": {n}}}'))
            assert (row["state"], row["result"]) == ("completed", {"n": n + 1})
    first, second = ledger.records("start")
    assert first["pid"] != os.getpid()
    assert first["parent"] == os.getpid()
    assert first["pid"] == second["pid"]


async def test_the_workers_stop_ends_the_children_that_wait_for_tasks(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        await worker.ended(await worker.enqueue("plain"))
        pid = ledger.records("start")[0]["pid"]
        assert not gone(pid, 0)
    assert gone(pid, 0)


async def test_a_plain_handler_saves_steps_writes_and_enqueues_as_in_a_thread(
    database: Database, ledger: Ledger
) -> None:
    database.execute("create table effects (task_id bigint not null)")
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("works", retry_delays=[0])
        row = await worker.ended(task_id)
        children = await worker.ask("select id from perdure.task_states where name = 'plain'")
        for child in children:
            await worker.ended(child["id"])
    assert (row["state"], row["error"], row["failures"]) == ("completed", None, 1)
    assert row["result"] == {"n": 41}
    assert row["execution_metadata"] == {"page": 12}
    assert row["progress"] == {"done": 2, "total": 2, "message": "half"}
    assert len(ledger.records("once", task_id)) == 1
    assert len(children) == 2
    assert database.value("select count(*) from effects") == 3


async def test_an_async_handler_saves_steps_writes_and_enqueues_as_in_the_worker(
    database: Database, ledger: Ledger
) -> None:
    database.execute("create table effects (task_id bigint not null)")
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("loops", max_retries=0)
        row = await worker.ended(task_id)
        children = await worker.ask("select id from perdure.task_states where name = 'plain'")
        await worker.ended(children[0]["id"])
    assert (row["state"], row["result"]) == ("completed", {"n": 41})
    assert row["execution_metadata"] == {"page": 2}
    assert row["progress"] == {"done": 1, "total": 2, "message": None}
    assert ledger.records("last", task_id)[0]["last"] is True
    assert database.value("select count(*) from effects") == 1


async def test_a_typed_error_and_an_exception_come_back_as_from_the_worker(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        failed = await worker.ended(await worker.enqueue("fails"))
        raised = await worker.ended(await worker.enqueue("raises"))
    assert failed["error"]["kind"] == "given_up"
    assert failed["error"]["error"] == {"reason": "no luck"}
    assert raised["error"]["kind"] == "given_up"
    assert (raised["error"]["type"], raised["error"]["message"]) == ("Broken", "not again")
    first, *_ = (line for line in raised["error"]["traceback"].splitlines() if "File" in line)
    assert "run_raises" in first


async def test_a_task_suspends_in_a_child_and_goes_on_with_what_the_signal_says(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("suspends")
        await worker.state(task_id, "suspended")
        await worker.ask(
            "select perdure.proceed_waiting(%s::text, patch => '{\"page\": 5}')", "signal"
        )
        row = await worker.ended(task_id)
    assert (row["state"], row["result"]) == ("completed", {"n": 5})


async def test_a_stopped_worker_saves_what_the_child_leaves_and_the_next_one_goes_on(
    database: Database, ledger: Ledger
) -> None:
    patient = {"execution__stop_grace": "20s", "execution__shutdown_grace": "25s"}
    async with running(database, service, options=ISOLATED, **patient) as worker:
        task_id = await worker.enqueue("obeys")
        await noted(worker, ledger, "start", task_id)
    assert ledger.records("stop", task_id)[0]["reason"] == "shutdown"
    async with running(database, service, options=ISOLATED) as worker:
        row = await worker.ended(task_id)
    assert (row["state"], row["result"]) == ("completed", {"n": PAGES})
    assert (row["interruptions"], row["failures"], row["crashes"]) == (1, 0, 0)


async def test_a_cancel_reaches_the_child_and_breaks_it_off_after_its_grace(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("cancelled")
        await noted(worker, ledger, "start", task_id)
        await worker.ask("select perdure.cancel(%s::bigint)", task_id)
        row = await worker.ended(task_id)
    assert (row["state"], row["error"]["kind"]) == ("cancelled", "requested")
    assert ledger.records("unwound", task_id)[0]["reason"] == "cancelled"


async def test_a_sigterm_that_the_worker_has_not_sent_breaks_nothing_off(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        row = await worker.ended(await worker.enqueue("ignores"))
    assert (row["state"], row["result"]) == ("completed", {"n": 1})


@pytest.mark.conformance("C40")
@pytest.mark.parametrize("name", ["sleeps", "deaf"])
async def test_the_hard_timeout_ends_a_child_whatever_its_handler_does(
    database: Database, ledger: Ledger, name: str
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue(name)
        row = await worker.ended(task_id)
    assert (row["state"], row["error"]["kind"]) == ("failed", "exhausted")
    assert (row["error"]["type"], row["crashes"]) == ("HardTimeout", 0)
    for record in ledger.records("unwound", task_id):
        assert record["reason"] == "timeout"
    for record in ledger.records("start", task_id):
        assert gone(record["pid"], 0)


@pytest.mark.conformance("C39")
async def test_a_killed_child_is_one_crash_and_disturbs_nobody(
    database: Database, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        beside = await worker.enqueue("neighbour")
        await noted(worker, ledger, "start", beside)
        task_id = await worker.enqueue("waits")
        started = await noted(worker, ledger, "start", task_id)
        os.kill(started["pid"], signal.SIGKILL)
        row = await worker.ended(task_id)
        go_on.set()
        other = await worker.ended(beside)
    runs = database.rows("select kind, error ->> 'message' from perdure.attempts")
    assert runs == [("crash", "its child process was killed by signal 9")]
    assert "kind=crash message=its child process was killed by signal 9" in caplog.text
    assert (row["state"], row["result"], row["crashes"]) == ("completed", {"n": 2}, 1)
    assert row["worker_id"] == other["worker_id"]
    assert (other["result"], other["crashes"], other["interruptions"]) == ({"n": 1}, 0, 0)


async def test_a_task_whose_own_child_dies_after_two_crashes_is_the_culprit(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("leaves")
        row = await worker.ended(task_id)
    assert (row["state"], row["error"]["kind"], row["crashes"]) == ("failed", "crash", 3)
    assert row["error"]["message"] == "its child process ended with code 3"


async def test_a_task_of_the_worker_that_crashed_twice_dies_in_a_child_alone(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        task_id = await worker.enqueue("poison", delay="1h")
        await worker.ask(
            "insert into perdure.progress (task_id, attempt, crashes) values (%s::bigint, 2, 2)",
            task_id,
        )
        await worker.past(task_id)
        row = await worker.ended(task_id)
    assert (row["state"], row["error"]["kind"]) == ("failed", "crash")
    assert ledger.records("start", task_id)[0]["pid"] != os.getpid()


async def test_a_child_that_died_between_two_tasks_costs_neither_of_them_anything(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED) as worker:
        await worker.ended(await worker.enqueue("plain"))
        pid = ledger.records("start")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        row = await worker.ended(await worker.enqueue("plain"))
    assert (row["state"], row["attempt"], row["crashes"]) == ("completed", 1, 0)
    assert ledger.records("start")[1]["pid"] != pid


async def test_a_task_that_eats_memory_fails_alone(database: Database, ledger: Ledger) -> None:
    async with running(
        database, service, options=ISOLATED, execution__child_memory_mb=2048
    ) as worker:
        row = await worker.ended(await worker.enqueue("eats"))
    assert (row["state"], row["error"]["type"]) == ("failed", "MemoryError")
    assert not ledger.records("eaten")


async def test_a_child_that_says_what_is_no_message_has_crashed(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service, options=ISOLATED, execution__isolate_after="1") as worker:
        row = await worker.ended(await worker.enqueue("babbles"))
        assert worker.worker._children._all == set()
    assert (row["state"], row["error"]["kind"]) == ("failed", "crash")
    assert all(gone(record["pid"], 0) for record in ledger.records("start"))


async def test_without_an_application_the_failure_says_how_to_start_the_worker(
    database: Database, ledger: Ledger
) -> None:
    async with running(database, service) as worker:
        row = await worker.ended(await worker.enqueue("plain", max_retries=0))
    assert (row["state"], row["error"]["type"]) == ("failed", "ConfigurationError")
    assert "-A module:service" in row["error"]["message"]


async def test_an_application_that_cannot_be_imported_is_a_failure_with_its_traceback(
    database: Database, ledger: Ledger
) -> None:
    options = Options(application="tests.kit.no_such_module:service")
    async with running(database, service, options=options) as worker:
        row = await worker.ended(await worker.enqueue("plain", max_retries=0))
    assert (row["state"], row["error"]["type"]) == ("failed", "ModuleNotFoundError")
    assert "no_such_module" in row["error"]["traceback"]


@pytest.mark.parametrize("name", ["waits", "deaf", "holds"])
def test_a_killed_worker_takes_its_children_along(
    database: Database, tmp_path: Path, name: str
) -> None:
    with Fleet(database, APPLICATION, tmp_path) as fleet:
        worker = fleet.start()
        database.execute("select perdure.enqueue(%s::text, '{}'::jsonb)", (name,))
        until(lambda: fleet.ledger.records("start"))
        pid = fleet.ledger.records("start")[0]["pid"]
        assert not gone(pid, 0)
        worker.kill()
        assert gone(pid, 5)
