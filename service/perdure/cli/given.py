"""What was said before the command, for all commands alike."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Given(NamedTuple):
    """`config`: the TOML file to read; `schema`: the schema's name; None: not said."""

    config: Path | None = None
    schema: str | None = None
