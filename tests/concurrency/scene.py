"""One worker, one lease, and the statements of the runtime as steps of an order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from tests.concurrency.explorer import Operation, Ran, Side, Step, explore
from tests.invariants import ALWAYS
from tests.kit.databases import Database
from tests.kit.stepping import Stepped

from perdure.store.queue import Saving, Settling, move_document, saved_document, saving_document
from perdure.store.schema import statement
from perdure.tasks.places import Ended, Move, Saved

WORKER = 7
STARTED_AT = 1_700_000_000.0
TABLES = (
    "tasks", "ready", "leases", "waiting", "progress", "attempts", "outcomes", "mail", "edges",
    "workers", "audit",
)  # fmt: skip
COMPLETES = Move(to=Ended(state="completed", result='"done"'), attempt=1, explicit=True)
SAVED = Saved('{"page": 1}', 1, None)
AT_EVERY_STEP = [
    question for question in ALWAYS
    if question.name in {"every task is in exactly one place", "a lease belongs to a worker"}
]  # fmt: skip


def commit(on: int) -> Step:
    """The last step of an operation."""
    return Step(on, "commit")


class Scene:
    """One worker that holds `tasks` running tasks in one lease, made anew for each order."""

    def __init__(
        self, database: Database, *, tasks: int = 1, alive: bool = True, claimed: bool = True
    ) -> None:
        self.database = database
        self.lease, self.own = str(uuid4()), str(uuid4())
        self.ids: list[int] = []
        self._tasks, self._alive, self._claimed = tasks, alive, claimed
        database.execute("create table business (task_id bigint)")
        database.execute(
            "select perdure.register_types(%s::jsonb)",
            ['[{"name": "a", "queue": "default", "priority": 5, "requires": []}]'],
        )

    async def every_order(
        self,
        connections: tuple[Stepped, Stepped],
        operations: Callable[[], tuple[Operation, Operation]],
    ) -> AsyncIterator[Ran]:
        """Each order of the two, begun in a fresh state; at every step nothing may be misplaced."""

        def begin() -> tuple[Operation, Operation]:
            self.make()
            first, second = operations()
            return [*first, commit(0)], [*second, commit(1)]

        async for ran in explore(connections, begin, self.check_step):
            yield ran

    def check_step(self) -> None:
        """Raise AssertionError if what is committed is wrong in between."""
        broken = self.database.violations(AT_EVERY_STEP)
        assert not broken, broken

    def make(self) -> None:
        """Forget the last order."""
        database = self.database
        database.execute("; ".join(f"delete from perdure.{table}" for table in TABLES))
        database.execute("delete from business")
        rows = database.rows(
            "insert into perdure.tasks (name) select 'a' from generate_series(1, %s) returning id",
            [self._tasks],
        )
        self.ids = sorted(id_ for (id_,) in rows)
        database.execute(
            "insert into perdure.workers (id, name, host, pid, version, lease_seconds, running)"
            " values (%s, 'w', 'h', 1, '0', 10, %s)", [WORKER, self.ids],
        )  # fmt: skip
        if self._claimed:
            assert len(database.rows(*self.claim()[1:])) == self._tasks
        if not self._alive:
            database.execute(
                "update perdure.workers set heartbeat_at = clock_timestamp() - interval '1 hour';"
                "update perdure.leases set claimed_at = clock_timestamp() - interval '2 hours'"
            )

    @property
    def task(self) -> int:
        return self.ids[0]

    def claim(self, on: int = 0) -> Step:
        (lane,) = self.database.rows("select id from perdure.lanes where name = 'a'")[0]
        values = {
            "worker": WORKER, "lanes": [lane], "priorities": [5], "after": [0], "shares": [64],
            "at_most": 64, "leases": [self.lease], "body_bytes": 2048,
        }  # fmt: skip
        return Step(on, statement("claim", "perdure"), values)

    def finish(self, on: int, task: int) -> Step:
        values = {
            "worker": WORKER, "leases": [self.lease], "lease": [1], "task": [task],
            "attempt": [1], "started": [STARTED_AT], "result": f"[{task}]", "saved": "[]",
        }  # fmt: skip
        text = statement("finish_plain", "perdure") + " returning task_id"
        return Step(on, text, values)

    def settle(self, on: int, move: Move, task: int | None = None) -> Step:
        document = move_document(Settling(self.lease, task or self.task, STARTED_AT, move))
        values = {"worker": WORKER, "moves": f"[{document}]"}
        return Step(on, statement("settle", "perdure"), values)

    def named(self, on: int, name: str, **values: object) -> Step:
        given = {"lease": self.lease, "task": self.task, "attempt": 1, "started_at": STARTED_AT,
                 "worker": WORKER, "own": self.own, "reported_only": False}  # fmt: skip
        return Step(on, statement(name, "perdure"), {**given, **values})

    def complete(self, on: int) -> Step:
        document = move_document(Settling(self.lease, self.task, STARTED_AT, COMPLETES))
        return self.named(on, "complete", move=document)

    def checkpoint(self, on: int) -> Step:
        return self.named(on, "checkpoint", saved=saved_document(SAVED))

    def save(self, on: int) -> Step:
        document = saving_document(Saving(self.lease, self.task, 1, STARTED_AT, SAVED))
        return self.named(on, "save", saves=f"[{document}]")

    def proceed(self, on: int) -> Step:
        return Step(on, "select perdure.proceed(%s, patch => %s)", [self.task, SAVED[0]])

    def proceed_waiting(self, on: int, wait_key: str) -> Step:
        text = "select perdure.proceed_waiting(%s, patch => %s)"
        return Step(on, text, [wait_key, SAVED[0]])

    def business(self, on: int, isolation: str = "read committed") -> Step:
        """A handler's own write, which takes the snapshot of its transaction."""
        text = f"set transaction isolation level {isolation}; insert into business values (1)"
        return Step(on, text)

    def is_saved(self) -> bool:
        """Whether the execution metadata that a step brings is there."""
        found = self.database.rows("select execution_metadata from perdure.progress")
        return [value for (value,) in found if value is not None] == [json.loads(SAVED[0] or "")]

    def business_is_there(self) -> bool:
        return bool(self.database.rows("select from business"))

    def upkeep(self) -> None:
        """What beats do for all: recovery, mail of tasks in no lease, empty leases."""
        self.database.execute(
            "select perdure.recover(); select perdure.obey(100);"
            "delete from perdure.leases where task_ids = '{}'"
        )

    def settle_again(self, side: Side, move: Move, task: int | None = None) -> str:
        """Go on as a completer does until it is settled or lost: the last answer.

        `move` is what is decided with the mail that settle has found.
        """
        ((_, answer, letters),) = side.answers[0]
        while answer in {"mail", "busy"}:
            known = tuple(letter["id"] for letter in json.loads(letters or "[]"))
            obeyed = known if move.run == "suspension" else ()
            again = self.settle(0, replace(move, known=known, obeyed=obeyed), task)
            ((_, answer, letters),) = self.database.rows(*again[1:])
        return str(answer)

    def rest(self, task: int | None = None) -> tuple[Any, ...]:
        """State, reason, attempt, crashes of a task."""
        return self.database.rows(
            "select state, reason, attempt, crashes from perdure.task(%s::bigint)",
            [task or self.task],
        )[0]

    def is_clean(self) -> None:
        """Raise AssertionError unless all that must hold holds, and no mail and lease is left."""
        self.database.check()
        assert not self.database.rows("select from perdure.leases")
        assert not self.database.rows("select from perdure.mail")
