"""Settings and database of a command, as the options before it say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perdure.cli.given import Given
from perdure.client.opening import open_database
from perdure.client.sync import SyncTaskClient
from perdure.errors import ConfigurationError
from perdure.settings import Loaded, Settings, load

if TYPE_CHECKING:
    from perdure.declare.kind import CallersConnection


def command_line(given: Given, values: Mapping[str, object] | None = None) -> dict[str, object]:
    """Settings that the command line gives, by dotted key; None is passed over by `load`."""
    return {"persistence.schema_name": given.schema, **(values or {})}


def load_settings(given: Given) -> Loaded:
    """The settings with their sources; what is odd about them is said on standard error.

    Raises:
        ConfigurationError: every wrong key, one line each.
    """
    loaded = load(command_line=command_line(given), toml=given.config)
    say_warnings(loaded)
    return loaded


def say_warnings(loaded: Loaded) -> None:
    """Variables that nobody knows, on standard error."""
    for warning in loaded.warnings:
        sys.stderr.write(f"perdure: {warning}\n")


def open_client(given: Given) -> SyncTaskClient:
    """A client; use it as a context manager. Errors as `load_settings`, also without a DSN."""
    settings = load_settings(given).settings
    dsn_of(settings)
    return SyncTaskClient(settings=settings)


@contextmanager
def rolled_back(given: Given) -> Iterator[CallersConnection]:
    """A connection for `on=` beside an open client: what is done on it is undone at the end."""
    settings = load(command_line=command_line(given), toml=given.config).settings
    database = open_database(settings=settings)
    try:
        with database.sync_connection() as connection, connection.transaction(force_rollback=True):
            yield connection
    finally:
        database.close_sync()


def dsn_of(settings: Settings) -> str:
    """The DSN with its secrets.

    Raises:
        ConfigurationError: there is none.
    """
    if settings.dsn is None:
        raise ConfigurationError(
            "no database is named: set PERDURE_DSN (or PERDURE_DSN_FILE, DATABASE_URL, PGHOST and "
            "its kind); `perdure up` starts a PostgreSQL of its own"
        )
    return settings.dsn.get_secret_value()
