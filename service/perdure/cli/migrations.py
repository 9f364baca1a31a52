"""Commands on the schema: migrate and grant; loads Alembic."""

from __future__ import annotations

import sys

from perdure.cli.given import Given
from perdure.cli.opening import dsn_of, load_settings
from perdure.cli.output import Output
from perdure.settings import Loaded
from perdure.store import migrate as migrating


def migrate(given: Given, *, sql: bool, to: str) -> int:
    """Bring the schema to a revision, or print the SQL that would make it."""
    loaded = load_settings(given)
    schema = loaded.settings.persistence.schema_name
    limits = limits_of(loaded)
    if sql:
        sys.stdout.write(migrating.dump(schema, to=to, limits=limits))
        return 0
    dsn = dsn_of(loaded.settings)
    before = migrating.current(dsn, schema)
    migrating.migrate(dsn, schema, to=to, limits=limits)
    after = migrating.current(dsn, schema)
    news = "already was" if before == after else f"was {before or 'not there'}, is now"
    Output().line(f"schema {schema} {news} at revision {after}")
    return 0


def grant(given: Given, role: str, login: str) -> int:
    """Give a login the rights of a role; prints what is worth running for it, too."""
    settings = load_settings(given).settings
    schema = settings.persistence.schema_name
    hints = migrating.grant(dsn_of(settings), schema, role, login)
    output = Output()
    article = "an" if role == "operator" else "a"
    output.line(f"login {login} is {article} {role} of schema {schema}")
    if hints:
        output.line("worth running, because they win over the database's own settings:")
    for hint in hints:
        output.line(f"  {hint}")
    return 0


def limits_of(loaded: Loaded) -> dict[str, int]:
    """The limits that somebody has set: others stay as the schema has them."""
    values = loaded.settings.limits.model_dump()
    return {k: v for k, v in values.items() if loaded.sources[f"limits.{k}"] != "default"}
