"""Graphile Worker: Node, a local queue of 500, completions in batches, its addJobs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.adapter import Peer

FOLDER = Path(__file__).parent / "graphile"
SETTINGS = {
    "concurrentJobs": 64,
    "maxPoolSize": 32,
    "localQueue": {"size": 500, "refetchDelay": {"durationMs": 10}},
    "completeJobBatchDelay": 0,
    "failJobBatchDelay": 0,
}


class GraphileWorker(Peer):
    """As its documentation tunes it for throughput; it stores no results and deletes its rows."""

    name = "graphile-worker"
    left_sql = "select exists (select from graphile_worker._private_jobs)"
    insert_sql = "select graphile_worker.add_job('noop', (%s::jsonb)::json)"
    tables = ("graphile_worker._private_jobs",)

    def versions(self) -> Mapping[str, str]:
        """Its version and Node's."""
        _install()
        package = FOLDER / "node_modules" / "graphile-worker" / "package.json"
        node = subprocess.run([_node(), "--version"], check=True, capture_output=True, text=True)
        return {
            "graphile-worker": str(json.loads(package.read_text())["version"]),
            "node": node.stdout.strip().lstrip("v"),
        }

    def settings(self, *, defaults: bool = False) -> Mapping[str, Any]:
        """What it was told."""
        return {} if defaults else SETTINGS

    def prepare(self, dsn: str) -> None:
        """Its own migration."""
        _install()
        environment = {**os.environ, "PERDURE_DSN": dsn}
        subprocess.run(self.command("prepare"), env=environment, check=True)

    def command(self, what: str, *, defaults: bool = False) -> list[str]:
        """The program beside this file."""
        script = str(FOLDER / "worker.mjs")
        return [_node(), script, what, json.dumps(self.settings(defaults=defaults))]


PEER = GraphileWorker()


def _node() -> str:
    """Where Node is.

    Raises:
        SystemExit: it is nowhere.
    """
    found = shutil.which("node")
    if found is None:
        raise SystemExit(
            "graphile-worker needs nodejs and npm: install them, or leave it out of --vs"
        )
    return found


def _install() -> None:
    """Bring its packages, exactly those of the lock file, into a folder beside this one."""
    lock, marker = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    if marker.exists() and marker.stat().st_mtime >= lock.stat().st_mtime:
        return
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=FOLDER, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
