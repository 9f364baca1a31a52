"""`perdure up`: one command on a machine without a database, then plain SQL from anybody."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.kit.commands import Command, Commands
from tests.kit.fleet import until

SERVICE = """
from perdure import TaskContext, TaskService

builder = TaskService.builder()


@builder.task("greet")
async def greet(context: TaskContext[dict[str, str], None]) -> str:
    return f"Hello, {context.metadata['name']}"


service = builder.build()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a developer works: a folder with one module, which anybody may enter."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "jobs.py").write_text(SERVICE)
    return folder


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with Commands(None, tmp_path) as commands:
        yield commands


def dsn_of(up: Command) -> str:
    """The DSN that is printed for people, once all that is done before the workers is done."""
    until(lambda: "Ctrl-C ends it" in up.said or not up.alive)
    (dsn,) = re.findall(r"psql '(.*)'", up.said)
    return str(dsn)


def test_a_plain_insert_by_the_printed_dsn_is_run_and_its_result_is_read_back(
    commands: Commands, folder: Path
) -> None:
    up = commands.start("up", "-A", "jobs:service", cwd=folder)
    dsn = dsn_of(up)
    assert "ready" not in up.said, "a worker that may not be there yet"
    with psycopg.connect(dsn, autocommit=True) as connection:
        insert = (
            "insert into perdure.tasks (name, metadata)"
            " values ('greet', '{\"name\": \"Ada\"}') returning id"
        )
        (task_id,) = connection.execute(insert).fetchone() or ()
        state = "select state, result from perdure.task(%s)"
        until(
            lambda: connection.execute(state, [task_id]).fetchone() == ("completed", "Hello, Ada")
        )
    up.signal(signal.SIGTERM)
    assert up.wait() == 0
    with pytest.raises(psycopg.OperationalError, match=r"refused|No such file"):
        psycopg.connect(dsn)
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert left == {"jobs.py", ".perdure"}


def test_a_second_one_in_the_folder_says_who_is_there_and_where(
    commands: Commands, folder: Path
) -> None:
    first = commands.start("up", cwd=folder)
    dsn = dsn_of(first)
    second = commands.start("up", cwd=folder)
    assert second.wait() == 1
    assert second.said.count("\n") == 1
    assert f"already running in this folder, as process {first.pid}: end it first" in second.said
    (file,) = re.findall(r"export PERDURE_DSN_FILE=(\S+)", second.said)
    assert Path(file).read_text(encoding="utf-8") == f"{dsn}\n"
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    looked = commands.start("list", cwd=folder, dsn_file=file)
    assert looked.wait() == 78
    assert "start `perdure up` again" in looked.said
    # In the shell that was told to use the first one's file, too.
    third = commands.start("up", cwd=folder, dsn_file=file)
    dsn_of(third)


@pytest.mark.parametrize("seen", ["", "database  PostgreSQL"])
def test_sigterm_while_it_starts_leaves_no_server_behind(
    commands: Commands, folder: Path, seen: str
) -> None:
    up = commands.start("up", cwd=folder)
    pid_file = folder / ".perdure" / "postgres" / "postmaster.pid"
    until(lambda: (seen in up.said and pid_file.exists()) or not up.alive)
    # On a slow machine it may have started by now: then this is an end like any other.
    started = "Ctrl-C ends it" in up.said
    up.signal(signal.SIGTERM)
    assert up.wait() == (0 if started else 128 + signal.SIGTERM)
    assert not pid_file.exists()
