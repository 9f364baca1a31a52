"""What the command line says about one worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Options(NamedTuple):
    """What the command line says about one worker.

    Args:
        queues: name -> slots (None: no bound of its own); empty: all queues.
        burst: end when nothing is due.
        tasks_most, memory_most_mb: end after so many, for recycling.
        application: `module:service`, which a child process of a task imports.
        supervisor_pid: of the process that started this one: it ends with it.
        health_file: touched twice a second, for probes.
    """

    queues: Mapping[str, int | None] = {}
    burst: bool = False
    tasks_most: int | None = None
    memory_most_mb: int | None = None
    application: str | None = None
    supervisor_pid: int | None = None
    health_file: Path | None = None
