"""Parameters of a connection, and keeping the secrets of the DSN out of every text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from perdure.settings.dsn import SECRET_PARAMETERS, parse_dsn
from perdure.settings.keys import SECOND, Settings

_MASKED = "***"
# Whatever looks like a login with a password, also that of a DSN that could not be read.
_LOGIN = re.compile(r"(postgres\w*(?:\+\w+)?:?/{1,2}[^\s:/@]*:)[^\s]+(?=@)", re.ASCII)
_PASSWORD = re.compile(r"(\bpassword\s*=\s*)('(?:\\.|[^'\\])*'|[^\s&'\"]+)", re.IGNORECASE)


def connection_parameters(settings: Settings) -> dict[str, str | int]:
    """Parameters for `psycopg.connect(**parameters)`: the DSN's own, over defaults of ours.

    libpq's defaults wait for hours on a dead peer, so every wait is bounded: `connect_timeout` and
    keepalives in seconds, `tcp_user_timeout` in milliseconds. Without a DSN the defaults alone.
    """
    lease = settings.execution.lease_duration
    defaults: dict[str, str | int] = {
        "application_name": "perdure",
        "connect_timeout": max(2, min(10, lease // SECOND)),
        "keepalives": 1,
        "keepalives_count": 3,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "target_session_attrs": "read-write",
        "tcp_user_timeout": int(lease.total_seconds() * 1_000),
    }
    if settings.dsn is None:
        return defaults
    return defaults | parse_dsn(settings.dsn.get_secret_value())


def mask(text: str, settings: Settings | None = None) -> str:
    """Remove the DSN, its secrets and anything that looks like a password from a text."""
    return masker(settings)(text)


def masker(settings: Settings | None = None) -> Callable[[str], str]:
    """`mask` for many texts of the same settings: the pattern is built once."""
    spellings: set[str] = set()
    if settings is not None and settings.dsn is not None:
        dsn = settings.dsn.get_secret_value()
        parameters = parse_dsn(dsn)
        secrets = [dsn, *(parameters[key] for key in SECRET_PARAMETERS & parameters.keys())]
        for secret in filter(None, secrets):
            spellings |= _spellings(secret)
    longest_first = sorted(spellings, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def hide(text: str) -> str:
        text = known.sub(_MASKED, text)
        text = _LOGIN.sub(rf"\1{_MASKED}", text)
        return _PASSWORD.sub(rf"\1{_MASKED}", text)

    return hide


def _spellings(secret: str) -> set[str]:
    """A secret as it may stand in a text: as it is, in a URI, in JSON, in a repr, in a conninfo."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        re.sub(r"(['\\])", r"\\\1", secret),
    }
