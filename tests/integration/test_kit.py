"""The kit: databases that are the test's own, invariants that are asked, cuts that find theirs."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from tests.invariants import ALWAYS, AT_THE_END
from tests.kit.databases import Database, Server, new_database
from tests.kit.fleet import until
from tests.kit.proxy import Where, proxied


def test_a_new_schema_breaks_no_invariant_and_has_nothing_left_over(database: Database) -> None:
    assert database.rows("select * from perdure.tasks") == []
    database.check_drained()


def test_each_test_has_a_database_of_its_own(
    server: Server, template: str, database: Database
) -> None:
    database.execute("insert into perdure.settings (key, value) values ('mine', '1')")

    with new_database(server, template) as other:
        assert other.value("select value from perdure.settings where key = 'mine'") is None
    assert database.value("select value from perdure.settings where key = 'mine'") == 1


def test_an_empty_database_has_no_schema_and_is_gone_afterwards(server: Server) -> None:
    with new_database(server) as empty, new_database(server) as other:
        assert empty.value("select to_regnamespace('perdure')") is None
        empty.check()
        known = "select exists (select from pg_database where datname = %(name)s::text)"
        assert other.value(known, {"name": empty.name})
    with new_database(server) as later:
        assert not later.value(known, {"name": empty.name})


def test_a_lost_task_is_noticed(database: Database) -> None:
    database.execute("insert into perdure.tasks (name) values ('a'), ('b')")
    database.execute(
        "delete from perdure.ready where task_id = (select min(id) from perdure.tasks)"
    )

    with pytest.raises(AssertionError, match="every task is in exactly one place"):
        database.check()
    database.expected_violations = {"every task is in exactly one place"}


def test_a_violation_that_was_announced_has_to_come(database: Database) -> None:
    database.expected_violations = {"a task is held once"}

    with pytest.raises(AssertionError, match="should have broken"):
        database.check()
    database.expected_violations = set()


def test_what_is_left_over_is_noticed(database: Database) -> None:
    database.execute("insert into perdure.tasks (name) values ('a')")

    with pytest.raises(AssertionError, match="nothing is ready"):
        database.check_drained()


# What breaks each question, most of it behind the back of every function.
PLANTED = {
    "every task is in exactly one place": "delete from perdure.ready",
    "a task ends as completed, failed or cancelled": """
        insert into perdure.outcomes (task_id, attempt, state) values (1, 0, 'odd')""",
    "a task is held once": """
        insert into perdure.leases (id, worker_id, task_ids)
        values (gen_random_uuid(), 7, '{1, 1}')""",
    "a lease belongs to a worker": """
        insert into perdure.leases (id, worker_id, task_ids)
        values (gen_random_uuid(), 7, '{}')""",
    "a lease holds at most 64 tasks": """
        insert into perdure.leases (id, worker_id, task_ids)
        select gen_random_uuid(), 7, array_agg(i) from generate_series(1, 65) as i""",
    "a ready task has a lane that exists": "update perdure.ready set lane = 99",
    "a ready task has a priority from 0 to 9": "update perdure.ready set priority = 10",
    "the number of a run is used once": """
        insert into perdure.outcomes (task_id, attempt, state, started_at)
        values (1, 1, 'completed', now());
        insert into perdure.attempts (task_id, attempt, kind) values (1, 1, 'failure')""",
    "a run that was recorded is counted": """
        insert into perdure.attempts (task_id, attempt, kind) values (1, 1, 'failure');
        insert into perdure.progress (task_id, attempt) values (1, 0)""",
    "no more failures than the task's own policy allows": """
        update perdure.tasks set max_retries = 1;
        insert into perdure.progress (task_id, failures) values (1, 2)""",
    "no more crashes than max_crashes": """
        insert into perdure.progress (task_id, crashes) values (1, 11)""",
    "no counter is negative": "insert into perdure.progress (task_id, failures) values (1, -1)",
    "blockers counts the open edges": """
        insert into perdure.waiting (task_id, reason, due_at, blockers)
        values (1, 'delay', now(), 1)""",
    "a task with an open edge waits": "insert into perdure.edges (task_id, after_id) values (1, 2)",
    "a waiting task waits for something": """
        insert into perdure.waiting (task_id, reason) values (1, 'delay')""",
    "one live task of a unique key at most is outside waiting": """
        insert into perdure.tasks (name) values ('b');
        update perdure.tasks set unique_key = 'k'""",
    "a unique key names a task that has it": """
        insert into perdure.unique_keys (key, task_id) values ('k', 1)""",
    "nothing is ready": "select",
    "nothing is leased": """
        insert into perdure.leases (id, worker_id, task_ids)
        values (gen_random_uuid(), 7, '{}')""",
    "nothing is due": """
        insert into perdure.waiting (task_id, reason, due_at) values (1, 'delay', now())""",
    "an ended task has no mail": """
        insert into perdure.outcomes (task_id, attempt, state) values (1, 0, 'cancelled');
        insert into perdure.mail (task_id, kind) values (1, 'cancel')""",
    "nobody waits for an ended task": """
        insert into perdure.outcomes (task_id, attempt, state) values (1, 0, 'cancelled');
        insert into perdure.edges (task_id, after_id) values (2, 1)""",
    "an ended task was run as often as its history says": """
        insert into perdure.outcomes (task_id, attempt, state, started_at)
        values (1, 3, 'completed', now())""",
    "a live task was run as often as its history says": """
        insert into perdure.progress (task_id, attempt) values (1, 1)""",
    "only a failure is counted as one": """
        insert into perdure.attempts (task_id, attempt, kind) values (1, 1, 'interruption');
        insert into perdure.progress (task_id, attempt, failures) values (1, 1, 1)""",
    "a schedule makes one task for an instant": """
        update perdure.tasks set schedule_key = 's', fire_at = 'epoch';
        insert into perdure.tasks (name, schedule_key, fire_at) values ('a', 's', 'epoch')""",
    "what fired has its task, for that instant": """
        insert into perdure.fires (schedule_key, fire_at, fate, task_id)
        values ('s', 'epoch', 'fired', 1)""",
    "who is followed has a mark or a letter that says so": """
        insert into perdure.edges (task_id, after_id) values (2, 1)""",
    "a task in a chain waits only for what it follows": """
        insert into perdure.edges (task_id, after_id, kind) values (2, 1, 'after')""",
    "who waits for an instance waits for nothing else": """
        insert into perdure.waiting (task_id, reason, due_at, instance_key)
        values (1, 'instances', now(), 'a')""",
    "who holds an instance is ready or running": """
        insert into perdure.instances (key, number, task_id) values ('a', 1, 2)""",
    "who is ready or running from a lane with a limit holds an instance": """
        insert into perdure.lanes (queue, name, requires, limited)
        values ('default', 'a', '{}', true);
        update perdure.ready set lane = (select max(id) from perdure.lanes)""",
    "nobody waits for a free instance unless somebody is to look": """
        insert into perdure.task_types (name, max_instances) values ('a', 1);
        insert into perdure.waiting (task_id, reason, instance_key) values (1, 'instances', 'a')""",
    "an alarm is of a task that is known": """
        insert into perdure.alarms (task_id, at, kind) values (2, now(), 'expire')""",
    "a live task whose expiry or deadline lies ahead has an alarm for it": """
        update perdure.tasks set expires_at = now() + interval '1 hour'""",
    "nobody waits for an instance": """
        insert into perdure.waiting (task_id, reason, instance_key) values (1, 'instances', 'a')""",
    "nobody holds an instance": """
        insert into perdure.instances (key, number, task_id) values ('a', 1, 1)""",
}
# The primary key of outcomes makes the second ending impossible; the question is for its absence.
KEPT_BY_THE_TABLE = {"a task ends once"}


def test_every_question_but_those_kept_by_a_table_is_planted() -> None:
    assert {name for name, _ in (*ALWAYS, *AT_THE_END)} == PLANTED.keys() | KEPT_BY_THE_TABLE


@pytest.mark.parametrize("name", PLANTED)
def test_each_question_notices_what_it_is_for(server: Server, template: str, name: str) -> None:
    with new_database(server, template) as broken:
        broken.execute("insert into perdure.tasks (name) values ('a')")
        assert broken.value("select id from perdure.tasks") == 1
        broken.execute(PLANTED[name])

        assert name in broken.violations((*ALWAYS, *AT_THE_END))


EVERYWHERE: tuple[Where, ...] = ("request", "reply", "inside")


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_cut_finds_a_statement_that_was_prepared_before(
    empty_database: Database, where: Where
) -> None:
    empty_database.execute("create table noted (n int, said text)")
    # The first proxy delivers bytes one by one: messages come to the second in pieces.
    with proxied(empty_database.dsn) as proxy, proxied(proxy.dsn) as slow:
        with psycopg.connect(slow.dsn, autocommit=True, prepare_threshold=0) as connection:
            slow.trickle = True
            note = "insert into noted values (%s, %s)"
            for n in range(3):
                connection.execute(note, (n, "three"))
            assert connection.execute("select from pg_prepared_statements").rowcount > 0
            proxy.cut(b"three")
            connection.execute(note, (3, "three"))
            assert proxy.cuts == 0
            proxy.cut(b"into noted", where=where)
            with pytest.raises(psycopg.OperationalError):
                connection.execute(note, (4, "four"))
        assert proxy.cuts == 1
    assert empty_database.value("select max(n) from noted") == (3 if where == "request" else 4)


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize("words", [b"into noted", b"COMMIT"])
def test_a_cut_finds_a_plain_query_and_a_commit(
    empty_database: Database, words: bytes, where: Where
) -> None:
    empty_database.execute("create table noted (n int)")
    with proxied(empty_database.dsn) as proxy:
        proxy.cut(words, where=where)
        with pytest.raises(psycopg.OperationalError), psycopg.connect(proxy.dsn) as connection:
            connection.execute("insert into noted values (1)")
        assert proxy.cuts == 1
    committed = words == b"COMMIT" and where != "request"
    assert empty_database.value("select count(*) from noted") == committed


def test_a_proxy_keeps_no_socket_of_a_connection_that_is_over(empty_database: Database) -> None:
    with proxied(empty_database.dsn) as proxy:
        before = descriptors()
        for _ in range(5):
            with psycopg.connect(proxy.dsn) as connection:
                connection.execute("select 1")
        assert proxy.accepted == 5
        until(lambda: descriptors() <= before)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
