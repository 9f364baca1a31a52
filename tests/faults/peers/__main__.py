"""`python -m tests.faults.peers [--vs NAME,...] [--fault NAME,...]`: the same faults for all."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.faults.peers.adapter import System
from tests.faults.peers.judge import play
from tests.faults.peers.strikes import FAULTS
from tests.faults.peers.table import page

from perdure.embedded import EmbeddedServer

OWN = "perdure"
NAMES = (OWN, "pgqueuer", "procrastinate", "awa")
CLEAN = ("lost", "duplicated", "stuck", "failed")
"""What is 0 in each of our own rows: else the run has failed. The poison is not counted there."""
SERVER = {"max_connections": "200"}
"""Everything else as PostgreSQL comes: fsync and synchronous_commit are on."""


def main() -> int:
    """Play what is named; the last line is JSON with all numbers; 1 if our own row is not clean."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.peers", description=__doc__)
    parser.add_argument("--vs", default=",".join(NAMES), metavar="NAME,...", help="of these")
    parser.add_argument("--fault", default=",".join(FAULTS), metavar="NAME,...", help="of these")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on standard output")
    parser.add_argument("--table", type=Path, help="also write a page in Markdown")
    parser.add_argument("--keep", type=Path, help="the folder for ledgers and what workers say")
    given = parser.parse_args()
    systems = [system_of(name) for name in given.vs.split(",")]
    faults = [FAULTS[name] for name in given.fault.split(",")]
    rows: list[dict[str, Any]] = []
    with EmbeddedServer(settings=SERVER) as server, tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for fault in faults:
            for system in systems:
                row = play(system, fault, server, folder).as_json()
                rows.append(row)
                print(json.dumps(row), file=sys.stderr if given.json else sys.stdout, flush=True)
        report = {
            "rows": rows,
            "faults": {fault.name: fault.says for fault in faults},
            "systems": {
                each.name: {
                    "versions": each.versions(),
                    "settings": dict(each.settings),
                    "not_promised": dict(each.not_promised),
                }
                for each in systems
            },
            "machine": {
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
                "postgresql": server.version,
            },
        }
    if given.table:
        given.table.write_text(page(report))
    sys.stdout.write(json.dumps(report) + "\n")
    return int(any(row[each] for row in rows if row["system"] == OWN for each in CLEAN))


def system_of(name: str) -> System:
    """The adapter of this name; its library is imported only now.

    Raises:
        SystemExit: there is no such system, or it is not installed.
    """
    if name not in NAMES:
        raise SystemExit(f"there is no system {name!r}: choose from {', '.join(NAMES)}")
    try:
        module = import_module(f"tests.faults.peers.{name}")
    except ImportError as error:
        raise SystemExit(f"{error}: run it with `uv run --group bench`") from error
    found: System = module.SYSTEM
    return found


if __name__ == "__main__":
    sys.exit(main())
