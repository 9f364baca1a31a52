"""Workers of tests that a warm parent has forked are what fresh processes would be."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from tests.kit import warm
from tests.kit.databases import Database
from tests.kit.fleet import PATH, PATIENCE, QUICK, ROOT, Fleet, until
from tests.kit.ledger import VARIABLE
from tests.kit.relay import ended, enqueue

APPLICATION = "tests.kit.service:service"


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Fleet:
    return Fleet(database, APPLICATION, tmp_path)


def sockets_of(pid: int) -> set[str]:
    """The sockets that a process has open."""
    links = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.add(str(file.readlink()))
    return {link for link in links if link.startswith("socket:")}


def test_a_forked_worker_works_with_its_own_settings_and_tells_its_end(
    database: Database, fleet: Fleet
) -> None:
    tasks = enqueue(database, "short", 3)
    with fleet:
        one, two = fleet.start(burst="1"), fleet.start(execution__concurrency="3")
        until(lambda: ended(database, len(tasks)))
        assert one.wait() == 0
        assert two.alive
        until(lambda: database.rows("select pid, slots from perdure.workers") == [(two.pid, 3)])
        two.kill()
        assert not two.alive
        assert two.wait() == -signal.SIGKILL
    assert {record["pid"] for record in fleet.ledger.records("start")} <= {one.pid, two.pid}


def test_workers_have_nothing_of_each_other_open(fleet: Fleet) -> None:
    with fleet:
        one, two = fleet.start(), fleet.start()
        until(lambda: fleet.database.value("select count(*) from perdure.workers") == 2)
        assert not sockets_of(one.pid) & sockets_of(two.pid)


def test_a_worker_that_cannot_start_ends_with_the_code_of_that(tmp_path: Path) -> None:
    values = [f"{key}={value}" for key, value in QUICK.items()]
    environment = {**os.environ, "PERDURE_DSN": "postgresql:///", VARIABLE: str(tmp_path / "l")}
    forked = warm.parent(PATH, ROOT).fork(["tests.kit.nowhere:service", *values], environment)
    assert forked.wait() == 1
    assert forked.poll() == 1


def test_who_has_not_ended_is_waited_for_no_longer_than_that(fleet: Fleet) -> None:
    with fleet:
        worker = fleet.start()
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.01)


def test_all_end_with_the_process_that_wanted_them(fleet: Fleet) -> None:
    parent = warm.Parent(PATH, ROOT)
    environment = {
        **os.environ, "PERDURE_DSN": fleet.database.dsn, VARIABLE: str(fleet.ledger.path),
    }  # fmt: skip
    values = [f"{key}={value}" for key, value in QUICK.items()]
    worker = parent.fork([APPLICATION, *values], environment)
    until(lambda: fleet.database.value("select count(*) from perdure.workers"))
    parent.close()
    assert worker.wait(PATIENCE) == -signal.SIGKILL
