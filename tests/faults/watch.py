"""Looks at the database while the faults go on, by a connection of its own, and remembers."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.policies import AT_ONCE

EVERY_SECONDS: Final = 0.25
FEW: Final = 0.2
"""Fewer samples than this share of what the pause allows: the watcher has not watched."""
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WRONG: Final = {
    "misplaced": "select task_id, places from perdure.misplaced_tasks limit 5",
    "duplicated": """
        select held.task_id, count(*) from perdure.leases, unnest(task_ids) as held (task_id)
        group by held.task_id having count(*) > 1 limit 5
        """,
    "leaked": """
        select id, worker_id from perdure.leases
        where worker_id not in (select id from perdure.workers) limit 5
        """,
    "breached": f"""
        select t.unique_key, count(*) from perdure.leases, unnest(task_ids) as held (task_id)
        join perdure.tasks as t on t.id = held.task_id
        where t.unique_key is not null group by t.unique_key having count(*) > 1
        union all
        select 'limited, ' || (t.metadata ->> 'i'), count(*)
        from perdure.leases, unnest(task_ids) as held (task_id)
        join perdure.tasks as t on t.id = held.task_id and t.name = 'limited'
        group by t.metadata ->> 'i' having count(*) > {AT_ONCE} limit 5
        """,
}
"""What no snapshot may show, by the class of the oracle."""
DEAR: Final = frozenset({"misplaced"})
"""It reads every task, tens of milliseconds at the end of a segment."""
DEAR_EVERY: Final = 4


class Watcher:
    """A thread that samples until it is closed.

    Attributes:
        samples: what it found wrong, by class.
        pids: the process of each worker that was ever registered.
        leases: the ids of leases that it saw: secrets, all of them.
        seen: how many samples were taken.
    """

    def __init__(self, dsn: str, secrets: tuple[str, ...]) -> None:
        self.samples: dict[str, list[str]] = {name: [] for name in (*WRONG, "secret")}
        self.pids: dict[int, int] = {}
        self.leases: set[str] = set()
        self.seen = 0
        self._dsn = dsn
        self._secrets = secrets
        self._since = time.monotonic()
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no further sample.

        Raises:
            AssertionError: it has failed, or has seen too little to say that nothing is wrong.
        """
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise AssertionError("the watcher has failed") from self._error
        expected = FEW * (time.monotonic() - self._since) / EVERY_SECONDS
        assert self.seen >= expected, f"{self.seen} samples, {expected:.0f} are too few"

    def _run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # noqa: BLE001  (raised again where it is asked for)
            self._error = error

    def _watch(self) -> None:
        while not self._end.is_set():
            # The server is away now and then, and ends sessions: that is what is tested.
            with (
                contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError),
                psycopg.connect(self._dsn, autocommit=True) as connection,
            ):
                due = time.monotonic()
                while not self._end.wait(due - time.monotonic()):
                    due = time.monotonic() + EVERY_SECONDS
                    self._sample(connection)
            self._end.wait(EVERY_SECONDS)

    def _sample(self, connection: psycopg.Connection[Any]) -> None:
        for name, question in WRONG.items():
            if name in DEAR and self.seen % DEAR_EVERY:
                continue
            rows = connection.execute(question.encode()).fetchall()
            self.samples[name] += [f"seen meanwhile: {row}" for row in rows]
        self.pids.update(connection.execute("select id, pid from perdure.workers").fetchall())
        rows = connection.execute("select id::text from perdure.leases").fetchall()
        self.leases.update(row[0] for row in rows)
        texts = connection.execute("select coalesce(query, '') from pg_stat_activity").fetchall()
        self._search("a query of pg_stat_activity", "\n".join(text for (text,) in texts))
        self._search("the list of processes", command_lines())
        self.seen += 1

    def _search(self, where: str, text: str) -> None:
        found = told_in(text, self._secrets, self.leases)
        self.samples["secret"] += [f"{secret} in {where}" for secret in found]


def told_in(text: str, secrets: Iterable[str], leases: AbstractSet[str]) -> list[str]:
    """The secrets and the ids of leases that stand in a text."""
    return [*(one for one in secrets if one in text), *(leases & set(UUID.findall(text)))]


def command_lines() -> str:
    """The arguments of all processes, as `ps` shows them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)
