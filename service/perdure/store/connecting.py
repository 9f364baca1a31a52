"""What is said when no connection could be made: where to, as whom, why, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from perdure.errors import DatabaseUnavailable
from perdure.settings.dsn import place_of, secrets_of
from perdure.settings.masking import masker_of

REASON_CHARACTERS_MAX: Final = 500

# libpq's own words around a reason; it tries several addresses and says them all.
_FAILURE = re.compile(
    r'connection to server (?:at|on socket) "(?P<host>[^"]+)"(?: \([^)]*\))?'
    r"(?:, port (?P<port>\d+))? failed: (?:FATAL: +|ERROR: +)?(?P<reason>[^\n]+)"
)
_REMEDIES: Final = (
    (r"refused|No such file|unreachable", "is PostgreSQL running there? check host and port"),
    (r"authentication failed|no password|role .* does not exist", "check user and password"),
    (r"database .* does not exist", "create the database, or name another"),
    (r"host name|resolve host", "check the host's name"),
    (r"timeout|timed out", "nobody answers: check host and port, and firewalls in between"),
    (r"pg_hba\.conf", "let this login in from here, in pg_hba.conf of the server"),
    (r"SSL|certificate", "check sslmode and its kind"),
    (
        r"too many|connection slots",
        "raise max_connections, or lower persistence.pool_max_size and execution.processes",
    ),
    (r"starting up|shutting down|recovery", "try again in a moment"),
    (r"read-only|hot standby", "name the primary server: tasks are written"),
)


def unreachable(error: Exception, parameters: Mapping[str, object]) -> DatabaseUnavailable:
    """The error to raise when connecting with these parameters of libpq has failed.

    Its text holds host, port, database, login and the reason that the driver gives, never a
    password.
    """
    hide = masker_of(secrets_of(parameters))
    reason = hide(_reason(error))[:REASON_CHARACTERS_MAX]
    remedy = next(
        (remedy for pattern, remedy in _REMEDIES if re.search(pattern, reason)), "check the DSN"
    )
    login = f" as {parameters['user']}" if parameters.get("user") else ""
    return DatabaseUnavailable(
        f"could not connect to {place_of(parameters)}{login}: {reason}; {remedy}"
    )


def _reason(error: Exception) -> str:
    """Why, on one line: once if every address was refused alike, else for each address."""
    text = str(error)
    found: dict[str, str] = {}
    for failure in _FAILURE.finditer(text):
        host = failure["host"]
        where = host if failure["port"] is None else f"{host}:{failure['port']}"
        found[where] = failure["reason"].strip()
    if not found:
        return " ".join(text.partition("\n")[0].split()) or type(error).__name__
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{reason} ({where})" for where, reason in found.items())
