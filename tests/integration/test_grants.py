"""Who may do what: every right of every kind of login, and how it is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.logins import Logins, as_login, logins_of, new_login

from perdure.errors import InvalidArgument, NotPermitted, SchemaMismatch
from perdure.store import version
from perdure.store.migrate import grant, migrate
from perdure.store.schema import statement

PRIVILEGES = Path(__file__).with_name("privileges.txt")
STATEMENTS = Path(version.__file__).parent / "sql"


@pytest.fixture
def logins(database: Database) -> Iterator[Logins]:
    with logins_of(database) as made:
        yield made


def privileges(logins: Logins) -> list[str]:
    """A line per object: what each kind of login may do with it, `-` for nothing."""
    names = {"kinds": list(logins.names), "logins": list(logins.names.values())}
    rows = logins.database.rows(PRIVILEGES.with_suffix(".sql").read_text("utf-8"), names)
    return [str(row[0]) for row in rows]


def test_every_right_of_every_login_is_as_committed(logins: Logins, tmp_path: Path) -> None:
    found = privileges(logins)
    proposal = tmp_path / PRIVILEGES.name
    proposal.write_text("\n".join(found) + "\n", encoding="utf-8")
    committed = PRIVILEGES.read_text("utf-8").splitlines()
    assert found == committed, f"if every difference is meant, copy {proposal} to {PRIVILEGES}"

    migrate(logins.database.dsn, logins.database.schema)
    assert privileges(logins) == committed


# BEGIN, COPY, RESET and VACUUM cannot be prepared (other tests run them); grant is the owner's.
NOT_PREPARED = {"begin", "copy", "grant", "unbound", "vacuum"}
OF_OPERATORS = {
    "drain_worker", "erase", "pause_queue", "repair", "resume_queue", "set_constraint",
    "worker_states",
}  # fmt: skip


def test_a_worker_may_run_every_statement_of_the_store(logins: Logins) -> None:
    connections = {kind: logins.as_(kind) for kind in ("worker", "operator")}
    for connection in connections.values():
        connection.execute("set plan_cache_mode = force_generic_plan")
    for path in sorted(STATEMENTS.glob("*.sql")):
        if path.stem in NOT_PREPARED:
            continue
        worker = connections["operator" if path.stem in OF_OPERATORS else "worker"]
        arguments: list[str] = []

        def number(match: re.Match[str], arguments: list[str] = arguments) -> str:
            if match[1] not in arguments:
                arguments.append(match[1])
            return f"${arguments.index(match[1]) + 1}"

        text = re.sub(r"%\((\w+)\)s", number, statement(path.stem, "perdure")).replace("%%", "%")
        worker.execute(f"prepare {path.stem}_x as {text}".encode())
        nulls = f"({', '.join(['null'] * len(arguments))})" if arguments else ""
        worker.execute(f"explain execute {path.stem}_x{nulls}".encode())


def test_a_dropped_login_is_passed_over_with_a_warning(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with new_login(database.dsn, "gone") as gone:
        grant(database.dsn, database.schema, "reader", gone)
    with new_login(database.dsn, "stays") as stays:
        grant(database.dsn, database.schema, "reader", stays)
        assert gone in caplog.text
        assert stays not in caplog.text
        caplog.clear()
        migrate(database.dsn, database.schema)
        assert gone in caplog.text
        with psycopg.connect(as_login(database.dsn, stays)) as connection:
            connection.execute("select 1 from perdure.task_states")


def test_a_login_may_have_two_roles_and_loses_what_no_role_gives_it(database: Database) -> None:
    with new_login(database.dsn) as login:
        grant(database.dsn, database.schema, "reader", login)
        database.execute(f'grant select on perdure.outcomes, perdure.tasks_id_seq to "{login}"')
        database.execute(f'grant update (result) on perdure.outcomes to "{login}"')
        database.execute(f'grant execute on function perdure.admit() to "{login}"')
        grant(database.dsn, database.schema, "producer", login)
        may = f"select has_table_privilege('{login}', %(table)s::text, 'SELECT')"
        assert database.value(may, {"table": "perdure.task_states"})
        assert not database.value(may, {"table": "perdure.outcomes"})
        leftovers = f"""
            select has_column_privilege('{login}', 'perdure.outcomes', 'result', 'UPDATE')
                or has_function_privilege('{login}', 'perdure.admit()', 'EXECUTE')
                or has_sequence_privilege('{login}', 'perdure.tasks_id_seq', 'SELECT')
        """
        assert not database.value(leftovers)
        with psycopg.connect(as_login(database.dsn, login)) as connection:
            connection.execute("insert into perdure.tasks (name) values ('a')")


def test_a_function_made_by_hand_is_closed_to_everybody_by_the_next_migrate(
    database: Database,
) -> None:
    database.execute("create function perdure.later() returns int language sql return 1")
    migrate(database.dsn, database.schema)
    with new_login(database.dsn) as login:
        may = f"select has_function_privilege('{login}', 'perdure.later()', 'EXECUTE')"
        assert not database.value(may)


def test_a_grant_to_the_owner_takes_nothing_from_it(empty_database: Database) -> None:
    with new_login(empty_database.dsn, "owner") as owner:
        empty_database.execute(f'create schema perdure authorization "{owner}"')
        dsn = as_login(empty_database.dsn, owner)
        migrate(dsn)
        grant(dsn, "perdure", "reader", owner)
        with psycopg.connect(dsn) as connection:
            connection.execute("select 1 from perdure.outcomes")
            connection.execute("select perdure.enqueue('a')")


def test_granting_answers_with_settings_worth_giving_to_the_login(database: Database) -> None:
    with new_login(database.dsn) as login:
        hints = grant(database.dsn, database.schema, "worker", login)
        assert hints[0] == (
            f'alter role "{login}" in database {database.name} '
            "set default_transaction_isolation = 'read committed';"
        )
        for hint in hints:
            database.execute(hint)
        assert database.value("select count(*) from perdure.access where role = 'worker'") == 1


def test_a_grant_that_cannot_be_made_says_why_and_records_nothing(
    database: Database, empty_database: Database
) -> None:
    with pytest.raises(InvalidArgument, match=r"'boss'.*producer, worker, reader, operator"):
        grant(database.dsn, "perdure", "boss", "postgres")
    with pytest.raises(InvalidArgument, match="no login 'nobody here'"):
        grant(database.dsn, "perdure", "reader", "nobody here")
    with pytest.raises(SchemaMismatch, match="perdure migrate"):
        grant(empty_database.dsn, "perdure", "reader", "postgres")
    with new_login(database.dsn) as login, pytest.raises(NotPermitted, match="owns the schema"):
        grant(as_login(database.dsn, login), "perdure", "operator", login)
    assert database.rows("select login from perdure.access") == []
