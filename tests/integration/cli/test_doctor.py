"""What doctor tells: each fault is found, named with its remedy, and nothing else is."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from tests.integration.cli.conftest import Run
from tests.integration.cli.test_admin import add_worker
from tests.kit.databases import Database
from tests.kit.logins import as_login, new_login

from perdure.cli.doctor import CHECKS, connections
from perdure.store.inspect import Server

LOST = "delete from perdure.ready where task_id = any (%s::bigint[])"
NOWHERE = "every task is in exactly one place"


def verdicts(run: Run, *words: str) -> dict[str, str]:
    return {
        found["check"]: found["verdict"]
        for found in run("doctor", "--json", *words).json["findings"]
    }


def finding(run: Run, check: str) -> dict[str, Any]:
    (found,) = [f for f in run("doctor", "--json").json["findings"] if f["check"] == check]
    return dict(found)


@pytest.fixture(autouse=True)
def servers_of_tests_are_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run without fsync; the setting makes a warning of that problem."""
    monkeypatch.setenv("PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY", "true")


def test_a_healthy_installation_has_nothing_but_its_durability_told(
    run: Run, database: Database
) -> None:
    run("enqueue", "a")
    add_worker(database, "one")
    found = verdicts(run)
    assert list(found) == list(CHECKS)
    assert {check for check, verdict in found.items() if verdict != "ok"} <= {"durability"}
    text = run("doctor").out
    assert "every task is in exactly one place" in text
    assert text.splitlines()[0].split() == ["VERDICT", "CHECK", "FOUND"]


def test_unsafe_durability_is_a_problem_unless_it_is_allowed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if finding(run, "durability")["text"].startswith("unsafe"):
        assert verdicts(run)["durability"] == "warning"
        monkeypatch.delenv("PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY")
        assert verdicts(run)["durability"] == "problem"
        assert "fsync = on" in finding(run, "durability")["remedy"]


def test_tasks_without_a_place_are_found_and_admitted_on_demand(
    run: Run, database: Database
) -> None:
    for delay in ("0s", "0s", "1h"):
        run("enqueue", "a", "--delay", delay)
    database.execute(LOST, [[1, 2]])
    database.execute("delete from perdure.waiting")
    found = finding(run, "misplaced tasks")
    assert found["verdict"] == "problem"
    assert "task 1 in no place" in found["text"]
    assert "--repair" in found["remedy"]
    assert "misplaced tasks" in run("doctor", "--strict", code=1).err
    assert sorted(run("doctor", "--repair", "--json").json["repaired"]) == [1, 2, 3]
    assert finding(run, "misplaced tasks")["verdict"] == "ok"
    states = [task["state"] for task in run("list", "--json").json]
    assert states == ["scheduled", "pending", "pending"]
    audited = "select task_id from perdure.audit where action = 'repair' order by task_id"
    assert database.rows(audited) == [(1,), (2,), (3,)]
    assert run("doctor", "--repair", "--json").json["repaired"] == []


def test_a_task_in_ready_and_elsewhere_is_taken_out_of_ready(run: Run, database: Database) -> None:
    for _ in range(6):
        run("enqueue", "a")
    database.execute(LOST, [[1, 2, 6]])
    database.execute(
        "insert into perdure.waiting (task_id, reason, due_at) values"
        " (1, 'delay', now()), (2, 'delay', now() + interval '1 hour'), (6, 'delay', now());"
        "insert into perdure.outcomes (task_id, attempt, state)"
        " values (3, 1, 'completed'), (6, 1, 'completed');"
        "insert into perdure.ready (lane, priority, task_id)"
        " values (0, 5, 2), (0, 9, 4), (77, 5, 99);"
        "update perdure.ready set lane = 77 where task_id = 5"
    )
    found = finding(run, "misplaced tasks")
    assert {row["task_id"]: row["places"] for row in found["rows"]} == {
        2: ["ready", "waiting"], 3: ["outcomes", "ready"], 4: ["ready", "ready"],
        5: ["a lane that is gone"], 6: ["outcomes", "waiting"], 99: ["ready"],
    }  # fmt: skip
    assert "--repair" in found["remedy"]
    assert run("doctor", "--repair", "--json").json["repaired"] == [2, 3, 4, 5, 6]
    left = finding(run, "misplaced tasks")
    assert left["text"] == "task 99 in ready, but not in the ledger"
    assert left["remedy"] is None
    database.execute("delete from perdure.ready where task_id = 99")
    assert finding(run, "misplaced tasks")["verdict"] == "ok"
    assert database.rows("select lane, priority, task_id from perdure.ready order by task_id") == [
        (0, 5, 4), (0, 5, 5),
    ]  # fmt: skip


def test_a_task_that_runs_and_waits_is_left_to_people(run: Run, database: Database) -> None:
    run("enqueue", "a")
    add_worker(database, "alive")
    database.execute(LOST, [[1]])
    database.execute(
        "insert into perdure.waiting (task_id, reason, due_at) values (1, 'delay', now());"
        "insert into perdure.leases (id, worker_id, task_ids) values (gen_random_uuid(), 5, '{1}')"
    )
    database.expected_violations.add(NOWHERE)
    said = run("doctor", "--repair", "--json").json
    assert said["repaired"] == []
    assert not said["healthy"]
    found = finding(run, "misplaced tasks")
    assert found["rows"] == [{"task_id": 1, "places": ["lease", "waiting"]}]
    assert found["remedy"] is None


def test_a_task_stays_ready_if_nobody_lives_who_could_give_its_lease_back(
    run: Run, database: Database
) -> None:
    run("enqueue", "a")
    database.execute(
        "insert into perdure.leases (id, worker_id, task_ids) values (gen_random_uuid(), 7, '{1}')"
    )
    assert run("doctor", "--repair", "--json").json["repaired"] == []
    assert database.rows("select task_id from perdure.ready") == [(1,)]
    database.execute("delete from perdure.leases")


def test_a_repair_ends_although_lane_0_has_no_row(run: Run, database: Database) -> None:
    run("enqueue", "a")
    database.execute("delete from perdure.lanes; update perdure.ready set lane = 77")
    assert run("doctor", "--repair", "--json").json["repaired"] == [1]
    assert database.rows("select lane, task_id from perdure.ready") == [(0, 1)]
    database.execute("insert into perdure.lanes (id, queue, name) values (0, '', '')")


def test_two_repairs_at_once_admit_a_task_once(database: Database) -> None:
    database.execute("insert into perdure.tasks (name) values ('a')")
    database.execute(LOST, [[1]])
    with psycopg.connect(database.dsn) as first, psycopg.connect(database.dsn) as second:
        assert first.execute("select perdure.repair('{1}')").fetchone() == ([1],)
        second.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("select perdure.repair('{1}')")
        first.commit()
        second.rollback()
        assert second.execute("select perdure.repair('{1}')").fetchone() == ([],)


def test_a_lease_of_no_worker_and_other_orphans_are_named(run: Run, database: Database) -> None:
    run("enqueue", "a", "--unique-key", "k")
    database.execute(LOST, [[1]])
    database.execute(
        "insert into perdure.leases (id, worker_id, task_ids) values (gen_random_uuid(), 7, '{1}')"
    )
    database.execute("insert into perdure.unique_keys (key, task_id) values ('gone', 99)")
    database.execute("insert into perdure.mail (task_id, kind) values (99, 'cancel')")
    found = finding(run, "orphans")
    assert found["verdict"] == "problem"
    assert {row["kind"] for row in found["rows"]} == {"lease", "unique key", "mail"}
    database.execute(
        "delete from perdure.leases; delete from perdure.unique_keys; delete from perdure.mail"
    )
    run("doctor", "--repair")


def test_tasks_that_no_live_worker_takes_are_named_until_one_comes(
    run: Run, database: Database
) -> None:
    for name, queue in (("unknown", "x"), ("a", "y"), ("a", "y")):
        run("enqueue", name, "--queue", queue)
    assert finding(run, "unserved tasks")["verdict"] == "ok"  # a minute is given to start one
    database.execute("update perdure.tasks set created_at = created_at - interval '2 minutes'")
    found = finding(run, "unserved tasks")
    assert found["verdict"] == "warning"
    rows = {row["name"]: (row["queue"], row["tasks"], row["why"]) for row in found["rows"]}
    assert rows == {
        "unknown": ("x", 1, "no live worker knows unknown"),
        "a": ("y", 2, "no live worker knows a"),
    }
    add_worker(database, "w")
    assert [row["name"] for row in finding(run, "unserved tasks")["rows"]] == ["unknown"]
    database.execute("update perdure.workers set queues = '{z}'")
    whys = {row["why"] for row in finding(run, "unserved tasks")["rows"]}
    assert "no live worker serves queue y" in whys


def test_schedules_that_are_broken_unserved_or_declared_no_more_are_named(
    run: Run, database: Database
) -> None:
    for key, declared in (("good", False), ("dropped", True), ("bad", False)):
        put = "select perdure.put_schedule(%s, 'a', every => '1 hour', declared => %s)"
        database.execute(put, [key, declared])
    database.execute("select perdure.put_schedule('other', 'unknown', every => '1 hour')")
    database.execute(
        "update perdure.schedules set state = 'broken', problem = 'no such zone' where key = 'bad'"
    )
    add_worker(database, "w")
    # A minute is given to start a worker.
    assert {row["key"] for row in finding(run, "schedules")["rows"]} == {"bad"}
    database.execute("update perdure.schedules set created_at = created_at - interval '2 minutes'")
    found = finding(run, "schedules")
    assert found["verdict"] == "warning"
    assert {row["key"]: row["why"] for row in found["rows"]} == {
        "bad": "no such zone",
        "dropped": "no live worker declares it any more",
        "other": "no live worker knows unknown",
    }
    database.execute("update perdure.workers set schedules = '{dropped}', names = '{a,unknown}'")
    database.execute("select perdure.delete_schedule('bad')")
    assert finding(run, "schedules")["verdict"] == "ok"


def test_a_lane_that_needs_what_nobody_has_is_named(run: Run, database: Database) -> None:
    add_worker(database, "w")
    database.execute(
        "insert into perdure.task_types (name) values ('a');"
        "insert into perdure.lanes (queue, name, requires) values ('default', 'a', '{gpu}')"
    )
    database.execute(
        "insert into perdure.tasks (name, requires, created_at)"
        "values ('a', '{gpu}', now() - interval '1 hour')"
    )
    (row,) = finding(run, "unserved tasks")["rows"]
    assert row["why"] == "no live worker satisfies gpu"


def test_a_silent_worker_and_one_with_a_problem_are_named(run: Run, database: Database) -> None:
    add_worker(database, "one", problem="reload refused")
    assert "reload refused" in finding(run, "workers")["text"]
    add_worker(database, "second", silent=True)
    assert "second is silent" in finding(run, "workers")["text"]
    database.execute("delete from perdure.workers")
    add_worker(database, "third")
    assert finding(run, "workers")["verdict"] == "ok"


def test_an_installation_without_workers_is_told_to_start_one(run: Run) -> None:
    found = finding(run, "workers")
    assert (found["verdict"], found["text"]) == ("warning", "none runs")
    assert "perdure worker -A" in found["remedy"]
    assert "workers" in run("doctor", "--strict", code=1).err


def test_whoever_holds_an_old_snapshot_is_named(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding(run, "old snapshots")["verdict"] == "ok"
    with psycopg.connect(database.dsn, application_name="the holder") as holder:
        holder.execute("begin isolation level repeatable read")
        holder.execute("select 1 from perdure.tasks")
        monkeypatch.setattr("perdure.cli.doctor.HOLDER_SECONDS", 0.0)
        found = finding(run, "old snapshots")
        assert found["verdict"] == "warning"
        assert "the holder" in str(found["rows"])


def test_a_login_that_cannot_see_others_sessions_is_told_so_and_counts_them_all_the_same(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        login = stack.enter_context(new_login(database.dsn))
        run("grant", "worker", login)
        monkeypatch.setenv("PERDURE_DSN", as_login(database.dsn, login))
        for _ in range(5):
            stack.enter_context(psycopg.connect(database.dsn))
        found = finding(run, "old snapshots")
        assert found["verdict"] == "unknown"
        assert found["remedy"] == f'a superuser runs `grant pg_read_all_stats to "{login}"`'
        assert int(finding(run, "connections")["text"].split()[0]) > 5
        database.execute(f'grant pg_read_all_stats to "{login}"')
        assert finding(run, "old snapshots")["verdict"] == "ok"


def test_a_range_that_is_not_ready_in_time_is_told(run: Run, database: Database) -> None:
    assert finding(run, "ranges of ids")["verdict"] == "ok"
    database.execute("select setval('perdure.tasks_id_seq', 5000000000)")
    assert finding(run, "ranges of ids")["verdict"] == "problem"


def test_another_isolation_level_of_the_login_is_told_with_what_to_run(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_login(database.dsn) as login:
        run("grant", "worker", login)
        monkeypatch.setenv("PERDURE_DSN", as_login(database.dsn, login))
        assert finding(run, "isolation")["verdict"] == "ok"
        database.execute(
            f"alter role \"{login}\" set default_transaction_isolation = 'serializable'"
        )
        found = finding(run, "isolation")
        assert found["verdict"] == "warning"
        assert "serializable" in found["text"]


@pytest.mark.parametrize("role", ["worker", "reader", "operator"])
def test_what_a_login_may_not_ask_hides_nothing_else(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    with new_login(database.dsn) as login:
        run("enqueue", "a")
        database.execute(LOST, [[1]])
        run("grant", role, login)
        monkeypatch.setenv("PERDURE_DSN", as_login(database.dsn, login))
        found = verdicts(run)
        assert found["misplaced tasks"] == "problem"
        assert found["unserved tasks"] == "ok"
        unknown = {check for check, verdict in found.items() if verdict == "unknown"}
        hidden = {
            "worker": set[str](),
            "operator": {"orphans", "schedules", "ranges of ids"},
            "reader": {"orphans", "schedules", "workers", "connections", "ranges of ids"},
        }
        assert unknown == {"old snapshots"} | hidden[role]
        if role == "operator":
            assert run("doctor", "--repair", "--json").json["repaired"] == [1]
        else:
            run("doctor", "--repair", code=1)
    monkeypatch.setenv("PERDURE_DSN", database.dsn)
    run("doctor", "--repair")


def test_without_a_schema_doctor_says_to_migrate(
    run: Run, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DSN", empty_database.dsn)
    assert "perdure migrate" in run("doctor", code=78).err


SERVER = Server(
    version="18.0",
    fsync=True,
    full_page_writes=True,
    synchronous_commit="on",
    synchronous=False,
    standbys=0,
    autovacuum=True,
    freeze_age_max=200_000_000,
    xid_age=5,
    mxid_age=5,
    connections_most=100,
    connections_reserved=3,
    connections_used=10,
    notify_usage=0.0,
    isolation="read committed",
    login_isolation=None,
    login="me",
    sees_all=True,
)


@pytest.mark.parametrize(
    ("changes", "durability"),
    [
        ({}, "single"),
        ({"standbys": 1}, "async-replicated"),
        ({"standbys": 1, "synchronous": True}, "replicated"),
        ({"standbys": 1, "synchronous": True, "synchronous_commit": "local"}, "async-replicated"),
        ({"synchronous_commit": "off", "standbys": 1, "synchronous": True}, "unsafe"),
        ({"fsync": False}, "unsafe"),
        ({"full_page_writes": False}, "unsafe"),
    ],
    ids=str,
)
def test_durability_has_four_classes(changes: dict[str, Any], durability: str) -> None:
    assert SERVER._replace(**changes).durability == durability


def test_connections_of_all_live_workers_must_fit() -> None:
    assert connections(SERVER, live=8, each=11).verdict == "ok"
    assert connections(SERVER, live=9, each=11).verdict == "problem"
    assert connections(SERVER._replace(connections_used=95), live=1, each=11).verdict == "warning"
