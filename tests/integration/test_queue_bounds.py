"""set_queue(concurrency=): what a worker process runs of a queue, changed while it runs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.client.sync import SyncTaskClient
from perdure.declare.context import TaskContext
from perdure.run.options import Options
from perdure.service import TaskService


async def test_a_bound_of_the_database_holds_with_the_next_beat_and_stops_nothing(
    database: Database,
) -> None:
    builder = TaskService.builder()
    began: list[str] = []
    gates: dict[str, asyncio.Semaphore] = {q: asyncio.Semaphore(0) for q in ("narrow", "told")}
    runs = dict.fromkeys(gates, 0)
    most = dict(runs)

    @builder.task("work")
    async def work(context: TaskContext[dict[str, Any], None]) -> None:
        queue = context.metadata["queue"]
        began.append(queue)
        runs[queue] += 1
        most[queue] = max(most[queue], runs[queue])
        await gates[queue].acquire()
        runs[queue] -= 1

    def wanted(number: int) -> bool:
        return runs["narrow"] == number

    options = Options(queues={"narrow": None, "told": 3})
    async with running(database, builder.build(), options=options) as worker:
        said = "select perdure.set_queue(%s, concurrency => %s)"
        for queue, bound in (("narrow", 2), ("told", 9)):
            await worker.ask(said, queue, bound)
        worker.worker.beat_now()
        heard = worker.worker._enqueuer._bounds
        await worker.until(lambda: heard.heard == {"narrow": 2, "told": 9})
        for queue in gates:
            await worker.ask(
                "insert into perdure.tasks (name, queue, metadata) select 'work', %s,"
                " jsonb_build_object('queue', %s::text) from generate_series(1, 12)", queue, queue,
            )  # fmt: skip
        await worker.until(lambda: runs == {"narrow": 2, "told": 3})

        await worker.ask(said, "narrow", 5)
        await worker.until(lambda: runs["narrow"] == 5)
        # Smaller: nothing stops, and nothing starts before it is below the bound.
        await worker.ask(said, "narrow", 1)
        worker.worker.beat_now()
        await worker.until(lambda: heard.heard["narrow"] == 1)
        for left in (4, 3, 2, 1):
            gates["narrow"].release()
            await worker.until(partial(wanted, left))
        assert began.count("narrow") == 5
        gates["narrow"].release()
        await worker.until(lambda: began.count("narrow") == 6)
        assert most == {"narrow": 5, "told": 3}
        held = "select coalesce(sum(cardinality(task_ids)), 0) as n from perdure.leases"
        # What ended made room before its end is written.
        await worker.until(lambda: database.rows(held) == [(4,)])

        await worker.ask(said, "narrow", None)
        await worker.until(lambda: runs["narrow"] == 7)
        for gate in gates.values():
            for _ in range(12):
                gate.release()
        count = "select count(*) as n from perdure.outcomes"
        await worker.until(lambda: database.rows(count) == [(24,)])
    database.check_drained()


def test_one_bound_is_set_and_the_other_stays(database: Database) -> None:
    with SyncTaskClient(database.dsn) as client:
        client.set_queue("q", max_depth=7)
        client.set_queue("q", concurrency=2)
        (state,) = client.queues()
        assert (state.max_depth, state.concurrency) == (7, 2)
        client.set_queue("q", max_depth=None)
        (state,) = client.queues()
        assert (state.max_depth, state.concurrency) == (None, 2)
        client.set_queue("q", max_depth=0, concurrency=None)
        (state,) = client.queues()
        assert (state.max_depth, state.concurrency) == (0, None)
    asked = "select details from perdure.audit order by id limit 3"
    assert database.rows(asked) == [
        ({"queue": "q", "max_depth": 7},),
        ({"queue": "q", "concurrency": 2},),
        ({"queue": "q", "max_depth": None},),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("'q'", "nothing is said"),
        ("'*', concurrency => 1", "for one queue, not for"),
        ("'q', -2", "max_depth must be 0 or more"),
        ("'q', concurrency => 0", "concurrency must be 1 or more"),
        ("'q', concurrency => -2", "concurrency must be 1 or more"),
    ],
)
def test_what_cannot_be_set_is_refused(database: Database, call: str, message: str) -> None:
    with pytest.raises(psycopg.Error, match=message) as caught:
        database.execute(f"select perdure.set_queue({call})")
    assert caught.value.sqlstate == "PD004"
    assert caught.value.diag.message_hint
