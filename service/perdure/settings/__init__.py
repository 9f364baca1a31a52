"""Every setting: default, bounds, unit, one sentence; where values come from; masking.

`load()` reads them from command line, environment, `*_FILE` secrets, `.env`, TOML, the builder and
the defaults, in this order, and knows the source of each. A DSN that nothing of ours names comes
from `DATABASE_URL`, else from libpq's `PG*`: variables that were not set for us never replace one
that was.

Plain pydantic, and not pydantic-settings: the source of each value, `*_FILE`, one line per wrong
key, the nearest known key and the masking have to be our own in either case. What would be left of
it is the walk over variables, thirty lines here, for 7 MB and 0.2 s in every worker and command.
"""

from __future__ import annotations

from perdure.settings.connection import connection_parameters
from perdure.settings.dsn import parse_dsn, show_dsn
from perdure.settings.keys import (
    KEYS,
    RELOADABLE,
    Execution,
    Key,
    Limits,
    Logging,
    Persistence,
    Reload,
    Retention,
    Scheduling,
    Settings,
    differences,
    reload,
    show,
)
from perdure.settings.masking import mask, masker, redact
from perdure.settings.sources import Loaded, check, colors_wanted, describe, load, variable_of
from perdure.settings.units import parse_bytes, parse_duration, show_bytes, show_duration

__all__ = [
    "KEYS",
    "RELOADABLE",
    "Execution",
    "Key",
    "Limits",
    "Loaded",
    "Logging",
    "Persistence",
    "Reload",
    "Retention",
    "Scheduling",
    "Settings",
    "check",
    "colors_wanted",
    "connection_parameters",
    "describe",
    "differences",
    "load",
    "mask",
    "masker",
    "parse_bytes",
    "parse_dsn",
    "parse_duration",
    "redact",
    "reload",
    "show",
    "show_bytes",
    "show_dsn",
    "show_duration",
    "variable_of",
]
