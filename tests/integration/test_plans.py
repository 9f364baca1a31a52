"""Plans of the hot statements: the same indexes whatever the statistics say, reads as asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.test_instances import limit
from tests.kit.backlog import GROWING, LIVE, Backlog, Backlogs, fill, session
from tests.kit.databases import Database, Server
from tests.kit.plans import Plan, explain, explained, prepare

from perdure.store.queue import Settling, array_literal, move_document
from perdure.tasks.places import Ended, Move, Ready, Saved, Waiting

ROWS, FEW = 10_000, 600
MANY, AGES = 200_000, ("empty", "stale", "fresh")
STATES = (*itertools.product((0, ROWS), AGES), (MANY, "stale"))
ASKED, SHARE = 128, 96
DEAD_ROWS = 100_000
Values = Mapping[str, Any]
# Every switch that can give the claim's plan another form.
SWITCHES = (("seqscan",), ("indexscan",), ("bitmapscan",), ("tidscan",), ("nestloop",),
            ("hashjoin", "mergejoin"), ("material", "memoize"))  # fmt: skip


def claim(database: Database, after: int = 0) -> Values:
    """A claim that asks for less than its picks would give together."""
    lanes = dict(database.rows("select name, id from perdure.lanes"))
    return {
        "worker": LIVE, "lanes": array_literal((lanes["a"], lanes["b"])), "priorities": "{5,2}",
        "after": array_literal((after, after)), "shares": array_literal((SHARE, SHARE)),
        "at_most": ASKED, "leases": array_literal((UUID(int=1), UUID(int=2))), "body_bytes": 2048,
    }  # fmt: skip


def finish_plain(database: Database) -> Values:
    """The successes of two whole leases."""
    held = database.rows(
        "select id, unnest(task_ids) from perdure.leases where id in"
        " (select id from perdure.leases where worker_id = %s limit 2)", [LIVE],
    )  # fmt: skip
    leases = {lease: n for n, lease in enumerate(dict.fromkeys(lease for lease, _ in held), 1)}
    return {
        "worker": LIVE, "leases": array_literal(leases),
        "lease": array_literal(leases[lease] for lease, _ in held),
        "task": array_literal(task for _, task in held),
        "attempt": array_literal(1 for _ in held), "started": array_literal(1 for _ in held),
        "result": "[" + ",".join("{}" for _ in held) + "]", "saved": "[]",
    }  # fmt: skip


def settle(database: Database) -> Values:
    """One move of each kind, of tasks that have progress, mail and followers."""
    letter = database.value("select id from perdure.mail where wait_key = '150'")
    known = () if letter is None else (letter,)
    error = '{"kind": "exhausted", "message": "no"}'
    moves = {
        131: Move(to=Ended(state="completed", result="1"), attempt=1),  # it has a follower
        140: Move(to=Ended(state="failed", kind="exhausted", error=error), attempt=1, failures=1,
                  exhausted="a"),
        142: Move(to=Waiting(reason="retry", delay=60.0), attempt=1, run="failure", failures=1),
        143: Move(to=Ready(reason="interruption"), attempt=1, run="interruption", interruptions=1,
                  saved=Saved('{"page": 7}', 1, None)),
        144: Move(to=Waiting(reason="suspended", wait_key="150"), attempt=1, run="suspension",
                  wait_key="150", known=known, obeyed=known),
    }  # fmt: skip
    leases = {
        n: database.value("select id from perdure.leases where %s = any (task_ids)", [4 * n + 3])
        for n in moves
    }
    settlings = [
        Settling(str(leases[n] or UUID(int=n)), 4 * n + 3, 1.0, move) for n, move in moves.items()
    ]
    return {"worker": LIVE, "moves": f"[{','.join(map(move_document, settlings))}]"}


def beat(database: Database) -> Values:
    """All that the worker holds."""
    held = database.rows("select id, task_ids from perdure.leases where worker_id = %s", [LIVE])
    return {
        "worker": LIVE, "running": array_literal(held[0][1] if held else ()), "lease_seconds": 10,
        "held": array_literal(lease for lease, _ in held), "problem": None,
        "looks_in": 2.0, "satisfied": [],
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a shipped statement is run with, and what it may read then, its functions included.

    `by` says by which indexes it reads each table that grows; it reads no other such table, at most
    `most` rows of each, and touches at most so many `blocks`, those of the catalogue included.
    """

    values: Callable[[Database], Values]
    by: Mapping[str, set[str]]
    most: int
    blocks: int


STATEMENTS = {
    "claim": Statement(
        values=claim, most=ASKED, blocks=14 * ASKED + 100,
        by={"ready": {"ready_order", "Tid Scan"}, "tasks": {"tasks_pkey"},
            "progress": {"progress_pkey"}, "mail": {"mail_task"}},
    ),
    "finish_plain": Statement(
        values=finish_plain, most=10, blocks=6 * ASKED + 100,
        by={"leases": {"leases_pkey"}},
    ),
    "settle": Statement(
        values=settle, most=10, blocks=5500,
        by={"tasks": {"tasks_pkey"}, "leases": {"leases_pkey"},
            "waiting": {"waiting_pkey", "waiting_due"}, "progress": {"progress_pkey"},
            "edges": {"edges_pkey", "edges_after", "Tid Scan"},
            "mail": {"mail_pkey", "mail_task", "mail_key"}, "outcomes": {"outcomes_pkey"}},
    ),
    "promote": Statement(
        values=lambda _: {"at_most": ASKED}, most=ASKED + 1, blocks=50 * ASKED,
        by={"waiting": {"waiting_due", "Tid Scan"}, "tasks": {"tasks_pkey"},
            "edges": {"edges_pkey"}},
    ),
    "recover": Statement(
        values=lambda _: {"reported_only": False}, most=ASKED, blocks=52 * ASKED,
        by={"leases": {"leases_worker", "leases_pkey"}, "tasks": {"tasks_pkey"},
            "progress": {"progress_pkey"}, "edges": {"edges_pkey"}},
    ),
    "beat": Statement(
        values=beat, most=24, blocks=3000,
        by={"leases": {"leases_worker", "leases_pkey"}, "ready": {"ready_order"},
            "waiting": {"waiting_due"}, "mail": {"mail_pkey", "mail_task"}},
    ),
}  # fmt: skip
# Through a pooler the driver prepares nothing: there only functions keep their plans.
FUNCTIONS = STATEMENTS.keys() - {"claim", "finish_plain"}


@pytest.fixture(scope="module")
def backlogs(server: Server, template: str) -> Iterator[Backlogs]:
    with ExitStack() as stack:
        yield Backlogs(server, template, stack)


@pytest.fixture(
    scope="module",
    params=STATES,
    ids=lambda state: f"{state[0]}-{state[1]}",
)
def backlog(backlogs: Backlogs, request: pytest.FixtureRequest) -> Iterator[Backlog]:
    """One database at a time, whatever the order of the tests: pytest groups them by it."""
    rows, age = request.param
    with backlogs.aged(rows, age) as database:
        yield Backlog(database, rows)


def check(connection: psycopg.Connection[Any], name: str, backlog: Backlog) -> list[Plan]:
    """Run the statement, undo it, and compare what it has read with what it may."""
    statement = STATEMENTS[name]
    plans = explain(connection, name, statement.values(backlog.database))
    for table in GROWING:
        scans = set[str]().union(*(plan.scans(table) for plan in plans))
        wanted = statement.by.get(table, set())
        assert scans == wanted if backlog.rows else scans <= wanted, (table, texts(plans, table))
        assert sum(plan.read(table) for plan in plans) <= statement.most, texts(plans, table)
    assert plans[-1].blocks <= statement.blocks
    return plans


def texts(plans: list[Plan], table: str) -> list[tuple[str, set[str], float]]:
    """What to look at when a plan is wrong."""
    return [(plan.text, plan.scans(table), plan.read(table)) for plan in plans if plan.scans(table)]


@pytest.mark.conformance("C8")
def test_reads_by_index_and_no_more_than_asked_for(backlog: Backlog) -> None:
    # One test for all of them: each process that has a part of it would make the backlog anew.
    for name, own, mode in itertools.product(STATEMENTS, (True, False), ("custom", "generic")):
        if not own and mode == "generic" and name not in FUNCTIONS:
            continue
        with session(backlog.database, own=own, mode=mode) as connection:
            try:
                plans = check(connection, name, backlog)
            except AssertionError as error:
                error.add_note(f"{name}, {'own' if own else 'pooled'}, {mode}")
                raise
        if name == "claim":
            assert plans[-1].rows == (ASKED if backlog.rows else 0)


@pytest.mark.parametrize("own", [True, False], ids=["own", "pooled"])
@pytest.mark.parametrize("age", AGES)
def test_plans_made_while_nothing_was_there_are_right_for_what_came_since(
    backlogs: Backlogs, age: str, own: bool
) -> None:
    with (
        backlogs.aged(0, age) as database,
        session(database, own=own, mode="generic") as connection,
    ):
        names = [name for name in STATEMENTS if own or name in FUNCTIONS]
        for name in names:
            check(connection, name, Backlog(database, 0))
        fill(database, 1, ROWS)
        for name in names:
            check(connection, name, Backlog(database, ROWS))


@pytest.mark.conformance("C8")
def test_a_claim_after_its_position_does_not_meet_what_an_old_snapshot_keeps(
    backlogs: Backlogs,
) -> None:
    with (
        backlogs.aged(ROWS, "fresh") as database,
        session(database, own=True, mode="generic") as connection,
        session(database, own=False, mode="custom") as other,
    ):
        database.execute(
            "insert into perdure.ready (lane, priority, task_id)"
            " select r.lane, r.priority, -n from generate_series(1, %s) as n,"
            " (select distinct lane, priority from perdure.ready) as r", [DEAD_ROWS // 2],
        )  # fmt: skip
        with other.transaction():
            other.execute(b"set transaction isolation level repeatable read")
            other.execute(b"select")
            database.execute("delete from perdure.ready where task_id < 0")
            check(connection, "claim", Backlog(database, ROWS))
            from_the_start = explain(connection, "claim", claim(database, after=-DEAD_ROWS))
    assert from_the_start[-1].blocks > STATEMENTS["claim"].blocks + DEAD_ROWS / 200


@pytest.mark.conformance("C8")
@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("age", ["stale", "fresh"])
def test_a_claim_takes_its_picks_in_order_and_no_more_whatever_the_planner_may_use(
    backlogs: Backlogs, age: str, mode: str
) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(backlogs.aged(FEW, age))
        first = {
            name: [row[0] for row in database.rows(
                "select r.task_id from perdure.ready as r join perdure.lanes as l on l.id = r.lane"
                " where l.name = %s order by 1 limit %s", [name, count],
            )]
            for name, count in (("a", SHARE), ("b", ASKED - SHARE))
        }  # fmt: skip
        connection = stack.enter_context(session(database, own=False, mode=mode))
        connection.execute(b"set jit = off")  # it would compile every plan that costs so much
        execute = prepare(connection, "claim", claim(database), database.schema)
        for states in itertools.product(("on", "off"), repeat=len(SWITCHES)):
            with connection.transaction(force_rollback=True):
                for group, state in zip(SWITCHES, states, strict=True):
                    for switch in group:
                        connection.execute(f"set local enable_{switch} = {state}".encode())
                connection.execute(b"discard plans")
                rows = connection.execute(execute).fetchall()
            assert len(rows) == ASKED, states
            taken = {name: sorted(row[3] for row in rows if row[4] == name) for name in first}
            assert taken == first, states
            assert Counter(row[0] for row in rows) == {1: 64, 2: 64}


# Two of each name run and hold its instances; 5 and all above it wait for one of the first name's.
LINED_UP = """
    insert into perdure.tasks (id, name)
    select n, case when n in (3, 4) then 'limited' else 'crowded' end
    from generate_series(1, 5) as n;
    insert into perdure.waiting (task_id, reason, instance_key)
    select n + 4, 'instances', 'crowded' from generate_series(1, %(rows)s::integer) as n;
    insert into perdure.instances (key, number, task_id)
    values ('crowded', 1, 1), ('crowded', 2, 2), ('limited', 1, 3), ('limited', 2, 4);
    insert into perdure.leases (id, worker_id, task_ids) values (%(lease)s, 1, '{1,2,3,4}');
    insert into perdure.openings (key) values ('crowded'), ('limited')
"""
# What those who look were told of when there were few.
SAMPLE = (
    "insert into perdure.waiting (task_id, reason, instance_key) values (9, 'instances', 'limited')"
)


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("age", AGES)
def test_who_waits_for_an_instance_is_found_by_the_key_however_many_wait_for_another(
    backlogs: Backlogs, age: str, mode: str
) -> None:
    with backlogs.aged(0, "empty") as database:
        for name in ("crowded", "limited"):
            limit(database, 2, name)
        database.execute("set session_replication_role = replica")
        if age == "stale":
            database.execute(SAMPLE)
            database.execute("analyze")
            database.execute("delete from perdure.waiting")
        values = {"rows": ROWS, "lease": UUID(int=1)}
        for statement in LINED_UP.split(";"):
            database.execute(statement, values)
        database.execute("reset session_replication_role")
        if age == "fresh":
            database.execute("analyze")
        ends = [
            Settling(str(UUID(int=1)), task, 1.0, Move(to=Ended(state="completed"), attempt=1))
            for task in (1, 3)
        ]
        moves = {"worker": LIVE, "moves": f"[{','.join(map(move_document, ends))}]"}
        with session(database, own=True, mode=mode) as connection:
            for name, asked in (("serve_openings", {"at_most": 10}), ("settle", moves)):
                plans = explain(connection, name, asked)
                assert sum(plan.read("waiting") for plan in plans) <= 10, texts(plans, "waiting")


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("key", ["none", "some"])
def test_what_a_schedule_has_made_is_found_by_its_key_however_many_others_have(
    backlogs: Backlogs, key: str, mode: str
) -> None:
    with backlogs.aged(0, "empty") as database:
        database.execute("set session_replication_role = replica")
        database.execute(
            "insert into perdure.tasks (name, schedule_key, unique_key)"
            " select 'a', k, k from (select case when n % 2000 = 0 then 'some' else 'common' end"
            f" from generate_series(1, {ROWS}) as n) as s (k)"
        )
        database.execute("reset session_replication_role")
        database.execute("analyze")
        with session(database, own=True, mode=mode) as connection:
            for call in (
                "first_live(%s, 0, 1000)",
                "live_occurrences(%s, 0)",
                "key_holder(%s, -1)",
            ):
                plans = explained(connection, f"select from perdure.{call}", [key])
                assert sum(plan.read("tasks") for plan in plans) <= 12, (
                    call,
                    texts(plans, "tasks"),
                )
