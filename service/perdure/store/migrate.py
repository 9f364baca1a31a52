"""Apply, dump as SQL, current revision, grants; loaded late, because Alembic is heavy."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.util import CommandError
from psycopg.conninfo import make_conninfo
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import NullPool

from perdure.errors import (
    ConfigurationError,
    DatabaseError,
    InvalidArgument,
    NotPermitted,
    SchemaMismatch,
)
from perdure.settings.dsn import parse_dsn
from perdure.store.connecting import unreachable
from perdure.store.faults import is_transient, translate
from perdure.store.schema import in_schema, quote_schema, statement

ROLES = ("producer", "worker", "reader", "operator")
LIMITS = ("metadata_bytes", "result_bytes", "checkpoint_bytes", "error_bytes")
ATTEMPTS_MAX = 5
"""How often a migrate or grant is tried when live sessions hold what it needs (2 s each)."""

_log = logging.getLogger(__name__)
_alembic = threading.Lock()  # Alembic keeps the migration that runs in a global of the process
_BUSY = ("55P03", "40P01", "40001")
T = TypeVar("T")


def migrate(
    dsn: str,
    schema_name: str = "perdure",
    *,
    to: str = "head",
    limits: Mapping[str, int] | None = None,
) -> None:
    """Bring `schema_name` to revision `to`, in one transaction, and apply all grants again.

    The schema is made if it is missing and then belongs to the login of `dsn`. Safe to run from
    several programs at once. `limits` (bytes, keys of `LIMITS`) are stored for every producer;
    keys left out keep what the schema has.

    Raises:
        ConfigurationError: bad name, limit or DSN; the database is not UTF-8 or too old.
        SchemaMismatch: `to`, or what the schema is at, is no revision this program knows.
        NotPermitted: the login may not create or change the schema.
        DatabaseUnavailable: no connection.
        DatabaseError: anything else, a lock that live sessions would not give up included.
    """
    quote_schema(schema_name)
    checked = _checked_limits(limits)

    def run() -> None:
        with _alembic, _engine_connection(dsn) as connection:
            _run_alembic(schema_name, to, connection=connection, limits=checked)

    _retried(run)


def dump(
    schema_name: str = "perdure", *, to: str = "head", limits: Mapping[str, int] | None = None
) -> str:
    """Return as SQL text what `migrate` does to a database that has no such schema yet.

    Raises:
        ConfigurationError, SchemaMismatch: as `migrate`.
    """
    quote_schema(schema_name)
    buffer = io.StringIO()
    with _alembic:
        _run_alembic(schema_name, to, buffer=buffer, limits=_checked_limits(limits))
    return buffer.getvalue()


def current(dsn: str, schema_name: str = "perdure") -> str | None:
    """Return the revision of `schema_name`, None if it has never been migrated.

    Raises:
        ConfigurationError, NotPermitted, DatabaseUnavailable, DatabaseError: as `migrate`.
    """
    text = statement("version", schema_name)
    with _errors_translated(), _connect(dsn) as connection:
        try:
            row = connection.execute(text.encode(), ()).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return None if row is None else str(row[0])


def grant(dsn: str, schema_name: str, role: str, login: str) -> tuple[str, ...]:
    """Give an existing `login` the rights of `role`, now and after each later migrate.

    Returns:
        ALTER ROLE statements that are worth running for the login; nothing here runs them.

    Raises:
        InvalidArgument: `role` is not in `ROLES`, or there is no such login.
        SchemaMismatch: the schema has not been migrated.
        NotPermitted: only the schema's owner, or a superuser, may grant.
        ConfigurationError, DatabaseUnavailable, DatabaseError: as `migrate`.
    """
    if role not in ROLES:
        raise InvalidArgument(f"role {role!r} is unknown: one of {', '.join(ROLES)}")
    begin, grants = (in_schema(_sql(name), schema_name) for name in ("begin.sql", "grants.sql"))
    record = statement("grant", schema_name)

    def run() -> tuple[str, ...]:
        with _errors_translated(), _connect(dsn) as connection:
            connection.execute(begin.encode())
            try:
                cursor = connection.execute(record.encode(), {"role": role, "login": login})
            except psycopg.errors.UndefinedTable:
                raise SchemaMismatch(
                    f"schema {schema_name!r} does not exist yet: run `perdure migrate`"
                ) from None
            hints = tuple(str(row[0]) for row in cursor)
            if not hints:
                raise InvalidArgument(f"there is no login {login!r}: create it first")
            connection.execute(grants.encode())
            return hints

    return _retried(run)


def run_file(path: str) -> None:
    """Run, or in a dump write out, `migrations/sql/<path>` with the schema put in.

    For `env.py` and revisions: it goes to the driver itself, without parameters, so that no colon
    and no percent sign in it means anything.
    """
    migration = context.get_context()
    text = in_schema(_sql(path), context.config.attributes["schema_name"])
    if migration.as_sql:
        migration.impl.static_output(text)
    else:
        connection = migration.connection
        if connection is None or connection.connection.driver_connection is None:
            raise RuntimeError(f"no connection to run {path} on")
        try:
            connection.connection.driver_connection.execute(text.encode())
        except psycopg.Error as error:
            error.add_note(f"in migrations/sql/{path}")
            raise


def run_files(version: int, folder: str, names: str) -> None:
    """Run `<folder>/<name>.<version>.sql` for each of the names in `names`, in that order."""
    for name in names.split():
        run_file(f"{folder}/{name}.{version}.sql")


def write_settings(values: Mapping[str, Any]) -> None:
    """Store `values` in the schema's settings.

    For `env.py` (limits), and for contracts: `write_settings({"readable_from": "0002"})`.
    """
    schema_name = context.config.attributes["schema_name"]
    settings = sa.table(
        "settings",
        sa.column("key", sa.Text),
        sa.column("value", postgresql.JSONB),
        schema=schema_name,
    )
    for key, value in values.items():
        # As text, because JSONB itself has no literal form for a dump.
        document = sa.cast(sa.literal(json.dumps(value), sa.Text), postgresql.JSONB)
        insert = postgresql.insert(settings).values(key=key, value=document)
        context.execute(
            insert.on_conflict_do_update(
                index_elements=["key"],
                set_={"value": insert.excluded.value},
                where=settings.c.value.is_distinct_from(insert.excluded.value),
            )
        )


def migrations_folder() -> Path:
    """Return the folder of migrations: inside the installed package, else beside `service/`."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent.parent / "migrations"


def _sql(path: str) -> str:
    return (migrations_folder() / "sql" / path).read_text("utf-8")


def _checked_limits(limits: Mapping[str, int] | None) -> dict[str, int]:
    for key, value in (limits or {}).items():
        if key not in LIMITS or value < 1:
            raise ConfigurationError(
                f"limit {key} = {value} cannot be used: one of {', '.join(LIMITS)}, at least 1 byte"
            )
    return dict(limits or {})


def _run_alembic(
    schema_name: str,
    to: str,
    *,
    limits: dict[str, int],
    connection: sa.Connection | None = None,
    buffer: io.StringIO | None = None,
) -> None:
    config = Config(output_buffer=buffer)
    # ConfigParser takes a percent sign in the path for an interpolation.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes.update(schema_name=schema_name, connection=connection, limits=limits)
    try:
        command.upgrade(config, to, sql=buffer is not None)
    except CommandError as error:
        raise SchemaMismatch(
            f"schema {schema_name!r} cannot be brought to revision {to!r}: {error}; "
            "is this program older than the one that migrated last?"
        ) from error


@contextmanager
def _engine_connection(dsn: str) -> Iterator[sa.Connection]:
    """Yield a SQLAlchemy connection inside a transaction that commits at the end."""
    engine = sa.create_engine(
        sa.URL.create("postgresql+psycopg"), creator=lambda: _connect(dsn), poolclass=NullPool
    )
    with _errors_translated(), engine.begin() as connection:
        yield connection


def _connect(dsn: str) -> psycopg.Connection[Any]:
    """Open a connection; whatever `dsn` says wins over our defaults; empty leaves it to libpq.

    Raises:
        ConfigurationError: `dsn` cannot be read; it is not repeated, it may hold a password.
        DatabaseUnavailable: no connection.
    """
    given = parse_dsn(dsn) if dsn else {}
    defaults: dict[str, Any] = {
        "connect_timeout": 10,
        "application_name": "perdure migrate",
        "client_encoding": "UTF8",
        "target_session_attrs": "read-write",
    }
    try:
        connection = psycopg.connect(make_conninfo(**(defaults | given)), prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise unreachable(error, given) from None
    connection.add_notice_handler(_log_warning)
    return connection


def _log_warning(diagnostic: psycopg.errors.Diagnostic) -> None:
    if diagnostic.severity_nonlocalized == "WARNING":
        _log.warning("%s", diagnostic.message_primary)


def _retried(run: Callable[[], T]) -> T:
    """Call `run` again while live sessions stand in its way; each wait was the lock's own."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return run()
        except DatabaseError as error:
            if error.sqlstate not in _BUSY:
                raise
    return run()


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, sa.exc.DBAPIError) as raised:
        error = raised.orig if isinstance(raised, sa.exc.DBAPIError) else raised
        if not isinstance(error, psycopg.Error):
            raise
        text = error.diag.message_primary or type(error).__name__
        if error.sqlstate == "PD004":
            raise ConfigurationError(f"{text}. {error.diag.message_hint}") from error
        if error.sqlstate == "42501":
            raise NotPermitted(f"{text}: use the login that owns the schema") from error
        if is_transient(error) and error.sqlstate not in _BUSY:
            raise translate(error) from error
        failure = DatabaseError(text)
        failure.sqlstate = error.sqlstate
        raise failure from error
