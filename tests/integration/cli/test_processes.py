"""worker and up as processes: what they do, how they end, and that nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from tests.integration.cli.conftest import Run
from tests.kit.databases import Database

SERVICE = """
import asyncio
import os
from perdure import TaskService

builder = TaskService.builder()

@builder.task("sum.up")
async def sum_up(context) -> dict:
    return {"pid": os.getpid()}

@builder.task("wait.long")
async def wait_long(context) -> None:
    print("begun", flush=True)
    await asyncio.sleep(3600)

service = builder.build()
"""
END_SECONDS = 60


class Start(Protocol):
    def __call__(self, *words: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a command in a folder with a service; it is killed with the test if it still runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    (tmp_path / "shop.py").write_text(SERVICE)
    started: list[subprocess.Popen[str]] = []

    def run(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "perdure", *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=END_SECONDS)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process says up to the line with this text; the test's time limit is the bound."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was never said:\n{said}")


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=END_SECONDS)
    return process.returncode, output


def test_a_burst_does_what_is_due_and_ends(run: Run, start: Start) -> None:
    run("enqueue", "sum.up")
    code, output = end(start("worker", "-A", "shop:service", "--burst"))
    assert code == 0, output
    assert run("show", 1, "--json").json["state"] == "completed"


def test_a_worker_is_alive_for_a_probe_and_ends_with_sigterm(
    run: Run, start: Start, database: Database, tmp_path: Path
) -> None:
    process = start("worker", "-A", "shop:service", "--queue", "default:2")
    read_until(process, "worker.started")
    probe = [sys.executable, "-m", "perdure.cli.health"]
    alive = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=60)
    assert alive.returncode == 0, alive.stderr
    assert alive.stdout.startswith("alive: workers 1")
    run("enqueue", "wait.long")
    read_until(process, "begun")
    process.send_signal(signal.SIGTERM)
    code, output = end(process)
    assert code == 0, output
    assert run("show", 1, "--json").json["interruptions"] == 1
    assert not list(tmp_path.glob("perdure-health-*"))
    gone = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=60)
    assert (gone.returncode, gone.stdout) == (1, "")


def test_several_processes_share_the_work_and_are_replaced_when_they_have_done_their_share(
    run: Run, start: Start
) -> None:
    for _ in range(6):
        run("enqueue", "sum.up")
    code, output = end(
        start(
            "worker", "-A", "shop:service", "--processes", "2", "--concurrency", "1",
            "--max-tasks-per-process", "2", "--burst", "--schema", "perdure",
        )
    )  # fmt: skip
    assert code == 0, output
    tasks = [run("show", i, "--json").json for i in range(1, 7)]
    assert [task["state"] for task in tasks] == ["completed"] * 6
    assert len({task["result"]["pid"] for task in tasks}) > 1


def test_ctrl_c_in_a_terminal_stops_workers_once_and_in_order(
    run: Run, start: Start, database: Database
) -> None:
    """The terminal signals the whole group; a second signal would make the children not wait."""
    process = start("worker", "-A", "shop:service", "--processes", "2")
    read_until(process, "worker.started")
    run("enqueue", "wait.long")
    read_until(process, "begun")
    parent = process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert {os.getpgid(int(child)) for child in children}.isdisjoint({os.getpgid(parent)})
    process.send_signal(signal.SIGINT)
    code, output = end(process)
    assert code == 0, output
    assert run("show", 1, "--json").json["interruptions"] == 1
    assert database.rows("select id from perdure.workers") == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-A", "shop:missing"], "no attribute 'missing'"),
        (["-A", "nowhere:service"], "no module 'nowhere'"),
        ([], "no service is named"),
    ],
)
def test_a_worker_that_cannot_start_says_why_and_exits_with_78(
    start: Start, words: list[str], text: str
) -> None:
    code, output = end(start("worker", *words))
    assert code == 78
    assert output.count("\n") == 1
    assert text in output


@pytest.mark.parametrize("command", ["worker", "worker --processes 2", "up", "list"])
def test_an_unknown_variable_is_said_once_with_the_nearest_known_name(
    command: str, start: Start, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DSN", database.dsn)
    monkeypatch.setenv("PERDURE_EXECUTION__CONCURENCY", "5")
    if command == "list":
        _, output = end(start("list"))
    else:
        process = start(*command.split(), "-A", "shop:service")
        said = read_until(process, "worker.started")
        process.send_signal(signal.SIGTERM)
        output = said + end(process)[1]
    assert output.count("PERDURE_EXECUTION__CONCURENCY") == 1
    assert "(did you mean PERDURE_EXECUTION__CONCURRENCY?)" in output


def test_a_worker_without_its_schema_exits_with_78(
    start: Start, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DSN", empty_database.dsn)
    for words in ([], ["--processes", "2"]):
        code, output = end(start("worker", "-A", "shop:service", *words))
        assert code == 78, output
        assert "perdure migrate" in output


@pytest.fixture
def no_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PG") or name in ("PERDURE_DSN", "DATABASE_URL"):
            monkeypatch.delenv(name)


def postgres_runs(folder: Path) -> bool:
    return (folder / ".perdure" / "postgres" / "postmaster.pid").exists()


@pytest.mark.timeout(240)
def test_up_keeps_its_data_and_leaves_no_process_behind(
    start: Start, no_database_is_named: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in (1, 2):
        process = start("up", "-A", "shop:service")
        said = read_until(process, "worker.started")
        dsn = re.search(r"psql '(\S+)'", said)
        assert dsn is not None, said
        assert f"{tmp_path}/.perdure/dsn" in said
        with psycopg.connect(dsn[1], autocommit=True) as connection:
            connection.execute("insert into perdure.tasks (name) values ('sum.up')")
            counted = "select count(*) from perdure.task_states where state = 'completed'"
            while connection.execute(counted).fetchone() != (turn,):
                pass
        process.send_signal(signal.SIGINT if turn == 1 else signal.SIGTERM)
        code, output = end(process)
        assert code == 0, output
        assert not postgres_runs(tmp_path)
        assert not (tmp_path / ".perdure" / "dsn").exists()


def test_up_without_a_service_uses_the_database_that_is_named(
    start: Start, empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERDURE_DSN", empty_database.dsn)
    process = start("up")
    said = read_until(process, "ready")
    assert "worker    none" in said
    assert "at revision" in said
    password = psycopg.conninfo.conninfo_to_dict(empty_database.dsn).get("password")
    assert password is None or str(password) not in said
    process.send_signal(signal.SIGTERM)
    code, output = end(process)
    assert (code, output) == (0, "")
    assert not (tmp_path / ".perdure").exists()
    assert empty_database.value("select count(*) from perdure.tasks") == 0
