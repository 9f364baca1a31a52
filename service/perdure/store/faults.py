"""The driver's errors: which of them pass by themselves, and what they become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import PoolTimeout

from perdure.errors import (
    BY_SQLSTATE,
    DatabaseError,
    DatabaseUnavailable,
    NotPermitted,
    PerdureError,
    SchemaMismatch,
)
from perdure.settings import mask
from perdure.store.connecting import unreachable

# Classes and codes after which the same statement may succeed on a fresh connection: connection
# lost, serialisation, deadlock, resources, shutdown, time-outs, plans that a migration made stale.
_TRANSIENT = re.compile(
    "08...|40001|40P01|53...|55P03|57P0.|57014|25006|25P0[34]|0A000|26000|42P05|28P01"
)


def is_transient(error: BaseException) -> bool:
    """Whether repeating the operation, on a fresh connection if need be, may succeed."""
    if isinstance(error, DatabaseUnavailable | PoolTimeout):
        return True
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return _TRANSIENT.fullmatch(error.sqlstate) is not None
    return isinstance(error, OSError)


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself has said no, and goes on: then nothing of the statement is done."""
    code = error.sqlstate if isinstance(error, psycopg.Error) else None
    return code is not None and not code.startswith(("08", "57P"))


def is_locked(error: BaseException) -> bool:
    """Whether it is given up for a lock that somebody holds."""
    return isinstance(error, psycopg.errors.LockNotAvailable)


def is_data_error(error: BaseException) -> bool:
    """Whether the database refused a value as such: repeating it cannot help."""
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return False
    return error.sqlstate.startswith(("22", "23", "PD", "54"))


def translate(error: psycopg.Error | OSError) -> PerdureError:
    """Turn a driver's error into one of ours; what it says of a connection is masked."""
    code = error.sqlstate if isinstance(error, psycopg.Error) else None
    if not isinstance(error, psycopg.Error) or (code is None and is_transient(error)):
        return DatabaseUnavailable(f"the connection was lost: {_first_line(error)}")
    if code in BY_SQLSTATE:
        hint = error.diag.message_hint
        message = error.diag.message_primary or str(error)
        return BY_SQLSTATE[code](f"{message} (hint: {hint})" if hint else message)
    if code == "42501":
        return NotPermitted(
            f"{error.diag.message_primary}: `perdure grant` gives a login its rights"
        )
    if code in ("42P01", "3F000", "42883", "42703"):
        return SchemaMismatch(
            f"{error.diag.message_primary}: is persistence.schema_name right? if so, run "
            "`perdure migrate`"
        )
    if is_transient(error):
        said = error.diag.message_primary
        return DatabaseUnavailable(f"{said} (SQLSTATE {code}): it may succeed when tried again")
    translated = DatabaseError(f"{error.diag.message_primary or type(error).__name__} ({code})")
    translated.sqlstate = code
    return translated


def _first_line(error: Exception) -> str:
    """What an error without a SQLSTATE says, masked; libpq goes on with guesses below."""
    return mask(str(error).partition("\n")[0]) or type(error).__name__


def describe(error: BaseException) -> str:
    """What may be shown of an error that a loop met: never a text that may hold the DSN."""
    if isinstance(error, psycopg.Error | OSError) and not isinstance(error, PoolTimeout):
        return str(translate(error))
    return f"{type(error).__name__}: {error}"


@contextmanager
def translated(connecting: Mapping[str, object] | None = None) -> Iterator[None]:
    """Within it, errors of the driver leave as errors of ours; `connecting` with what."""
    try:
        yield
    except PoolTimeout:
        raise DatabaseUnavailable(
            "no connection of the pool became free in 30 s: the database cannot be reached, or all "
            "are in use: raise persistence.pool_max_size"
        ) from None
    except (psycopg.Error, OSError) as error:
        raise (unreachable(error, connecting) if connecting else translate(error)) from error


@contextmanager
def left_if_read_only(connection: AsyncConnection[Any] | Connection[Any]) -> Iterator[None]:
    """Within it, a connection whose server takes no writes any more is closed: the server has been
    demoted under it, and whoever has taken its place is found by connecting anew."""
    try:
        yield
    except Exception as error:
        of_it = psycopg.errors.ReadOnlySqlTransaction
        if isinstance(error, of_it) or isinstance(error.__cause__, of_it):
            connection.pgconn.finish()
        raise
