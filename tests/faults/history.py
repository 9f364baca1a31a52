"""What clients asked for and what they were told: one file per client, one write per record."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Told = Literal["ok", "fail", "unknown"]


class History:
    """Appends; an `ok` is on the disk before it is acted upon."""

    def __init__(self, path: Path, client: str) -> None:
        self.client = client
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._numbers = itertools.count(1)  # Its next is one step: faults invoke from threads.

    def invoke(self, name: str, **arguments: Any) -> str:
        """An operation is about to be asked for; its id."""
        operation = f"{self.client}:{next(self._numbers)}"
        self._write({"id": operation, "what": "invoke", "name": name, **arguments})
        return operation

    def answer(self, operation: str, told: Told, **details: Any) -> None:
        """What became of it, as far as the client knows."""
        self._write({"id": operation, "what": told, **details})
        os.fsync(self._file)

    def _write(self, record: dict[str, Any]) -> None:
        record["at"] = time.monotonic()
        os.write(self._file, (json.dumps(record) + "\n").encode())


@dataclass(slots=True)
class Operation:
    """One operation: what was asked for, and what its client knows of its end.

    Attributes:
        told: `unknown` also for one whose client died before the answer.
        tasks: how many tasks it was to make.
        key: the unique key of its task, or the wait key that it signals.
        answer: what a signal was told.
        answers: the tasks that it was told of, each with `created`, `kept` or `replaced`.
        fails: which of its tasks is to fail.
        until: when its client knew its end.
    """

    id: str
    name: str
    kind: str
    at: float
    tasks: int = 0
    key: str | None = None
    policy: str | None = None
    told: Told = "unknown"
    answer: str | None = None
    answers: list[tuple[int, str]] = field(default_factory=list)
    fails: int = -1
    until: float = math.inf


def read(folder: Path) -> Iterator[Operation]:
    """The operations of all clients whose files lie in the folder."""
    for path in sorted(folder.glob("*.jsonl")):
        operations: dict[str, Operation] = {}
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["what"] == "invoke":
                operations[record["id"]] = Operation(
                    record["id"], record["name"], record.get("kind", ""), record["at"],
                    record.get("tasks", 0), record.get("key"), record.get("policy"),
                    fails=record.get("fails", -1),
                )  # fmt: skip
            else:
                operation = operations[record["id"]]
                operation.told, operation.until = record["what"], record["at"]
                operation.answer = record.get("answer")
                operation.answers = [(id_, answer) for id_, answer in record.get("answers", ())]
        yield from operations.values()
