"""SIGHUP: new settings hold at once, also for tasks that run; a wrong file changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.commands import Command, Commands
from tests.kit.databases import Database
from tests.kit.fleet import QUICK, until
from tests.kit.running import running

from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService


@pytest.fixture
def commands(database: Database, tmp_path: Path) -> Iterator[Commands]:
    with Commands(database.dsn, tmp_path) as commands:
        yield commands


class Configured:
    """A worker process that reads a file of settings; it has started."""

    def __init__(self, commands: Commands, database: Database, folder: Path, text: str) -> None:
        self.file = folder / "perdure.toml"
        self.file.write_text(text)
        self._database = database
        self.worker: Command = commands.start(
            "--config", str(self.file), "worker", "-A", "tests.kit.whole:service",
            "--concurrency", "7", logging__level="",
        )  # fmt: skip
        until(lambda: database.rows("select from perdure.workers"))

    def reload(self, text: str) -> None:
        """Write the file anew and send SIGHUP."""
        self.file.write_text(text)
        self.worker.signal(signal.SIGHUP)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What the worker has logged of this kind."""
        said = [line for line in self.worker.said.splitlines() if line.startswith("{")]
        lines = [json.loads(line) for line in said]
        return [line for line in lines if line["event"] == event]

    @property
    def problem(self) -> str | None:
        """As `perdure workers` shows it."""
        problem: str | None = self._database.value("select problem from perdure.workers")
        return problem


def retries(count: object) -> str:
    return f"[execution]\nmax_retry_count = {count}\n"


def fails_later(database: Database, file: Path) -> Any:
    """Enqueue a task whose first run fails when the file is there."""
    return database.value(
        "insert into perdure.tasks (name, metadata)"
        " values ('fails.later', jsonb_build_object('file', %s::text)) returning id",
        [str(file)],
    )


@pytest.mark.conformance("C110")
def test_a_new_bound_on_retries_holds_for_a_task_that_runs(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    process = Configured(commands, database, tmp_path, retries(0))
    fail = tmp_path / "fail"
    task = fails_later(database, fail)
    until(lambda: commands.ledger.records("start", task))
    process.reload(retries(1))
    until(lambda: process.logged("settings.reloaded"))
    fail.touch()
    until(lambda: database.rows("select from perdure.outcomes"))
    state = "select state, attempt, failures from perdure.task(%s)"
    assert database.rows(state, [task]) == [("completed", 2, 1)]
    (reloaded,) = process.logged("settings.reloaded")
    assert reloaded["needs_restart"] == []
    assert reloaded["applied"] == ["execution.max_retry_count: 0 -> 1"]
    database.check_drained()


@pytest.mark.conformance("C110")
def test_a_wrong_file_changes_nothing_and_is_shown_until_it_is_right(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    process = Configured(commands, database, tmp_path, retries(1))
    fail = tmp_path / "fail"
    task = fails_later(database, fail)
    until(lambda: commands.ledger.records("start", task))
    process.reload(retries('"many"') + "max_crashes = 0\n")
    until(lambda: process.problem)
    shown = commands.start("workers", "--json")
    assert shown.wait() == 0
    (worker,) = json.loads(shown.said)
    assert "execution.max_retry_count" in worker["problem"]
    assert "execution.max_crashes" in worker["problem"]
    (refused,) = process.logged("settings.refused")
    assert refused["error"] == worker["problem"]
    fail.touch()
    until(lambda: database.rows("select from perdure.outcomes"))
    assert database.value("select state from perdure.task(%s)", [task]) == "completed"
    process.reload(retries(1))
    until(lambda: process.problem is None)
    database.check_drained()


@pytest.mark.conformance("C110")
def test_what_needs_a_restart_is_said_and_what_was_given_otherwise_wins(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    process = Configured(commands, database, tmp_path, "")
    process.reload(
        'dsn = "postgresql://me:hunter2@elsewhere/there"\n'
        '[persistence]\nschema_name = "other"\n[scheduling]\nbatch_size = 9\n'
        '[execution]\nbeat_interval = "333ms"\nconcurrency = 3\n'
    )
    until(lambda: process.logged("settings.reloaded"))
    (reloaded,) = process.logged("settings.reloaded")
    # The environment says the DSN and beat_interval, the command line concurrency.
    assert reloaded["needs_restart"] == ["persistence.schema_name: perdure -> other"]
    assert reloaded["applied"] == ["scheduling.batch_size: 500 -> 9"]
    database.execute("insert into perdure.tasks (name) values ('short')")
    until(lambda: database.rows("select from perdure.outcomes"))


@pytest.mark.conformance("C110")
def test_a_file_that_has_changed_changes_nothing_without_the_signal(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    process = Configured(commands, database, tmp_path, retries(0))
    process.file.write_text(retries(1))
    (tmp_path / "fail").touch()
    task = fails_later(database, tmp_path / "fail")
    until(lambda: database.rows("select from perdure.outcomes"))
    assert database.value("select state from perdure.task(%s)", [task]) == "failed"
    assert not process.logged("settings.reloaded")


def test_a_new_level_and_form_of_the_log_hold_at_once(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    process = Configured(
        commands, database, tmp_path, '[logging]\nlevel = "info"\nformat = "console"\n'
    )
    until(lambda: "worker.started" in process.worker.said)
    assert not process.logged("worker.started")
    process.reload('[logging]\nlevel = "debug"\n')
    until(lambda: process.logged("settings.reloaded"))
    database.execute("insert into perdure.tasks (name) values ('short')")
    until(lambda: process.logged("task.started"))
    process.reload('[logging]\nlevel = "error"\n')
    process.worker.signal(signal.SIGTERM)
    assert process.worker.wait() == 0
    assert not process.logged("worker.stopped")


async def test_threads_and_slots_follow_the_new_concurrency(database: Database) -> None:
    began = threading.Semaphore(0)
    go = threading.Event()
    builder = TaskService.builder()

    @builder.task("wait")
    def wait(context: SyncTaskContext[dict[str, Any], None]) -> None:
        began.release()
        go.wait(20)

    database.execute("insert into perdure.tasks (name) select 'wait' from generate_series(1, 9)")
    service = builder.build()
    settings: dict[str, Any] = {"execution__concurrency": 1, "execution__prefetch": "0"}
    async with running(database, service, **settings) as worker:
        assert await asyncio.to_thread(began.acquire, timeout=10)
        service.override(QUICK | {"execution.concurrency": 4, "dsn": database.dsn})
        worker.worker.reload(service.settings)
        for _ in range(3):
            assert await asyncio.to_thread(began.acquire, timeout=10)
        assert not began.acquire(blocking=False)
        go.set()
        await worker.until(lambda: database.value("select count(*) from perdure.outcomes") == 9)
    database.check_drained()
