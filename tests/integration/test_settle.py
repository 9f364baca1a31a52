"""What `settle` answers, and what it has done by then: settled, busy, lost, mail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database
from tests.kit.stepping import stepped

from perdure.store import database as store
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.queue import Settled, Settling
from perdure.tasks.places import Ended, LeaseId, Move, Ready, Saved, Waiting

WORKER, OTHER = 11, 12
ERROR = '{"kind": "exhausted", "message": "no"}'
COMPLETED = Move(to=Ended(state="completed", result='{"n": 1}'), attempt=1)
EXHAUSTED = Move(
    to=Ended(state="failed", kind="exhausted", error=ERROR),
    attempt=1, failures=1, exhausted="aftermath",
)  # fmt: skip
RETRIED = Move(
    to=Waiting(reason="retry", delay=60.0),
    attempt=1, run="failure", run_error=ERROR, failures=1,
)  # fmt: skip
STOPPED = Move(
    to=Ready(reason="interruption"), attempt=1, run="interruption", run_reason="shutdown",
    interruptions=1, saved=Saved('{"page": 7}', 1, None),
)  # fmt: skip
SUSPENDED = Move(
    to=Waiting(reason="suspended", wait_key="key"), attempt=1, run="suspension", wait_key="key"
)
CANCELLED = Move(to=Ended(state="cancelled", kind="requested"), attempt=1)
MOVES = (COMPLETED, EXHAUSTED, RETRIED, STOPPED, SUSPENDED, CANCELLED)
EVERYTHING = (
    *("ready", "waiting", "outcomes", "attempts", "progress", "leases", "tasks", "mail"),
    *("audit", "edges"),
)


@dataclass
class Held:
    """A worker's session, and leases made by hand."""

    database: Database
    session: Session

    def hold(self, count: int = 1) -> tuple[LeaseId, list[int]]:
        """New tasks under one lease of WORKER."""
        lease = str(uuid4())
        tasks = [
            self.database.value("select task_id from perdure.enqueue('work')") for _ in range(count)
        ]
        self.database.execute("delete from perdure.ready where task_id = any (%s)", (tasks,))
        self.database.execute(
            "insert into perdure.leases (id, worker_id, task_ids) values (%s, %s, %s)",
            (lease, WORKER, tasks),
        )
        return lease, tasks

    async def settle(self, lease: LeaseId, task: int, move: Move, **more: Any) -> Settled:
        """Settle one move."""
        started_at = None if move.attempt is None else 1_700_000_000.0
        settling = Settling(lease, task, started_at, move, **more)
        (answer,) = await queue.settle(self.session, WORKER, [settling])
        return answer

    def state(self, task: int) -> tuple[str, str | None]:
        """State and reason of a task."""
        (row,) = self.database.rows("select state, reason from perdure.task(%s::bigint)", (task,))
        return row[0], row[1]

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables that a move may write to."""
        return {
            table: self.database.rows(f"select t::text from perdure.{table} as t order by 1")
            for table in EVERYTHING
        }


@pytest.fixture
async def held(database: Database) -> AsyncIterator[Held]:
    parameters = {k: v for k, v in conninfo_to_dict(database.dsn).items() if v is not None}
    session = await store.Database(parameters, database.schema).session()
    for worker in (WORKER, OTHER):
        database.execute(
            "insert into perdure.workers (id, name, host, pid, version, lease_seconds)"
            " values (%s, 'w', 'h', 1, '1', 60)", (worker,)
        )  # fmt: skip
    yield Held(database, session)
    await session.close()


async def test_a_settled_move_has_taken_the_task_from_its_lease_to_its_place(held: Held) -> None:
    ends = (
        ("completed", None),
        ("failed", "exhausted"),
        ("retrying", "retry"),
        ("pending", "interruption"),
        ("suspended", "suspended"),
        ("cancelled", "requested"),
    )
    lease, tasks = held.hold(len(MOVES))
    for task, move, end in zip(tasks, MOVES, ends, strict=True):
        assert await held.settle(lease, task, move) == Settled("settled", ())
        assert held.state(task) == end
    assert held.database.value("select count(*) from perdure.leases") == 0
    kinds = held.database.rows("select task_id, kind, reason from perdure.attempts order by 1")
    assert kinds == [
        (tasks[2], "failure", None),
        (tasks[3], "interruption", "shutdown"),
        (tasks[4], "suspension", None),
    ]
    saved = held.database.rows("select * from perdure.task(%s::bigint)", (tasks[3],))
    assert {"page": 7} in saved[0]


async def test_moves_of_one_document_have_answers_of_their_own_in_its_order(held: Held) -> None:
    (one, (first, second)), (other, (third,)) = held.hold(2), held.hold()
    with psycopg.connect(held.database.dsn) as locker:
        locker.execute("select from perdure.leases where id = %s for update", (other,))
        answers = await queue.settle(
            held.session,
            WORKER,
            [
                Settling(one, second, 1.0, COMPLETED),
                Settling(other, third, 1.0, COMPLETED),
                Settling(str(uuid4()), first, 1.0, COMPLETED),
                Settling(one, first, 1.0, RETRIED),
            ],
        )
    assert [answer.answer for answer in answers] == ["settled", "busy", "lost", "settled"]
    assert [held.state(task)[0] for task in (first, second, third)] == [
        *("retrying", "completed", "running")
    ]


async def test_a_locked_lease_is_busy_and_nothing_is_done(held: Held) -> None:
    lease, (task,) = held.hold()
    before = held.everything()
    for lock in ("update", "no key update"):
        with psycopg.connect(held.database.dsn) as locker:
            text = f"select from perdure.leases where id = %s for {lock}"
            locker.execute(text.encode(), (lease,))
            for move in MOVES:
                assert await held.settle(lease, task, move) == Settled("busy", ())
        assert held.everything() == before
    assert (await held.settle(lease, task, RETRIED)).answer == "settled"


async def test_a_fence_in_an_open_transaction_holds_up_only_the_last_release(held: Held) -> None:
    lease, (task, neighbour) = held.hold(2)
    with psycopg.connect(held.database.dsn) as handler:
        handler.execute("select perdure.fence(%s, %s)", (lease, task))
        assert (await held.settle(lease, neighbour, COMPLETED)).answer == "settled"
        # What is abandoned may not overtake a checkpoint that is not committed yet.
        assert (await held.settle(lease, task, STOPPED, abandoned=True)).answer == "busy"
    assert (await held.settle(lease, task, STOPPED, abandoned=True)).answer == "settled"


@pytest.mark.parametrize("why", ["never there", "taken away", "other task", "held elsewhere"])
async def test_a_lost_lease_writes_nothing(held: Held, why: str) -> None:
    lease, (task, _) = held.hold(2)
    execute = held.database.execute
    match why:
        case "never there":
            lease = str(uuid4())
        case "taken away":
            execute("delete from perdure.leases")
            execute("select perdure.place(array[%s, %s]::bigint[], 'crash')", (task, task + 1))
        case "other task":
            execute("update perdure.leases set task_ids = array_remove(task_ids, %s)", (task,))
            execute("select perdure.place(array[%s]::bigint[], 'crash')", (task,))
        case _:
            execute("update perdure.leases set id = %s, worker_id = %s", (uuid4(), OTHER))
    before = held.everything()
    for move in MOVES:
        assert await held.settle(lease, task, move) == Settled("lost", ())
    assert held.everything() == before


async def test_unknown_mail_is_answered_with_its_letters_and_nothing_is_done(held: Held) -> None:
    lease, (task,) = held.hold()
    held.database.execute("select perdure.cancel(%s::bigint)", (task,))
    before = held.everything()
    for move in (EXHAUSTED, RETRIED, STOPPED, SUSPENDED, CANCELLED):
        answer, letters = await held.settle(lease, task, move)
        assert (answer, [letter.kind for letter in letters]) == ("mail", ["cancel"])
        assert held.everything() == before
    known = Move(to=CANCELLED.to, attempt=1, known=(letters[0].id,))
    assert (await held.settle(lease, task, known)).answer == "settled"
    assert held.state(task) == ("cancelled", "requested")
    held.database.check_drained()


async def test_mail_that_is_gone_is_answered_too(held: Held) -> None:
    lease, (task,) = held.hold()
    known = Move(to=CANCELLED.to, attempt=1, known=(99,))
    assert await held.settle(lease, task, known) == Settled("mail", ())
    assert held.state(task) == ("running", "first")


async def test_success_asks_for_no_mail_and_keeps_when_the_cancel_came(held: Held) -> None:
    lease, (task,) = held.hold()
    held.database.execute("select perdure.cancel(%s::bigint)", (task,))
    assert (await held.settle(lease, task, COMPLETED)).answer == "settled"
    assert held.state(task) == ("completed", None)
    asked = "select cancel_requested_at is not null from perdure.outcomes"
    assert held.database.value(asked) is True
    held.database.check_drained()


@pytest.mark.parametrize("to_key", [False, True])
async def test_signals_are_mail_for_a_suspension_alone_and_are_obeyed_in_order(
    held: Held, to_key: bool
) -> None:
    lease, (task, other) = held.hold(2)
    for patch in ({"a": 1, "b": 1}, {"a": 2}):
        if to_key:
            held.database.execute(
                "select perdure.proceed_waiting('key', patch => %s)", (json.dumps(patch),)
            )
        else:
            held.database.execute(
                "select perdure.proceed(%s::bigint, patch => %s)", (task, json.dumps(patch))
            )
    assert (await held.settle(lease, other, RETRIED)).answer == "settled"
    answer, letters = await held.settle(lease, task, SUSPENDED)
    assert (answer, [letter.kind for letter in letters]) == ("mail", ["proceed", "proceed"])
    ids = tuple(letter.id for letter in letters)
    obeying = Move(
        to=Ready(reason="proceeded"), attempt=1, run="suspension", wait_key="key",
        known=ids, obeyed=ids,
    )  # fmt: skip
    assert (await held.settle(lease, task, obeying)).answer == "settled"
    assert held.state(task) == ("pending", "proceeded")
    checkpoint = "select execution_metadata from perdure.progress where task_id = %s"
    assert held.database.value(checkpoint, (task,)) == {"a": 2, "b": 1}
    assert held.database.value("select count(*) from perdure.mail") == 0


@pytest.mark.conformance("C26")
async def test_a_repeated_settle_writes_nothing_and_is_known_as_ones_own(held: Held) -> None:
    for move in MOVES:
        lease, (task, _) = held.hold(2)
        assert (await held.settle(lease, task, move)).answer == "settled"
        before = held.everything()
        for _ in range(2):
            assert (await held.settle(lease, task, move)).answer == "lost"
        assert held.everything() == before
        assert await queue.fates(held.session, WORKER, [(lease, task, 1)]) == ["own"]
        assert await queue.fates(held.session, OTHER, [(lease, task, 1)]) == ["lost"]
        assert await queue.fates(held.session, WORKER, [(lease, task, 2)]) == ["lost"]
    count = "select count(*) from perdure.tasks where name = 'aftermath'"
    assert held.database.value(count) == 1


async def test_who_asks_again_for_a_lease_that_is_just_given_is_given_it(held: Held) -> None:
    (lease, (task, _)), own = held.hold(2), uuid4()
    ask, arguments = "select perdure.separate(%s, %s, %s)", (lease, task, own)
    async with stepped(held.database) as first, stepped(held.database) as again:
        await first.run("begin")
        assert await first.run(ask, arguments) == [(own,)]
        assert not await again.start(ask, arguments)
        await first.run("commit")
        assert await again.end() == [(own,)]
    assert await queue.separate(held.session, lease, task, str(own)) == str(own)
