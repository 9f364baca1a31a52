"""Parameters of a connection: the DSN's own, over defaults of ours."""

from __future__ import annotations

from perdure.settings.dsn import parse_dsn
from perdure.settings.keys import SECOND, Settings


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
