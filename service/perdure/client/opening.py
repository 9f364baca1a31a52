"""The database that settings name."""

from __future__ import annotations

from datetime import timedelta

from perdure.errors import ConfigurationError
from perdure.settings import Settings, connection_parameters, load
from perdure.store.database import Database

_PREPARE = {"auto": None, "on": None, "off": False}
_SECOND = timedelta(seconds=1)


def open_database(
    dsn: str | None = None, schema_name: str | None = None, settings: Settings | None = None
) -> Database:
    """A database by its settings (loaded if none are given); `dsn` and `schema_name` win.

    Nothing is connected yet.

    Raises:
        ConfigurationError: the settings are wrong, or name no database.
    """
    if settings is None:
        given = {"dsn": dsn, "persistence.schema_name": schema_name}
        settings = load(command_line=given).settings
    elif dsn is not None:
        settings = Settings.model_validate({**dict(settings), "dsn": dsn})
    if settings.dsn is None:
        raise ConfigurationError(
            "no database is named: set PERDURE_DSN (or DATABASE_URL, or PGHOST and its kind), "
            "dsn in perdure.toml, or give a dsn in the program"
        )
    persistence = settings.persistence
    return Database(
        connection_parameters(settings),
        schema_name or persistence.schema_name,
        statement_seconds=persistence.statement_timeout / _SECOND,
        idle_seconds=settings.execution.lease_duration / _SECOND,
        prepare=_PREPARE[persistence.prepared_statements],
        pool_min_size=persistence.pool_min_size,
        pool_max_size=persistence.pool_max_size,
    )
