"""May this code run on that schema? Answered by one plain query, without Alembic."""

from __future__ import annotations

from typing import Any

import psycopg

from perdure.errors import SchemaMismatch
from perdure.store.schema import statement

REVISION = "0001"
"""The newest revision in migrations/versions: what this code was written for."""


def check_version(revision: str | None, readable_from: str | None, schema_name: str) -> None:
    """Compare the schema's `revision` (None: not migrated) and its `readable_from` with this code.

    Raises:
        SchemaMismatch: the schema is older than this code, or no longer readable by it.
    """
    if revision is None:
        raise SchemaMismatch(f"schema {schema_name!r} does not exist yet: run `perdure migrate`")
    if int(revision) < int(REVISION):
        raise SchemaMismatch(
            f"schema {schema_name!r} is at revision {revision}, this program needs {REVISION}: "
            "run `perdure migrate`"
        )
    if int(readable_from or revision) > int(REVISION):
        raise SchemaMismatch(
            f"schema {schema_name!r} is at revision {revision} and readable from "
            f"{readable_from or revision} on, this program knows {REVISION}: "
            "install the release that made it, or a newer one, then run `perdure migrate`"
        )


async def require_version(connection: psycopg.AsyncConnection[Any], schema_name: str) -> None:
    """Read the schema's version on `connection`, which must be in autocommit mode, and check it.

    Raises:
        SchemaMismatch: as `check_version`.
    """
    try:
        cursor = await connection.execute(statement("version", schema_name).encode(), ())
        row = await cursor.fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        row = None
    revision, readable_from = row or (None, None)
    check_version(revision, readable_from, schema_name)
