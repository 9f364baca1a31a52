"""A supervisor and its worker processes: deaths, signals, recycling, bursts, exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.commands import Command, Commands, gone
from tests.kit.databases import Database
from tests.kit.fleet import until
from tests.kit.gate import lose

from perdure.run.bus import Bus
from perdure.run.events import ChildEnded, ChildFailed, ChildStarted
from perdure.run.supervisor import EXIT_CONFIGURATION, PAUSE_SECONDS_MAX, Supervisor
from perdure.store.database import Database as Connections

UNREACHABLE = Connections({"host": "127.0.0.1", "port": 1})
WORKER = ("worker", "-A", "tests.kit.whole:service")


@pytest.fixture
def commands(database: Database, tmp_path: Path) -> Iterator[Commands]:
    with Commands(database.dsn, tmp_path) as commands:
        yield commands


def enqueue(database: Database, name: str, count: int = 1) -> list[int]:
    text = "insert into perdure.tasks (name) select %s from generate_series(1, %s) returning id"
    return [task_id for (task_id,) in database.rows(text, (name, count))]


def ended(database: Database) -> Any:
    return database.value("select count(*) from perdure.outcomes where state = 'completed'")


def pids(database: Database) -> set[int]:
    """The workers that have beaten at least once."""
    beaten = "select pid from perdure.workers where heartbeat_at > started_at"
    return {pid for (pid,) in database.rows(beaten)}


def alive(database: Database, count: int) -> set[int]:
    """Wait for so many workers; their processes."""
    until(lambda: len(pids(database)) == count)
    return pids(database)


def stop(supervisor: Command) -> None:
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0, supervisor.said


@pytest.mark.parametrize(
    ("processes", "option", "value"),
    [(1, "--max-tasks-per-process", "99"), (2, "--processes", "2")],
)
def test_a_killed_child_is_replaced_and_its_task_runs_again_before_its_lease_has_ended(
    database: Database, commands: Commands, processes: int, option: str, value: str
) -> None:
    supervisor = commands.start(
        *WORKER, option, value,
        execution__beat_interval="20s", execution__lease_duration="60s",
    )  # fmt: skip
    before = alive(database, processes)
    (task,) = enqueue(database, "endless")
    until(lambda: commands.ledger.records("start", task))
    (start,) = commands.ledger.records("start", task)
    os.kill(start["pid"], signal.SIGKILL)
    died = time.monotonic()
    until(lambda: len(commands.ledger.records("start", task)) == 2, timeout=50)
    again = commands.ledger.records("start", task)[1]
    seconds = again["at"] - died
    if processes == 1:  # how long an interpreter takes to start is not ours
        since_start = (
            "select extract(epoch from l.claimed_at - w.started_at) from perdure.leases as l"
            " join perdure.workers as w on w.id = l.worker_id"
        )
        seconds = float(database.value(since_start))
    assert again["pid"] != start["pid"]
    after = alive(database, processes)
    assert start["pid"] not in after
    assert after & before == before - {start["pid"]}
    stop(supervisor)
    assert database.rows("select state, interruptions from perdure.task(%s)", (task,)) == [
        ("pending", 1)
    ]
    assert seconds < 10


def test_sigterm_stops_all_and_hands_their_tasks_back(
    database: Database, commands: Commands
) -> None:
    supervisor = commands.start(*WORKER, "--processes", "2")
    children = alive(database, 2)
    tasks = enqueue(database, "endless", 3)
    until(lambda: len(commands.ledger.records("start")) == 3)
    stop(supervisor)
    assert all(gone(pid, timeout=0) for pid in children)
    assert not database.rows("select from perdure.workers")
    for task in tasks:
        state = "select state, attempt, interruptions, crashes from perdure.task(%s)"
        assert database.rows(state, (task,)) == [("pending", 1, 1, 0)]


def test_a_signal_to_every_process_is_one_signal_and_a_second_one_ends_all_at_once(
    database: Database, commands: Commands
) -> None:
    supervisor = commands.start(*WORKER, "--processes", "2", execution__stop_grace="1s")
    children = alive(database, 2)
    tasks = enqueue(database, "endless", 3)
    until(lambda: len(commands.ledger.records("start")) == 3)
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    stop(supervisor)
    for task in tasks:
        state = "select state, interruptions from perdure.task(%s)"
        assert database.rows(state, (task,)) == [("pending", 1)]
    supervisor = commands.start(
        *WORKER, "--processes", "2", logging__level="info",
        execution__stop_grace="20s", execution__shutdown_grace="20s",
    )  # fmt: skip
    until(lambda: supervisor.said.count("worker.started") == 2)
    until(lambda: len(commands.ledger.records("start")) == 6)
    supervisor.signal(signal.SIGTERM)
    until(lambda: supervisor.said.count("worker.stopping") == 2)
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait(15) == 1


def first_ends_with(code: int, tmp_path: Path) -> list[str]:
    """A command whose first process ends at once, while all later ones wait to be ended."""
    script = (
        "import os, sys, time\n"
        f"try: os.close(os.open({str(tmp_path / 'first')!r}, os.O_CREAT | os.O_EXCL))\n"
        "except FileExistsError: time.sleep(60)\n"
        f"sys.exit({code})"
    )
    return [sys.executable, "-S", "-c", script]


async def test_a_child_that_finds_its_configuration_wrong_ends_the_supervisor_with_its_code(
    tmp_path: Path,
) -> None:
    command = first_ends_with(EXIT_CONFIGURATION, tmp_path)
    supervisor = Supervisor(command, 2, UNREACHABLE, grace=3, burst=False, bus=Bus())
    assert await supervisor.run() == EXIT_CONFIGURATION


async def test_a_death_that_cannot_be_reported_takes_no_other_child_along(tmp_path: Path) -> None:
    bus = Bus()
    started: list[int] = []
    ended: list[int] = []
    replaced = asyncio.Event()

    def on_start(event: ChildStarted) -> None:
        started.append(event.pid)
        if len(started) == 3:
            replaced.set()

    bus.on("supervisor.child_started", on_start)
    bus.on(ChildEnded, lambda event: ended.append(event.pid))
    command = first_ends_with(1, tmp_path)
    supervisor = Supervisor(command, 2, UNREACHABLE, grace=3, burst=False, bus=bus)
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(10):
        await replaced.wait()
    assert len(ended) == 1
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert sorted(ended) == sorted(started)


async def test_a_child_that_fails_whenever_it_is_started_is_started_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, ends, pauses = Bus(), list[ChildFailed](), list[float]()
    supervisor = Supervisor(["false"], 1, UNREACHABLE, grace=3, burst=False, bus=bus)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if seconds > PAUSE_SECONDS_MAX / 2:
            os.kill(os.getpid(), signal.SIGTERM)
            await supervisor._stopping.wait()

    monkeypatch.setattr(supervisor, "_pause", pause)
    monkeypatch.setattr(supervisor, "_report", lambda _: None)
    bus.on(ChildFailed, ends.append)
    assert await supervisor.run() == 0
    assert pauses[0] < 1
    assert max(pauses) <= PAUSE_SECONDS_MAX
    assert [event.again_in for event in ends] == pauses


async def test_a_burst_whose_children_cannot_begin_ends_with_a_failure() -> None:
    supervisor = Supervisor(["false"], 2, UNREACHABLE, grace=3, burst=True, bus=Bus())
    async with asyncio.timeout(10):
        assert await supervisor.run() == 1


async def test_a_file_that_has_become_wrong_ends_no_supervisor(tmp_path: Path) -> None:
    bus, failures = Bus(), list[ChildFailed]()
    right = tmp_path / "right"
    script = f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; exit 75"
    wrong = f"test -e {right} || test ! -e {tmp_path}/second || exit {EXIT_CONFIGURATION}"
    command = ["sh", "-c", f"{wrong}; {script}"]

    def mend(event: ChildFailed) -> None:
        failures.append(event)
        right.touch()

    bus.on(ChildFailed, mend)
    supervisor = Supervisor(
        command, 1, UNREACHABLE, grace=3, burst=True, bus=bus, is_configured=right.exists
    )
    async with asyncio.timeout(10):
        assert await supervisor.run() == 0
    assert [event.code for event in failures] == [EXIT_CONFIGURATION]
    assert failures[0].again_in


async def test_a_child_is_given_as_long_to_stop_as_the_settings_say_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.run.supervisor.KILL_MARGIN_SECONDS", 0.1)
    script = "trap '' HUP; trap 'sleep 0.5; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    bus, ends = Bus(), list[ChildEnded]()
    bus.on(ChildEnded, ends.append)
    bus.on(ChildFailed, ends.append)
    monkeypatch.chdir(tmp_path)
    supervisor = Supervisor(
        ["sh", "-c", script], 1, UNREACHABLE, grace=0, burst=False, bus=bus, reload=lambda: 20
    )
    running = asyncio.create_task(supervisor.run())
    while not (tmp_path / "ready").exists():
        await asyncio.wait([running], timeout=0.01)
    for number in (signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
        await asyncio.wait([running], timeout=0.05)
    assert await running == 0
    assert [event.code for event in ends] == [0]


async def test_a_child_that_sighup_met_before_it_was_a_worker_is_replaced_at_once(
    tmp_path: Path,
) -> None:
    bus, ends = Bus(), list[ChildEnded]()
    command = ["sh", "-c", f"test -e {tmp_path}/first && exit 0; touch {tmp_path}/first; sleep 60"]
    supervisor = Supervisor(command, 1, UNREACHABLE, grace=3, burst=True, bus=bus)
    bus.on(ChildEnded, ends.append)
    running = asyncio.create_task(supervisor.run())
    while not (tmp_path / "first").exists():
        await asyncio.wait([running], timeout=0.01)
    os.kill(os.getpid(), signal.SIGHUP)
    assert await running == 0
    assert [(type(e), e.code, e.again_in) for e in ends] == [
        (ChildEnded, -signal.SIGHUP, 0.0),
        (ChildEnded, 0, None),
    ]


async def test_a_stop_that_comes_while_a_child_is_being_made_ends_that_child_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, ends, real = Bus(), list[ChildEnded](), asyncio.create_subprocess_exec
    supervisor = Supervisor(["sleep", "60"], 1, UNREACHABLE, grace=20, burst=False, bus=bus)
    bus.on(ChildEnded, ends.append)

    async def make(*words: str, **options: Any) -> Any:
        child = await real(*words, **options)
        supervisor._on_signal()
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", make)
    async with asyncio.timeout(5):
        assert await supervisor.run() == 0
    assert [event.code for event in ends] == [-signal.SIGTERM]


def test_only_tasks_of_the_worker_that_was_reported_go_back_at_once(database: Database) -> None:
    for task in enqueue(database, "short", 2):
        lose(database, task)
    database.execute(
        "update perdure.workers set lease_seconds = 0"
        " where id = (select worker_id from perdure.leases where task_ids = '{1}')"
    )
    assert database.rows("select tasks, started from perdure.recover(true)") == [(1, 1)]
    assert database.rows("select task_ids from perdure.leases") == [([2],)]
    assert database.rows("select tasks, started from perdure.recover()") == [(1, 1)]


def test_a_process_that_has_done_its_share_is_replaced_by_a_fresh_one(
    database: Database, commands: Commands
) -> None:
    enqueue(database, "short", 6)
    supervisor = commands.start(*WORKER, "--max-tasks-per-process", "2", "--concurrency", "1")
    until(lambda: ended(database) == 6)
    by_process = [record["pid"] for record in commands.ledger.records("start")]
    assert [by_process.count(pid) for pid in dict.fromkeys(by_process)] == [2, 2, 2]
    stop(supervisor)
    assert database.rows("select distinct attempt from perdure.outcomes") == [(1,)]
    database.check_drained()


def test_a_process_that_has_grown_too_large_is_replaced_by_a_fresh_one(
    database: Database, commands: Commands
) -> None:
    supervisor = commands.start(*WORKER, "--max-memory-mb", "150")
    (first,) = alive(database, 1)
    enqueue(database, "grow")
    assert gone(first)
    (task,) = enqueue(database, "short")
    until(lambda: ended(database) == 2)
    assert commands.ledger.records("start", task)[0]["pid"] != first
    stop(supervisor)
    database.check_drained()


def test_a_burst_ends_with_zero_when_nothing_is_due(database: Database, commands: Commands) -> None:
    enqueue(database, "short", 20)
    database.execute("select perdure.enqueue('short', delay => interval '1 hour')")
    assert commands.start(*WORKER, "--processes", "2", "--burst").wait() == 0
    assert ended(database) == 20
    assert database.rows("select reason from perdure.waiting") == [("delay",)]
    assert not database.rows("select from perdure.workers")


def test_sighup_is_passed_on_to_every_child(
    database: Database, commands: Commands, tmp_path: Path
) -> None:
    config = tmp_path / "perdure.toml"
    config.write_text("[scheduling]\nbatch_size = 7\n")
    supervisor = commands.start(
        "--config", str(config), *WORKER, "--processes", "2", logging__level="info"
    )
    children = alive(database, 2)
    config.write_text("[scheduling]\nbatch_size = 'many'\n")
    supervisor.signal(signal.SIGHUP)
    refused = "select pid from perdure.workers where problem like '%batch_size%'"
    until(lambda: {pid for (pid,) in database.rows(refused)} == children)
    config.write_text("[scheduling]\nbatch_size = 8\n[execution]\nshutdown_grace = '4s'\n")
    supervisor.signal(signal.SIGHUP)
    until(lambda: not database.rows(refused))
    until(lambda: supervisor.said.count("scheduling.batch_size: 7 -> 8") == 3)
    assert pids(database) == children
    stop(supervisor)


def test_a_child_whose_supervisor_was_gone_before_it_began_ends(
    database: Database, commands: Commands
) -> None:
    another = str(os.getpid() + 1)
    assert commands.start(*WORKER, "--supervisor-pid", another).wait() == 0
    assert not database.rows("select from perdure.workers")


def test_children_end_in_order_when_the_supervisor_is_killed(
    database: Database, commands: Commands
) -> None:
    supervisor = commands.start(*WORKER, "--processes", "2")
    children = alive(database, 2)
    (task,) = enqueue(database, "endless")
    until(lambda: commands.ledger.records("start", task))
    supervisor.kill()
    assert all(gone(pid) for pid in children)
    assert not database.rows("select from perdure.workers")
    assert database.rows("select state, interruptions from perdure.task(%s)", (task,)) == [
        ("pending", 1)
    ]
