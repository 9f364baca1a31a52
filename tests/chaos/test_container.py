"""A worker as a container has it: the first process, without rights, on a root that is read-only.

Namespaces and `setpriv` stand in for the engine, which is not needed to show it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import PATH, PATIENCE, QUICK, ROOT, until
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.relay import ended, enqueue

GRACE_SECONDS = 3.0
CONTAINER = """
mount --make-rprivate / && mount --bind "$TMPDIR" "$TMPDIR" && mount -o remount,bind,ro / &&
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""
COMMAND = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--"]
"""As root; anybody else needs a namespace of users, too."""
WORKER = [sys.executable, "-m", "tests.kit.work", "tests.kit.isolated_service:service"]
TRIED = "touch ./here && exit 9; touch $TMPDIR/here && grep -E 'CapEff|NoNewPrivs' /proc/1/status"


@contextmanager
def container(command: list[str], folder: Path, dsn: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as the first process of one; it may write to the folder alone."""
    environment = {
        **os.environ, "PERDURE_DSN": dsn, "PYTHONPATH": PATH, "TMPDIR": str(folder),
        VARIABLE: str(folder / "ledger.jsonl"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    popen = subprocess.Popen(
        [COMMAND[0], *users, *COMMAND[1:], "sh", "-c", CONTAINER, "sh", *command],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with popen:
        try:
            yield popen
        finally:
            popen.kill()


def first_process(popen: subprocess.Popen[str]) -> int:
    """The pid that the container's first process has outside."""
    path = Path(f"/proc/{popen.pid}/task/{popen.pid}/children")
    until(lambda: path.read_text().split())
    return int(path.read_text().split()[0])


def test_a_container_of_these_tests_has_no_rights_and_a_root_that_is_read_only(
    tmp_path: Path,
) -> None:
    with container(["sh", "-c", TRIED], tmp_path, "") as popen:
        said, _ = popen.communicate(timeout=PATIENCE)
    assert popen.returncode == 0
    assert re.findall(r"\w+:\s+(\w+)", said) == ["0000000000000000", "1"]
    assert (tmp_path / "here").exists()


@pytest.mark.alone
def test_a_worker_that_is_the_first_process_of_a_container_works_and_stops_when_told(
    database: Database, tmp_path: Path
) -> None:
    settings = [f"{key}={value}" for key, value in QUICK.items()]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with container([*WORKER, *settings], tmp_path, database.dsn) as popen:
        # In child processes, which start in the same place.
        enqueue(database, "plain", 3, n=1)
        until(lambda: ended(database, 3))
        (obeying,) = enqueue(database, "obeys")
        until(lambda: ledger.records("start", obeying))
        worker = first_process(popen)
        os.kill(worker, signal.SIGTERM)
        assert popen.wait(GRACE_SECONDS + 0.5) == 0
    assert {record["parent"] for record in ledger.records("start") if "parent" in record} == {1}
    assert database.value("select state from perdure.task(%s::bigint)", (obeying,)) == "pending"
    assert not database.rows("select from perdure.workers")
