"""What the database and the clients refuse, said with the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {name: f"--{name.replace('_', '-')}" for name in (
        *("run_at", "unique_key", "unique_policy", "unique_for", "max_delay", "max_retries"),
        *("expires_at", "deadline_at", "wait_key", "signal_key", "execution_metadata", "max_depth"),
        *("misfire_grace", "expires_after", "catch_up", "max_catch_up", "older_than"),
    )}
    | {"retry_delays": "--retry-delay", "start_at": "--start", "end_at": "--end", "tags": "--tag"}
    | {"states": "--state"}
)  # fmt: skip
_NAMES: Final = re.compile(rf"(?<!['\"`])\b(?:{'|'.join(_OPTIONS)})\b(?![='\"`])")
"""What stands in quotes is a value, which somebody has called so."""
_PHRASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "null is all of them": "leave it out for all",
        "give null": "give none",
        "run_at and delay exclude": "--run-at and --delay exclude",
        "patch and execution_metadata exclude": "--patch and --execution-metadata exclude",
        "with overlap": "with --overlap",
        "give overlap": "give --overlap",
        "with policy": "with --policy",
        "with set_queue": "with `perdure set-queue`",
    }
)
"""Words that are options, or commands, only where these stand beside them."""
_PHRASE: Final = re.compile(rf"\b(?:{'|'.join(_PHRASES)})\b")


def spoken(text: str) -> str:
    """A refusal whose arguments are called as the options are: `run_at` is `--run-at`."""
    text = _PHRASE.sub(lambda found: _PHRASES[found.group()], text)
    return _NAMES.sub(lambda found: _OPTIONS[found.group()], text)
