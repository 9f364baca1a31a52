"""A database whose settings are meant for others: everything works there all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.faults.requests import CASES, Scene
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, until
from tests.kit.proxy import proxied
from tests.kit.relay import enqueue, make_tables

from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import NewTask

HOSTILE = {
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "search_path": "public, pg_catalog",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Kiritimati",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "row_security": "off",
    "jit": "on",
    "jit_above_cost": "0",
    "work_mem": "64kB",
    "plan_cache_mode": "force_custom_plan",
    "enable_indexscan": "off",
    "deadlock_timeout": "10ms",
    "lock_timeout": "500ms",
    "statement_timeout": "5s",
}


@pytest.fixture
def scene(database: Database, tmp_path: Path) -> Iterator[Scene]:
    make_tables(database)
    for name, value in HOSTILE.items():
        quoted = f"'{value}'" if name not in ("search_path", "datestyle") else value
        database.execute(f"alter database {database.name} set {name} = {quoted}")
    with (
        proxied(database.dsn) as proxy,
        Fleet(database, "tests.faults.writes:service", tmp_path) as fleet,
    ):
        yield Scene(database, fleet, proxy, fleet.start(dsn=proxy.dsn))


def test_everything_works_in_a_database_with_settings_for_others(scene: Scene) -> None:
    with psycopg.connect(scene.database.dsn) as connection:
        found = {name: connection.execute(f"show {name}").fetchone() for name in HOSTILE}
    assert found["default_transaction_isolation"] == ("serializable",)
    assert found["standard_conforming_strings"] == ("off",)
    # A handler's own transaction may fail at this level as often as others write beside it.
    names = {case.name for case in CASES.values()} - {"own", "parent"}
    ids = [id_ for name in sorted(names) for id_ in enqueue(scene.database, name, 5, n=0)]
    with SyncTaskClient(scene.database.dsn) as client:
        ids.append(client.enqueue("short", {"n": 1}, unique_key="k", delay=0.1).id)
        ids += [handle.id for handle in client.enqueue_many([NewTask("pages", {"n": 0})] * 3)]
        client.copy("effect", [{"n": 1}] * 3)
    until(scene.all_ended)
    everything = [id_ for (id_,) in scene.database.rows("select id from perdure.tasks")]
    assert {*ids} <= {*everything}
    scene.check(everything)
