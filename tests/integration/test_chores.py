"""The room of what was taken is free again while a worker is busy, if its login may see to that."""

from __future__ import annotations

from typing import cast

from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database
from tests.kit.logins import as_login, logins_of

from perdure.run.chores import VACUUM_TASKS, Chores
from perdure.store import upkeep
from perdure.store.database import Database as Store

ENDED = {("a", "default", "completed"): (VACUUM_TASKS, 1.0)}
SIZE = "select pg_relation_size('perdure.ready')"


def churn(database: Database) -> None:
    """As many tasks come and go as a worker takes between two looks."""
    database.execute("alter table perdure.ready set (autovacuum_enabled = off)")
    database.execute(
        "insert into perdure.ready (lane, priority, task_id)"
        " select 0, 5, n from generate_series(1, 10000) as n"
    )
    database.execute("delete from perdure.ready")


def chores_of(database: Database, dsn: str) -> None:
    """A worker's chores, once, after so many endings."""
    parameters = cast("dict[str, str]", conninfo_to_dict(dsn))
    session = Store(parameters, database.schema).sync_session()
    warnings: list[str | None] = []
    session.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    try:
        chores = Chores()
        chores.ended(ENDED)
        chores.do(session, 1, 10.0)
        assert not warnings
    finally:
        session.close()


def test_the_room_of_what_was_taken_is_used_again(database: Database) -> None:
    churn(database)
    size = database.value(SIZE)
    chores_of(database, database.dsn)
    churn(database)
    assert database.value(SIZE) == size


def test_a_vacuum_that_takes_long_is_broken_off_and_the_session_is_as_it_was(
    database: Database,
) -> None:
    parameters = cast("dict[str, str]", conninfo_to_dict(database.dsn))
    session = Store(parameters, database.schema, statement_seconds=17).sync_session()
    session.connection.execute("set vacuum_cost_delay = '100ms'; set vacuum_cost_limit = 1")
    try:
        churn(database)
        size = database.value(SIZE)
        upkeep.vacuum(session, 0.2)
        assert session.connection.execute("show statement_timeout").fetchall() == [("17s",)]
        churn(database)
        assert database.value(SIZE) > size
    finally:
        session.close()


def test_a_login_that_may_not_vacuum_goes_on_without(database: Database) -> None:
    churn(database)
    size = database.value(SIZE)
    with logins_of(database) as logins:
        chores_of(database, as_login(database.dsn, logins.names["worker"]))
    churn(database)
    assert database.value(SIZE) > size
