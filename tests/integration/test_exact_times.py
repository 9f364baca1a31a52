"""What is due is served at its time, also if no beat has heard of it; and NOTIFY stays gated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import takewhile
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure import Retry, TaskContext, TaskService
from perdure.run.bus import Bus
from perdure.run.duties import Duties
from perdure.store import workers
from perdure.store.database import Database as Store
from perdure.store.upkeep import Keep

# Nobody looks by himself before the test is over.
RARE: dict[str, Any] = {
    "execution__beat_interval": "30s",
    "execution__lease_duration": "120s",
    "scheduling__polling_delay": "60s",
}
LATE = timedelta(seconds=5)


def service() -> TaskService:
    builder = TaskService.builder()

    @builder.task("punctual")
    async def punctual(_: TaskContext[dict[str, Any], None]) -> None:
        pass

    @builder.task("again")
    async def again(context: TaskContext[dict[str, Any], None]) -> Retry[None] | None:
        return Retry(timedelta(milliseconds=200)) if context.attempt == 1 else None

    return builder.build()


async def lateness(worker: Running, task: int) -> timedelta:
    row = await worker.ended(task, timeout=20)
    assert row["state"] == "completed"
    late: timedelta = row["started_at"] - row["run_at"]
    return late


@contextmanager
def asked_for_a_look(database: Database) -> Iterator[Callable[[str], bool]]:
    """Whether statements tell beats to look, while there is a worker that looks in 10 minutes."""
    database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds, looks_at)"
        " values (1, 'w', 'h', 1, '1', 3600, clock_timestamp() + interval '10 minutes')"
    )
    with psycopg.connect(database.dsn, autocommit=True) as listener:
        channel = database.value("select perdure.channel()")
        listener.execute(f"listen {channel}_mail".encode())

        def told(statements: str) -> bool:
            database.execute(statements)
            database.execute(f"notify {channel}_mail, 'end'")
            heard = (one.payload for one in listener.notifies(timeout=10))
            return list(takewhile(lambda payload: payload != "end", heard)) == [""]

        yield told


@pytest.mark.conformance("C4")
async def test_what_is_due_before_anybody_looks_again_is_served_at_its_time(
    database: Database,
) -> None:
    async with running(database, service(), **RARE) as worker:
        for delay in ("300 ms", "200 ms", "1 ms"):
            task = await worker.enqueue("punctual", delay=delay)
            assert timedelta(0) <= await lateness(worker, task) < LATE
        retried = await worker.enqueue("again")
        row = await worker.ended(retried, timeout=10)
        assert row["attempt"] == 2
        late = "put_schedule('soon', 'punctual', once => clock_timestamp() + interval '300 ms')"
        await worker.ask(f"select perdure.{late}")
        await worker.until(
            lambda: database.value(
                "select o.state from perdure.tasks as t"
                " join perdure.outcomes as o on o.task_id = t.id where t.schedule_key = 'soon'"
            ),
            timeout=10,
        )
    database.check_drained()


def test_a_notification_is_sent_only_for_what_nobody_would_see_in_time(database: Database) -> None:
    with asked_for_a_look(database) as told:

        def enqueued(delay: str) -> bool:
            return told(f"select from perdure.enqueue('a', delay => '{delay}')")

        assert not enqueued("1 hour")  # the worker looks before
        assert enqueued("8 minutes")  # nobody does
        assert not enqueued("9 minutes")  # somebody wakes for the one before
        assert enqueued("7 minutes")
        database.execute("update perdure.workers set looks_at = clock_timestamp()")
        assert enqueued("2 seconds")  # that look may not see what commits after it
        database.execute("delete from perdure.workers")
        assert not enqueued("1 second")  # nobody listens


def test_a_time_that_is_moved_or_only_now_begins_to_count_is_told_as_well(
    database: Database,
) -> None:
    ask = database.value
    first, late = (ask("select task_id from perdure.enqueue('a', delay => '1 hour')") for _ in "ab")
    after = f'[{{"task": {first}}}]'
    follow = "select task_id from perdure.enqueue('a', after => %s::jsonb, delay => '6 minutes')"
    child = ask(follow, [after])
    with asked_for_a_look(database) as told:
        soon = "clock_timestamp() + interval '8 minutes'"
        assert told(f"select perdure.update_task({late}, run_at => {soon})")
        assert not told(f"select perdure.update_task({late}, delay => '1 hour')")
        assert told(f"select perdure.update_task({late}, expires_at => {soon})")
        assert told(
            f"delete from perdure.waiting where task_id = {first}; insert into perdure.outcomes"
            f" (task_id, attempt, state) values ({first}, 1, 'completed');"
            f" select perdure.unblock({first})"
        )
        assert ask("select reason from perdure.waiting where task_id = %s", [child]) == "delay"


def test_what_is_due_next_does_not_wait_for_what_was_promoted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause is for what somebody holds; after a good turn the next time stands."""
    # Beyond what any machine needs for a turn: neither is mistaken for the other.
    monkeypatch.setattr("perdure.run.duties.BLOCKED_SECONDS", 3600.0)
    monkeypatch.setattr("perdure.run.duties.SECONDS_MOST", 3600.0)
    database.execute(
        "insert into perdure.tasks (name, run_at)"
        " select 'a', clock_timestamp() + interval '1 day' from generate_series(1, 2)"
    )
    first, second = (row[0] for row in database.rows("select id from perdure.tasks order by id"))
    due = "update perdure.waiting set due_at = clock_timestamp() + %s::interval where task_id = %s"
    database.execute(due, ["-1 second", first])
    parameters = cast("dict[str, str]", conninfo_to_dict(database.dsn))
    session = Store(parameters, database.schema).sync_session()
    duties = Duties(bus=Bus(), woken=lambda: None, counts=dict, again=lambda: None)

    def served() -> float:
        """In how many seconds the next turn is to be."""
        heard = workers.beat(session, 1, running=(), lease_seconds=9, held=(), problem=None)
        duties.serve(
            session, 1, heard, judges=False, lease_seconds=9, keep=Keep(9e6, 9e6, 9e6)
        )  # fmt: skip
        return duties.due_at - time.monotonic()

    try:
        database.execute(due, ["10 minutes", second])
        assert 0 < served() <= 600
        database.execute(due, ["-1 second", second])
        with psycopg.connect(database.dsn) as other:
            other.execute("select from perdure.waiting for update")
            assert 600 < served() <= 3600
        served()
    finally:
        session.close()
    assert database.value("select count(*) from perdure.ready") == 2


def test_a_flood_of_what_is_due_does_not_delay_a_beat(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(
        "insert into perdure.tasks (name, expires_at)"
        " select 'a', clock_timestamp() - interval '1 second' from generate_series(1, 1000)"
    )
    parameters = cast("dict[str, str]", conninfo_to_dict(database.dsn))
    session = Store(parameters, database.schema).sync_session()
    ticks = iter(range(1000))
    monkeypatch.setattr(
        "perdure.run.duties.time", SimpleNamespace(monotonic=lambda: next(ticks) * 0.2)
    )
    loop = Duties(bus=Bus(), woken=lambda: None, counts=dict, again=lambda: None)
    ended: list[int] = []
    try:
        while loop.expects_work or not ended:
            heard = workers.beat(session, 1, running=(), lease_seconds=9, held=(), problem=None)
            loop.serve(session, 1, heard, judges=False, lease_seconds=9, keep=Keep(9e6, 9e6, 9e6))
            ended.append(database.value("select count(*) from perdure.outcomes"))
    finally:
        session.close()
    assert ended == [400, 800, 1000]
    database.check_drained()
