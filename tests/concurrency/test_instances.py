"""Open transactions that take, free and hand over instances, one statement at a time, at random."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.integration.test_instances import enqueue, limit, rest, states
from tests.kit.databases import Database

TYPES = [
    {"name": name, "queue": "default", "priority": 5, "requires": [], "instances_of": name,
     "max_instances": n, "instances_by": "t"}
    for name, n in (("one", 1), ("two", 2))
]  # fmt: skip
STEPS = 250
WORKER = 7
MOVES = (
    {"to": {"place": "ended", "state": "completed"}},
    {"to": {"place": "ready", "reason": "interruption"}, "run": "interruption", "interruptions": 1},
    {"to": {"place": "waiting", "reason": "retry", "delay": 3600}, "run": "failure", "failures": 1},
)


class Sides:
    """Three connections, each in a transaction of its own, and what is known of the tasks."""

    def __init__(self, database: Database, seed: int, stack: ExitStack) -> None:
        self.database = database
        self.rng = random.Random(seed)
        self.open = [stack.enter_context(psycopg.connect(database.dsn)) for _ in range(3)]
        database.execute("set lock_timeout = '10ms'")
        for side in self.open:
            # Who would have to wait for another of them gives up instead.
            side.execute("set lock_timeout = '10ms'")
            side.commit()

    def side(self) -> psycopg.Connection[tuple[object, ...]]:
        """One of them; now and then one that reads as of the beginning of its transaction."""
        side = self.rng.choice(self.open)
        if side.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            levels = ("read committed", "read committed", "repeatable read")
            side.execute(f"set transaction isolation level {self.rng.choice(levels)}".encode())
        return side

    def some(self, query: str) -> tuple[object, ...] | None:
        """One of the rows that are committed."""
        rows = self.database.rows(query)
        return self.rng.choice(rows) if rows else None

    def enqueue(self) -> None:
        """Some tasks in one statement."""
        self.side().execute(
            "insert into perdure.tasks (name, metadata)"
            " select %s::text, jsonb_build_object('t', %s::int) from generate_series(1, %s::int)",
            [self.rng.choice(("one", "two")), self.rng.randrange(2), self.rng.randrange(1, 4)],
        )

    def cancel(self) -> None:
        """A task that has not ended."""
        live = "select task_id from perdure.ready union all select task_id from perdure.waiting"
        if row := self.some(live):
            self.side().execute("select perdure.cancel(%s::bigint)", row)

    def claim(self) -> None:
        """A ready task comes into a lease."""
        row = self.some("select task_id from perdure.ready")
        if row and self.database.execute("delete from perdure.ready where task_id = %s", row):
            self.database.execute(
                "insert into perdure.leases (id, worker_id, task_ids)"
                " values (%s, %s, array[%s::bigint])",
                [str(uuid4()), WORKER, *row],
            )

    def settle(self) -> None:
        """A run ends, or goes back, or is to be retried; some in a transaction that stays open."""
        if row := self.some("select id, task_ids[1] from perdure.leases where task_ids <> '{}'"):
            move = {"attempt": 1, "known": [], "obeyed": [], **self.rng.choice(MOVES)}
            if move.get("run"):
                attempts = (
                    "select coalesce(max(attempt), 0) + 1 from perdure.attempts where task_id = %s"
                )
                move["attempt"] = self.database.value(attempts, [row[1]])
            self.side().execute(
                "select perdure.settle(%s::uuid, %s::bigint, %s::bigint, %s::jsonb)",
                [*row, WORKER, json.dumps(move)],
            )

    def due(self) -> None:
        """What waits for its retry comes back."""
        self.database.execute(
            "update perdure.waiting set due_at = clock_timestamp() where ctid = any (array("
            " select ctid from perdure.waiting where due_at is not null for update skip locked))"
        )
        self.database.rows("select * from perdure.promote(100)")

    def beat(self) -> None:
        """A beat looks at what is left."""
        self.database.rows("select perdure.serve_openings(100)")

    def commit(self) -> None:
        """One of the transactions is over."""
        self.rng.choice(self.open).commit()

    def roll_back(self) -> None:
        """One of them comes to nothing."""
        self.rng.choice(self.open).rollback()

    def step(self) -> None:
        """Any of these, the frequent ones more often."""
        steps: list[Callable[[], None]] = [
            *[self.enqueue, self.claim, self.settle, self.commit] * 3,
            self.cancel, self.due, self.beat, self.commit, self.roll_back,
        ]  # fmt: skip
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure,
                      psycopg.errors.InFailedSqlTransaction):  # fmt: skip
            self.rng.choice(steps)()
        for side in self.open:
            if side.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                side.rollback()


@pytest.mark.parametrize("seed", range(3))
def test_open_transactions_in_any_order_keep_the_limit_and_forget_nobody(
    database: Database, seed: int
) -> None:
    database.execute("select perdure.register_types(%s::jsonb)", [json.dumps(TYPES)])
    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
        " values (%s, 'w', 'h', 1, '1', 3600)", [WORKER],
    )  # fmt: skip
    over = """
        select i.key, count(*) from perdure.instances as i
        join perdure.task_types as y on y.name = split_part(i.key, ' ', 1)
        group by 1, y.max_instances having count(*) > y.max_instances
    """
    with ExitStack() as stack:
        sides = Sides(database, seed, stack)
        for number in range(STEPS):
            sides.step()
            assert not database.rows(over), (seed, number)
            if number % 10 == 0:
                database.check()
        for side in sides.open:
            side.rollback()
    # At rest all that may run does so as soon as the beats have looked.
    for _ in range(3):
        sides.beat()
    assert database.rows("select key from perdure.openings") == []
    database.check()
    assert database.value("select count(*) from perdure.outcomes") > 10


def test_a_lowered_limit_holds_while_a_number_above_it_is_held(database: Database) -> None:
    sessions = 6
    with ExitStack() as stack:
        sides = [
            stack.enter_context(psycopg.connect(database.dsn, autocommit=True))
            for _ in range(sessions)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(sessions))
        for _ in range(25):
            limit(database, 5)
            first = [enqueue(database) for _ in range(5)]
            for task in first[:4]:
                database.execute("select perdure.cancel(%s::bigint)", [task])
            limit(database, 2)
            at_once = Barrier(sessions)

            def add(side: psycopg.Connection[Any], at_once: Barrier = at_once) -> None:
                at_once.wait()
                side.execute("select perdure.enqueue('limited')")

            list(pool.map(add, sides))
            assert database.value("select count(*) from perdure.instances") <= 2
            database.rows("select * from perdure.cancel_where(name => 'limited')")


def test_a_limit_that_is_raised_beside_a_look_is_looked_at_once_more(database: Database) -> None:
    limit(database, 1)
    enqueue(database)
    with psycopg.connect(database.dsn) as worker:
        raised = {"name": "limited", "queue": "default", "priority": 5, "requires": []}
        raised |= {"instances_of": "limited", "max_instances": 2}
        worker.execute("select perdure.register_types(%s::jsonb)", [json.dumps([raised])])
        enqueue(database)
        # The worker has not seen who waits, and this does not see that there is room.
        assert rest(database) == [("limited",)]
    assert rest(database) == []
    assert set(states(database).values()) == {"pend"}
