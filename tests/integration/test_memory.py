"""An idle worker process is small, and has loaded nothing that it has no use for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.kit.commands import Commands
from tests.kit.databases import Database
from tests.kit.fleet import until

MOST_KIB = 40 * 1024
"""Of its own; how much of the libraries' files is mapped beside it is the kernel's choice."""
NEEDLESS = {
    *("sqlalchemy", "alembic", "mako", "pytest", "rich.console", "pygments"),
    *("perdure.client.client", "perdure.client.search", "perdure.store.search"),
    *("perdure.store.migrate", "perdure.embedded", "perdure.demo", "perdure.testing"),
}


def test_an_idle_worker_needs_less_than_forty_mebibytes_of_its_own(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with Commands(database.dsn, tmp_path) as commands:
        worker = commands.start("worker", "-A", "tests.kit.service:service")
        beats = "select from perdure.workers where heartbeat_at > started_at + interval '0.8 s'"
        until(lambda: database.rows(beats))
        status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
        (own_kib,) = re.findall(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", worker.said, re.MULTILINE))

    assert "perdure.run.worker" in loaded
    assert not loaded & NEEDLESS
    assert int(own_kib) <= MOST_KIB
