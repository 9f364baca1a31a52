"""Migrating: any name, any settings of the server, any number of programs at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from tests.kit.databases import Database, Server, new_database
from tests.kit.logins import as_login, new_login

from perdure.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    NotPermitted,
    SchemaMismatch,
)
from perdure.store import migrate as harness
from perdure.store.migrate import current, dump, migrate, migrations_folder
from perdure.store.schema import in_schema
from perdure.store.version import REVISION, require_version

NAMES = ["perdure", "Other Schema", 'we"ird', "100%", "it's", "a$$b", "back\\slash"]


@pytest.fixture
def blank(empty_database: Database) -> str:
    return empty_database.dsn


def ask(dsn: str, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(text.encode(), parameters).fetchall()


def catalogue(dsn: str, schema_name: str) -> list[tuple[Any, ...]]:
    """Everything in a schema, as text: relations, columns, indexes, triggers, functions, rights."""
    return ask(
        dsn,
        """
        with home as (select oid from pg_namespace where nspname = %s)
        select c.relname::text, c.relkind::text, c.relacl::text, c.reloptions::text,
            case c.relkind when 'v' then pg_get_viewdef(c.oid)
                when 'i' then pg_get_indexdef(c.oid) end
        from pg_class as c, home where c.relnamespace = home.oid
        union all
        select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
            a.attacl::text, a.attnotnull::text, pg_get_expr(d.adbin, d.adrelid)
        from home join pg_class as c on c.relnamespace = home.oid
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
        left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
        union all
        select p.proname, p.prokind::text, p.proacl::text, '', pg_get_functiondef(p.oid)
        from pg_proc as p, home where p.pronamespace = home.oid
        union all
        select t.tgname, c.relname, t.tgenabled::text, '', pg_get_triggerdef(t.oid)
        from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
        join home on home.oid = c.relnamespace
        order by 1, 2, 3, 4, 5
        """,
        schema_name,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_of_any_name_is_migrated_and_migrating_it_again_changes_nothing(
    blank: str, name: str
) -> None:
    migrate(blank, name)
    first = catalogue(blank, name)
    migrate(blank, name)
    assert current(blank, name) == REVISION
    assert len(first) > 50
    assert catalogue(blank, name) == first
    strays = """
        select c.oid::regclass::text from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname not like 'pg\\_%%' and n.nspname not in ('information_schema', %s)
    """
    assert ask(blank, strays, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_dump_makes_the_same_schema_as_migrating(blank: str, server: Server, name: str) -> None:
    migrate(blank, name, limits={"metadata_bytes": 5000})
    with new_database(server) as other:
        other.execute(dump(name, limits={"metadata_bytes": 5000}))
        assert current(other.dsn, name) == REVISION
        assert catalogue(other.dsn, name) == catalogue(blank, name)
        kept = "select key, value from perdure.settings where key <> 'range_began_at' order by key"
        settings = in_schema(kept, name)
        with psycopg.connect(blank) as connection:
            migrated = connection.execute(settings.encode()).fetchall()
        assert other.rows(settings) == migrated


def test_the_code_knows_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_revisions_run_every_sql_file_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    read = harness._sql

    def reading(path: str) -> str:
        ran.append(path)
        return read(path)

    monkeypatch.setattr(harness, "_sql", reading)
    dump()
    folder = migrations_folder() / "sql"
    assert sorted(ran) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.sql"))


def test_two_programs_may_migrate_one_schema_at_once(blank: str) -> None:
    code = "import sys; from perdure.store.migrate import migrate; migrate(sys.argv[1])"
    programs = [subprocess.Popen([sys.executable, "-c", code, blank]) for _ in range(2)]
    assert [program.wait(60) for program in programs] == [0, 0]
    assert current(blank) == REVISION


def test_threads_may_migrate_one_schema_and_several_at_once(blank: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: migrate(blank, name), ["perdure", "perdure", "b c", "100%"]))
    assert {current(blank, name) for name in ("perdure", "b c", "100%")} == {REVISION}


def test_a_migrate_waits_for_the_one_before_it_but_not_for_another_schema(blank: str) -> None:
    begin = (migrations_folder() / "sql" / "begin.sql").read_text("utf-8")
    waiting = "select 1 from pg_stat_activity where wait_event = 'advisory' and datname = %s"
    with psycopg.connect(blank) as first:
        first.execute(in_schema(begin, "perdure").encode())
        migrate(blank, "other")
        second = threading.Thread(target=migrate, args=(blank,))
        second.start()
        while not ask(blank, waiting, first.info.dbname):
            assert second.is_alive()
        assert current(blank) is None
    second.join(60)
    assert current(blank) == REVISION


def test_a_lock_that_live_sessions_hold_for_a_moment_is_asked_for_again() -> None:
    busy = DatabaseError("canceling statement due to lock timeout")
    busy.sqlstate = "55P03"
    answers: list[DatabaseError | None] = [busy, busy, None]

    def run() -> str:
        if error := answers.pop(0):
            raise error
        return "done"

    assert harness._retried(run) == "done"
    answers = [busy] * (harness.ATTEMPTS_MAX + 1)
    with pytest.raises(DatabaseError, match="lock timeout"):
        harness._retried(run)
    assert len(answers) == 1


def test_settings_of_the_database_change_nothing(blank: str, server: Server) -> None:
    hostile = [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "standard_conforming_strings = off",
        "statement_timeout = 500",
        "lock_timeout = 1",
        "search_path = public, pg_catalog",
        "check_function_bodies = off",
        "row_security = off",
        "datestyle = 'German, DMY'",
    ]
    with new_database(server) as plain:
        migrate(plain.dsn)
        name = psycopg.conninfo.conninfo_to_dict(blank)["dbname"]
        for setting in hostile:
            plain.execute(f"alter database {name} set {setting}")
        # libpq itself refuses a session that is read-only by default.
        dsn = psycopg.conninfo.make_conninfo(blank, target_session_attrs="any")
        migrate(dsn, limits={"metadata_bytes": 1})
        plain.execute(f"alter database {name} reset all")
        assert catalogue(dsn, "perdure") == catalogue(plain.dsn, "perdure")


def test_a_database_that_is_not_utf8_is_refused(server: Server, empty_database: Database) -> None:
    ascii_only = f"{empty_database.name}_ascii"
    empty_database.execute(
        f"create database {ascii_only} template template0 "
        "encoding 'SQL_ASCII' locale_provider 'libc' locale 'C'"
    )
    try:
        with pytest.raises(ConfigurationError, match=r"SQL_ASCII.*encoding 'UTF8'"):
            migrate(server.dsn(ascii_only))
        assert current(server.dsn(ascii_only)) is None
    finally:
        empty_database.execute(f"drop database {ascii_only} with (force)")


def test_limits_are_kept_until_others_are_given(blank: str) -> None:
    stored = (
        "select key, value from perdure.settings where key in ('metadata_bytes', 'error_bytes')"
    )
    migrate(blank, limits={"metadata_bytes": 5000})
    migrate(blank)
    migrate(blank, limits={"error_bytes": 700})
    assert dict(ask(blank, stored)) == {"metadata_bytes": 5000, "error_bytes": 700}


@pytest.mark.parametrize("limits", [{"metadata_bytes": 0}, {"readable_from": 2}])
def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_touched(
    blank: str, limits: dict[str, int]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(limits))):
        migrate(blank, limits=limits)
    assert current(blank) is None


def test_a_schema_from_a_newer_program_is_left_alone(blank: str) -> None:
    migrate(blank)
    with psycopg.connect(blank) as connection:
        connection.execute("update perdure.schema_version set version_num = '9999'")
    before = catalogue(blank, "perdure")
    with pytest.raises(SchemaMismatch, match="9999"):
        migrate(blank)
    assert catalogue(blank, "perdure") == before


def test_an_unknown_revision_is_refused_and_nothing_is_made(blank: str) -> None:
    with pytest.raises(SchemaMismatch, match="0815"):
        migrate(blank, to="0815")
    assert ask(blank, "select 1 from pg_namespace where nspname = 'perdure'") == []


def test_the_owner_of_a_prepared_schema_needs_no_rights_on_the_database(blank: str) -> None:
    with new_login(blank) as login:
        with psycopg.connect(blank) as connection:
            connection.execute(
                sql.SQL("create schema perdure authorization {}").format(sql.Identifier(login))
            )
        migrate(as_login(blank, login))
        assert current(blank) == REVISION


def test_a_login_that_may_not_create_is_told_which_one_to_use(blank: str) -> None:
    with new_login(blank) as login, pytest.raises(NotPermitted, match="owns the schema"):
        migrate(as_login(blank, login))


def test_no_error_repeats_the_dsn_or_its_password(server_dsn: str) -> None:
    closed = psycopg.conninfo.make_conninfo(server_dsn, port="1", password="canary", user="x")
    for dsn, error in [
        ("postgresql//user:canary@host/db", ConfigurationError),
        ("postgresql://user:canary@x@host:port/db", ConfigurationError),
        (closed, DatabaseUnavailable),
    ]:
        for call in (migrate, current):
            with pytest.raises(error) as raised:
                call(dsn)
            assert "canary" not in "".join(traceback.format_exception(raised.value))


async def test_a_worker_reads_the_version_by_one_query(blank: str) -> None:
    async with await psycopg.AsyncConnection.connect(blank, autocommit=True) as connection:
        with pytest.raises(SchemaMismatch, match="run `perdure migrate`"):
            await require_version(connection, "perdure")
        migrate(blank)
        await require_version(connection, "perdure")
        await connection.execute("update perdure.schema_version set version_num = '0900'")
        await require_version(connection, "perdure")
        await connection.execute(
            "update perdure.settings set value = '\"0900\"' where key = 'readable_from'"
        )
        with pytest.raises(SchemaMismatch, match="0900"):
            await require_version(connection, "perdure")


def test_reading_the_version_loads_neither_alembic_nor_sqlalchemy() -> None:
    code = (
        "import sys, perdure.store.version;"
        "sys.exit(bool({'alembic', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_word_perdure_stands_in_no_string_literal() -> None:
    files = chain(
        (migrations_folder() / "sql").rglob("*.sql"),
        (Path(harness.__file__).parent / "sql").glob("*.sql"),
    )
    broken = [path.name for path in files if "'MARK" in _inside_literals(path.read_text("utf-8"))]
    assert broken == []


def _inside_literals(text: str) -> str:
    """Return the string literals of SQL in which the schema would be put, marked."""
    marked: list[str] = []
    for line in text.splitlines():
        code = line.split("--")[0]
        marked += ["'MARK" for part in code.split("'")[1::2] if in_schema(part, "other") != part]
    return " ".join(marked)
