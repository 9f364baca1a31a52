"""What handlers did, outside the database: one file per run of a test, one write per record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

VARIABLE = "PERDURE_TEST_LEDGER"


def note(what: str, task_id: int, **details: Any) -> None:
    """Append a record; a single write of O_APPEND is not torn by a SIGKILL."""
    record = {"what": what, "task": task_id, "pid": os.getpid(), "at": time.monotonic(), **details}
    line = (json.dumps(record) + "\n").encode()
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class Ledger:
    """Reads what handlers noted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def here(cls) -> Self:
        """That of the test which this process belongs to."""
        return cls(Path(os.environ[VARIABLE]))

    def records(self, what: str | None = None, task_id: int | None = None) -> list[dict[str, Any]]:
        """All records, or those of one kind, or of one task, in the order of writing."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        return [
            record
            for record in map(json.loads, lines)
            if (what is None or record["what"] == what)
            and (task_id is None or record["task"] == task_id)
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records())
