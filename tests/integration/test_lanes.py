"""Lanes: made when a name is known, found by who claims, and rows brought into them."""

from __future__ import annotations

from tests.kit.by_hand import NOBODY, task, worker
from tests.kit.databases import Database
from tests.kit.stepping import stepped


def test_a_known_task_in_the_middle_of_a_flood_of_unknown_ones_is_found(database: Database) -> None:
    flood = (
        "insert into perdure.tasks (name, priority)"
        " select 'unknown', 4 + n %% 3 from generate_series(1, %s) as n"
    )
    database.execute(flood, (300,))
    known = task(database, "known")
    database.execute(flood, (300,))
    database.execute("insert into perdure.task_types (name) values ('known')")
    after = -1
    for _ in range(40):
        moved, after = database.rows(
            "select moved, next_after from perdure.relane(%s, 50)", (after,)
        )[0]
        if moved:
            break
    lane = database.value("select lane from perdure.ready where task_id = %s", (known,))
    assert lane != 0, "the task rests in lane 0"


async def test_a_lane_whose_maker_commits_late_is_heard_of(database: Database) -> None:
    worker(database)
    heard = "select lanes from perdure.beat(%s, '{}', 10, '{}')"
    make = "insert into perdure.lanes (queue, name) values ('default', %s)"
    async with stepped(database) as early:
        await early.run("begin")
        await early.run(make, ["early"])
        database.execute(make, ["late"])
        before = database.value(heard, (NOBODY,))
        await early.run("commit")
    assert database.value(heard, (NOBODY,)) != before


def test_what_came_before_its_first_worker_is_brought_to_its_lane_by_looks_at_single_rows(
    database: Database,
) -> None:
    database.execute(
        "insert into perdure.tasks (name) select 'early' from generate_series(1, 5000)"
    )
    database.execute("insert into perdure.task_types (name) values ('early')")
    read = (
        "select sum(seq_tup_read) from pg_stat_xact_user_tables"
        " where schemaname = 'perdure' and relname ~ '^(tasks|ready)'"
    )
    # More turns than a session makes before it keeps a plan.
    connection = database.connection
    with connection.transaction():
        for turn in range(8):
            moved = connection.execute("select moved from perdure.relane(-1, 100)").fetchone()
            assert moved == (200,), turn
        assert connection.execute(read).fetchone() == (0,)
