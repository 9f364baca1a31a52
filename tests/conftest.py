"""One PostgreSQL per run, one migrated template, one clone per test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.databases import SERVER_SETTINGS, Database, GivenServer, Server, new_database

from perdure.embedded import EmbeddedServer

MEMORY = Path("/dev/shm")
MEMORY_BYTES_LEAST = 2 * 2**30

# A clone of the template is some three hundred files: on a disk that others use, too, that takes a
# second, in memory 30 ms. Processes that tests start inherit it.
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_LEAST
):
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None

# The servers of tests run without fsync; workers of tests, in processes too, have to accept that.
os.environ.setdefault("PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY", "true")

@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of PERDURE_TEST_DSN, else one of our own; each worker of xdist has its own.

    PERDURE_TEST_BINARIES names the folder of the programs to use, instead of those found first.
    """
    given = os.environ.get("PERDURE_TEST_DSN")
    binaries = os.environ.get("PERDURE_TEST_BINARIES")
    if given:
        yield GivenServer(given)
        return
    with EmbeddedServer(
        settings=SERVER_SETTINGS, binaries=Path(binaries) if binaries else None
    ) as embedded:
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


@pytest.fixture
def database(server: Server, template: str) -> Iterator[Database]:
    """A migrated database of the test's own; the invariants must hold at the end of the test."""
    with new_database(server, template) as clone:
        yield clone
        clone.check()


@pytest.fixture
def empty_database(server: Server) -> Iterator[Database]:
    """A database of the test's own without the schema."""
    with new_database(server) as created:
        yield created
