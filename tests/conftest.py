"""One PostgreSQL per run, one migrated template, one clone per test."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from tests.conformance.pooled import POOLED, cannot_pass
from tests.faults.pgbouncer import PgBouncer, pooling
from tests.kit import room as kit_room
from tests.kit.databases import (
    Database,
    GivenServer,
    Server,
    kept,
    lighten,
    new_database,
    own_server,
)

MEMORY = Path("/dev/shm")
MEMORY_BYTES_LEAST = 4 * 2**30

# A clone of the template is some three hundred files: on a disk that others use, too, that takes a
# second, in memory 30 ms. Processes that tests start inherit it.
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_LEAST
):
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None

# A run starts hundreds of interpreters: where nothing may be kept compiled each would do it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test of ours is timed: a machine that is busy elsewhere makes nothing wrong.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The servers of tests run without fsync; workers of tests, in processes too, have to accept that.
os.environ.setdefault("PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY", "true")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of PERDURE_TEST_DSN, else one of our own; each worker of xdist has its own."""
    given = os.environ.get("PERDURE_TEST_DSN")
    if given:
        with kept(theirs := GivenServer(given)):
            yield theirs
        return
    with own_server() as embedded, kept(embedded):
        lighten(embedded)
        yield embedded


@pytest.fixture(scope="session")
def server_dsn(server: Server) -> str:
    """Where to connect to make databases."""
    return server.dsn()


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """The name of a database with the newest schema; nothing may be connected to it."""
    from perdure.store.migrate import migrate  # heavy, and most unit tests need no schema

    with new_database(server) as database:
        migrate(database.dsn, schema_name=database.schema)
        yield database.name


@pytest.fixture(scope="session")
def pooler(server: Server) -> Iterator[PgBouncer]:
    """A pooler that passes a session on with each transaction."""
    with pooling(server) as started:
        yield started


@pytest.fixture(scope="session")
def in_between(server: Server) -> Iterator[Server | None]:
    """A pooler where PERDURE_TEST_POOLER wants the databases behind one."""
    if not POOLED:
        yield None
        return
    with PgBouncer(server) as started:  # Whoever asks for one is not to see all tests skipped.
        yield started


@pytest.fixture
def database(server: Server, template: str, in_between: Server | None) -> Iterator[Database]:
    """A migrated database of the test's own; the invariants must hold at the end of the test."""
    with new_database(server, template) as clone:
        clone.pooler = in_between
        yield clone
        clone.check()


@pytest.fixture
def empty_database(server: Server) -> Iterator[Database]:
    """A database of the test's own without the schema."""
    with new_database(server) as created:
        yield created


@pytest.fixture
def stays_prefetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a slot here does not go back because it has waited for a second."""
    monkeypatch.setattr("perdure.run.enqueuer.AGE_SECONDS_MAX", 3600.0)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What an entry point gives its process ends with the test: lines go where they went before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """What is marked `alone` asserts times: fewer tests run beside it."""
    places = getattr(request.config, "workerinput", {}).get("workercount", 1)
    if places == 1:
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    # The parent belongs to the whole run: each process has a folder in it.
    with kit_room.room(tmp_path_factory.getbasetemp().parent, places, alone=alone):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Behind a pooler leave away what cannot pass there."""
    if POOLED:
        items[:] = [item for item in items if not cannot_pass(item.nodeid)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test has printed fit for the pipe to the controller: hostile text is tested."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
