"""The schema's name in SQL text: checked, quoted, and put in for the word `perdure`."""

from __future__ import annotations

import re
from pathlib import Path

from perdure.errors import ConfigurationError

SCHEMA_BYTES_MAX = 40

_STATEMENTS = Path(__file__).parent / "sql"
_PLACES = re.compile(
    r"\bperdure(?=\.)|(?<=pg_catalog, )perdure(?=, pg_temp)|(?<=\bschema )perdure\b"
)
_DOLLAR_QUOTE = re.compile(r"\$([A-Za-z_]\w*)?\$")


def quote_schema(name: str) -> str:
    """Quote `name` as an SQL identifier.

    Raises:
        ConfigurationError: it has not 1 to 40 bytes of UTF-8, begins with `pg_`, or holds a NUL.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"schema_name {name!r} is not valid UTF-8; choose another"
        ) from None
    if not 1 <= size <= SCHEMA_BYTES_MAX:
        raise ConfigurationError(
            f"schema_name {name!r} has {size} bytes; choose one of 1 to {SCHEMA_BYTES_MAX}"
        )
    if name.startswith("pg_"):
        raise ConfigurationError(
            f"schema_name {name!r} begins with 'pg_', which PostgreSQL keeps for itself"
        )
    if "\0" in name:
        raise ConfigurationError(f"schema_name {name!r} holds a NUL, which PostgreSQL cannot store")
    return '"' + name.replace('"', '""') + '"'


def in_schema(text: str, name: str) -> str:
    """Put schema `name` into SQL that runs without parameters: files of migrations.

    The word `perdure` is replaced before a dot, after the word `schema`, and between `pg_catalog, `
    and `, pg_temp` of a search path.

    Raises:
        ConfigurationError: see `quote_schema`.
    """
    quoted = quote_schema(name)
    return _PLACES.sub(lambda _: quoted, _guard_dollar_quotes(text, name))


def in_statement(text: str, name: str) -> str:
    """Put schema `name` into SQL that runs with parameters: `%` in the name is doubled.

    Raises:
        ConfigurationError: see `quote_schema`.
    """
    quoted = quote_schema(name).replace("%", "%%")
    return _PLACES.sub(lambda _: quoted, _guard_dollar_quotes(text, name))


def statement(verb: str, name: str) -> str:
    """Return the text of `store/sql/<verb>.sql` with schema `name` in it, for parameters."""
    return in_statement((_STATEMENTS / f"{verb}.sql").read_text("utf-8"), name)


def _guard_dollar_quotes(text: str, name: str) -> str:
    """Lengthen the tags of dollar quotes until a name with `$` in it cannot close one."""
    if "$" not in name:
        return text
    end = "_"
    while f"{end}$" in name:
        end += "_"
    return _DOLLAR_QUOTE.sub(lambda tag: f"${tag[1] or ''}{end}$", text)
