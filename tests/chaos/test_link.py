"""The link to a worker is down: what is sent is lost, and neither end is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg.conninfo import make_conninfo
from tests.chaos.test_network import check_all, check_moved
from tests.kit.databases import SERVER_SETTINGS, Database, migrated_database, own_server
from tests.kit.fleet import B4, Fleet, until
from tests.kit.lacking import lacking
from tests.kit.link import Link, LinkError, linked
from tests.kit.relay import all_work, begun, ended, enqueue, make_tables, registered

from perdure.embedded import EmbeddedServer

pytestmark = pytest.mark.alone

TASKS = 16


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        with linked() as made:
            yield made
    except LinkError as error:
        lacking(error)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """One that those beyond the link may talk to."""
    with TemporaryDirectory(prefix="perdure-link-") as folder:
        Path(folder).chmod(0o755)
        logins = Path(folder) / "pg_hba.conf"
        logins.write_text("local all all scram-sha-256\nhost all all all scram-sha-256\n")
        open_to_all = {"listen_addresses": "*", "hba_file": str(logins)}
        with own_server({**SERVER_SETTINGS, **open_to_all}) as embedded:
            yield embedded


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    with migrated_database(server) as created:
        make_tables(created)
        yield created


def test_the_tasks_of_a_worker_whose_link_is_down_go_on_elsewhere(
    link: Link, database: Database, tmp_path: Path
) -> None:
    half = {"execution__concurrency": str(TASKS // 2), "execution__prefetch": "0"}
    with Fleet(database, "tests.faults.writes:service", tmp_path) as fleet:
        far = make_conninfo(database.dsn, host=link.address)
        cut_off, other = fleet.start(0, link.beyond, dsn=far, **half), fleet.start(**half)
        until(lambda: all(registered(database, worker) for worker in (cut_off, other)))
        tasks = enqueue(database, "pages", TASKS, n=700)
        until(lambda: all(begun(fleet, task, 1) for task in tasks))
        link.down()
        down = time.monotonic()
        until(lambda: ended(database, len(tasks)))
        check_moved(fleet, tasks, cut_off, other, down)
        link.up()
        all_work(fleet, [cut_off, other], time.monotonic(), B4)
        check_all(database)
