"""What a measured program tells the harness: JSON lines with counts, CPU and the moments of starts.

The handler only counts; a thread tells twenty times a second, so that measuring costs every system
the same, and next to nothing.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.05


class Tally:
    """Counts the handler's calls; with BENCH_PICKUPS=1 it tells the moment of each."""

    def __init__(self) -> None:
        self.count = 0
        self._pickups = os.environ.get("BENCH_PICKUPS") == "1"
        self._told = -1
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, number: int | None = None) -> None:
        """The handler has been called."""
        if self._pickups:
            tell({"n": number, "at": time.time()})
        if not self.count:
            tell({"first": time.time(), "cpu": time.process_time()})
        self.count += 1

    def _run(self) -> None:
        while True:
            time.sleep(PAUSE_SECONDS)
            if self.count != self._told:
                self._told = self.count
                line = {"count": self._told, "cpu": time.process_time(), "rss_mb": _most_memory()}
                tell(line)


def _most_memory() -> int:
    """Peak of resident memory in MiB; getrusage would count that of the parent process, too."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) >> 10 if found else 0


def tell(line: dict[str, Any]) -> None:
    """One line for the harness."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
