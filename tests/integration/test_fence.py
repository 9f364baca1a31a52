"""Every write for a running task names the lease that holds it, and does nothing under another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.by_hand import NOBODY, lease, task, worker
from tests.kit.databases import Database

from perdure.store import database as store
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.queue import Saving, Settled, Settling, move_document, saved_document
from perdure.tasks.places import Ended, Move, Saved

STARTED_AT = 1_700_000_000.0
SAVED = Saved('{"page": 1}', 1, None)
COMPLETES = Move(to=Ended(state="completed", result="1"), attempt=1)
TABLES = ("ready", "waiting", "leases", "progress", "attempts", "outcomes", "mail")
WRITES = ("finish", "settle", "save", "hand back", "separate", "fence", "checkpoint", "complete")
REFUSED: tuple[object, ...] = (["lost"], [Settled("lost", ())], [False], [])
"""What those answer that do not raise PD001."""


@dataclass
class Success:
    """A plain success."""

    lease: str
    task_id: int
    attempt: int = 1
    result: str = "1"
    saved: Saved | None = None
    started_at: float = STARTED_AT


@pytest.fixture
async def session(database: Database) -> AsyncIterator[Session]:
    parameters = {k: v for k, v in conninfo_to_dict(database.dsn).items() if v is not None}
    session = await store.Database(parameters, database.schema).session()
    worker(database)
    yield session
    await session.close()


async def accepted(session: Session, write: str, held: str, task_id: int) -> bool:
    """Do this write under this lease; False: the lease is said to be lost."""
    settling = Settling(held, task_id, STARTED_AT, COMPLETES)
    fenced: dict[str, object] = {"lease": held, "task": task_id}
    saved = {"attempt": 1, "started_at": STARTED_AT, "saved": saved_document(SAVED)}
    moved = {"worker": NOBODY, "move": move_document(settling)}
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "finish": lambda: queue.finish(session, NOBODY, [Success(held, task_id)]),
        "settle": lambda: queue.settle(session, NOBODY, [settling]),
        "save": lambda: queue.save(session, [Saving(held, task_id, 1, STARTED_AT, SAVED)]),
        "hand back": lambda: queue.hand_back(session, [(held, task_id)]),
        "separate": lambda: queue.separate(session, held, task_id, str(uuid4())),
        "fence": lambda: session.run("fence", fenced),
        "checkpoint": lambda: session.run("checkpoint", fenced | saved),
        "complete": lambda: session.run("complete", fenced | moved),
    }
    try:
        return await writes[write]() not in REFUSED
    except psycopg.Error as error:
        if error.sqlstate != "PD001":
            raise
        return False


def everything(database: Database) -> list[object]:
    """All rows that a write for a task may touch."""
    text = "select t::text from perdure.{} as t order by 1"
    return [database.rows(text.format(table)) for table in TABLES]


@pytest.mark.parametrize("write", WRITES)
async def test_no_write_is_taken_under_a_lease_that_does_not_hold_the_task(
    database: Database, session: Session, write: str
) -> None:
    running, other = task(database), task(database)
    right, wrong = lease(database, running), lease(database, other)
    before = everything(database)
    for held in (wrong, str(uuid4())):
        assert not await accepted(session, write, held, running)
    assert everything(database) == before
    assert await accepted(session, write, right, running)


async def test_a_fence_in_an_open_transaction_holds_up_no_success_beside_it(
    database: Database, session: Session
) -> None:
    running, neighbour = task(database), task(database)
    shared = lease(database, running, neighbour)
    with psycopg.connect(database.dsn) as handler:
        handler.execute("select perdure.fence(%s, %s)", (shared, running))
        assert await queue.finish(session, NOBODY, [Success(shared, neighbour)]) == ["own"]


async def test_one_lost_lease_refuses_nothing_else(database: Database, session: Session) -> None:
    gone, running = task(database), task(database)
    held = lease(database, running)
    successes = [Success(str(uuid4()), gone), Success(held, running)]
    assert await queue.finish(session, NOBODY, successes) == ["lost", "own"]
    assert database.rows("select task_id from perdure.outcomes") == [(running,)]
