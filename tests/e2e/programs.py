"""The programs of a reader: the command line as a process, told of a database and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kit.house import ROOT

PROGRAMS = Path(sys.executable).parent
QUICK = {
    "PERDURE_SCHEDULING__POLLING_DELAY": "50ms",
    "PERDURE_EXECUTION__BEAT_INTERVAL": "400ms",
    "PERDURE_EXECUTION__LEASE_DURATION": "30s",
    "PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY": "true",
}


def environment(dsn: str | None = None) -> dict[str, str]:
    """The surroundings of a program: no setting of ours but the database, if one is given."""
    ours = ("PERDURE_", "PG", "DATABASE_URL", "PYTHON", "VIRTUAL_ENV")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**plain, "NO_COLOR": "1", **({"PERDURE_DSN": dsn, **QUICK} if dsn else {})}


def run(
    command: Sequence[str | Path],
    *,
    dsn: str | None = None,
    cwd: Path = ROOT,
    more: Mapping[str, str] | None = None,
) -> str:
    """Run a program of this environment; its output. AssertionError unless it exits with 0."""
    program, *arguments = command
    done = subprocess.run(
        [PROGRAMS / program, *arguments],
        cwd=cwd,
        env={**environment(dsn), **(more or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def documents() -> list[Path]:
    """Every Markdown file of the tree."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "tests/README.md",
    ]


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", document.read_text("utf-8"))
