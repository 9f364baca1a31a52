"""Changing what was asked of a task: by id, by its key, by filter; and running it now."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from tests.integration.test_instances import limit
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.logins import Logins, logins_of

ASKED = """
    select metadata ->> 'n', queue, priority, tags, requires, headers, max_retries, retry_delays,
        expires_at::text, deadline_at::text
    from perdure.tasks where id = %s
"""
ALL = """
    queue => 'q', priority => 1, tags => '{x,y}', requires => '{c}', headers => '{"h": null}',
    max_retries => 7, retry_delays => '{1,2.5}', expires_at => '2100-01-01Z',
    deadline_at => '2100-01-02Z'
"""
WHOLE = ("2", "q", 1, ["x", "y"], ["c"], {"h": None}, 7, [1.0, 2.5], "2100-01-01", "2100-01-02")
HOUR, YEAR = "extract(epoch from {} - clock_timestamp()) / 3600", "2100-01-01Z"


def enqueue(database: Database, more: str = "") -> int:
    """A task with n = 1."""
    call = f"""perdure.enqueue('a', '{{"n": 1}}'{more})"""
    return int(database.value(f"select task_id from {call}"))


def wait_for(database: Database, reason: str, due: str | None = YEAR) -> int:
    """A task that waits for this reason."""
    task_id = enqueue(database)
    database.execute("delete from perdure.ready where task_id = %s", [task_id])
    database.execute(
        "insert into perdure.waiting (task_id, reason, due_at) values (%s, %s, %s)",
        [task_id, reason, due],
    )
    return task_id


def update(database: Database, task_id: int, arguments: str) -> str:
    text = f"select perdure.update_task({task_id}, {arguments})"
    return str(database.value(text))


def asked(database: Database, task_id: int) -> tuple[Any, ...]:
    database.execute("set timezone = 'UTC'")
    row = database.rows(ASKED, [task_id])[0]
    return tuple(v.removesuffix(" 00:00:00+00") if isinstance(v, str) else v for v in row)


def hours(database: Database, task_id: int) -> float:
    """From now to the time that the task waits for."""
    text = HOUR.format("due_at")
    return float(
        database.value(f"select {text} from perdure.waiting where task_id = %s", [task_id])
    )


def befores(database: Database, task_id: int) -> list[dict[str, Any]]:
    text = "select details -> 'before' from perdure.audit where task_id = %s order by id"
    return [before for (before,) in database.rows(text, [task_id])]


def test_an_update_changes_what_is_given_and_keeps_the_rest(database: Database) -> None:
    task_id = enqueue(database)
    assert update(database, task_id, f"""metadata => '{{"n": 2}}', {ALL}""") == "applied"
    assert asked(database, task_id) == WHOLE
    (before,) = befores(database, task_id)
    assert before.pop("metadata") == {"n": 1}
    assert before == dict.fromkeys(before)
    assert len(before) == len(WHOLE) - 1

    assert update(database, task_id, "priority => 0") == "applied"
    assert asked(database, task_id) == (*WHOLE[:2], 0, *WHOLE[3:])
    assert befores(database, task_id)[1:] == [{"priority": 1}]
    assert update(database, task_id, "priority => 0, tags => '{x,y}'") == "applied"
    assert len(befores(database, task_id)) == 2, "nothing was changed"

    cleared = (
        "{queue,priority,tags,requires,headers,max_retries,retry_delays,expires_at,deadline_at}"
    )
    assert update(database, task_id, f"clear => '{cleared}'") == "applied"
    assert asked(database, task_id) == ("2", *[None] * 9)
    database.check()


def test_an_update_by_key_leaves_the_row_as_if_it_had_been_enqueued_so(database: Database) -> None:
    key = ", unique_key => 'k', unique_policy => 'update'"
    task_id = enqueue(database, key)
    database.execute("insert into perdure.progress (task_id, failures, execution_metadata)"
                     " values (%s, 2, '{\"page\": 7}')", [task_id])  # fmt: skip
    created = database.value("select created_at from perdure.tasks")
    assert enqueue(database, f"""{key}, {ALL}, execution_metadata => '{{"page": 0}}'""") == task_id
    assert asked(database, task_id) == ("1", *WHOLE[1:])
    assert enqueue(database, key) == task_id
    assert asked(database, task_id) == ("1", *[None] * 9)
    same = database.rows("select created_at, failures, execution_metadata from perdure.task(%s)",
                         [task_id])  # fmt: skip
    assert same == [(created, 2, {"page": 7})]


def test_a_ready_task_is_at_once_in_the_lane_and_at_the_time_of_its_row(
    database: Database,
) -> None:
    database.execute(
        "select perdure.register_types(%s)",
        ['[{"name": "a", "queue": "default", "priority": 5, "requires": []}]'],
    )
    task_id = enqueue(database)
    place = """
        select l.queue, r.priority from perdure.ready as r
        left join perdure.lanes as l on l.id = r.lane and l.id <> 0
    """
    assert database.rows(place) == [("default", 5)]
    assert update(database, task_id, "priority => 2") == "applied"
    assert database.rows(place) == [("default", 2)]
    assert update(database, task_id, "queue => 'far'") == "applied"
    assert database.rows(place) == [(None, 2)], "no lane leads there yet"
    assert update(database, task_id, "delay => '2 h'") == "applied"
    assert database.rows(place) == []
    assert hours(database, task_id) == pytest.approx(2, abs=0.1)
    assert update(database, task_id, "run_at => '2020-01-01Z'") == "applied"
    assert database.rows(place) == [(None, 2)]


@pytest.mark.parametrize(
    ("reason", "runs_as"),
    [("delay", "first"), ("retry", "retry"), ("proceeded", "proceeded"),
     ("interruption", "interruption"), ("newer_checkpoint", "first")],
)  # fmt: skip
def test_a_time_moves_what_waits_for_one(database: Database, reason: str, runs_as: str) -> None:
    moved, hastened = wait_for(database, reason), wait_for(database, reason)
    state = "select state, reason from perdure.task(%s)"
    (before,) = database.rows(state, [moved])
    assert update(database, moved, "delay => '3 h'") == "applied"
    assert database.rows(state, [moved]) == [before]
    assert hours(database, moved) == pytest.approx(3, abs=0.1)
    assert update(database, moved, "delay => '0'") == "applied"
    assert database.value("select perdure.run_now(%s)", [hastened]) == "hastened"
    for task_id in (moved, hastened):
        assert database.rows(state, [task_id]) == [("pending", runs_as)]
    assert database.value("select perdure.run_now(%s)", [hastened]) == "not_waiting"
    database.check()


def test_no_time_moves_what_waits_for_something_else(database: Database) -> None:
    by_hand.worker(database)
    suspended, until = wait_for(database, "suspended", None), wait_for(database, "suspended")
    first, ended = enqueue(database, ", unique_key => 'k'"), enqueue(database)
    by_hand.lease(database, first)
    behind = enqueue(database, ", unique_key => 'k', unique_policy => 'append', delay => '1 h'")
    database.execute("select perdure.cancel(%s)", [ended])
    states = "select id, state, due_at from perdure.task_states order by id"
    before = database.rows(states)
    for task_id, answer in ((suspended, "not_applied"), (until, "not_applied"),
                            (first, "not_applied"), (ended, "not_applied"),
                            (10**12, "not_found")):  # fmt: skip
        assert update(database, task_id, "delay => '0'") == answer
        call = database.value("select perdure.run_now(%s)", [task_id])
        assert call == ("not_found" if answer == "not_found" else "not_waiting")
    assert database.value("select perdure.run_now(%s)", [behind]) == "not_waiting"
    assert database.rows(states) == before
    assert update(database, suspended, "priority => 0, delay => '0'") == "applied"
    assert update(database, behind, "delay => '2 h'") == "applied"
    assert hours(database, behind) == pytest.approx(2, abs=0.1)
    assert update(database, behind, "delay => '0'") == "applied"
    waits = "select state, waiting_for from perdure.task(%s)"
    assert database.value(waits, [behind]) == "blocked"
    database.check()


def test_a_debounce_is_bounded_from_the_creation_on(database: Database) -> None:
    said = ", unique_key => 'k', unique_policy => 'update', delay => '2 h', max_delay => '3 h'"
    task_id = enqueue(database, said)
    passed = """
        update perdure.tasks set created_at = created_at - interval '90 min';
        update perdure.waiting set due_at = due_at - interval '90 min'
    """
    assert hours(database, task_id) == pytest.approx(2, abs=0.1)
    database.execute(passed)
    assert enqueue(database, said) == task_id
    assert hours(database, task_id) == pytest.approx(1.5, abs=0.1)
    database.execute(passed)
    assert enqueue(database, said) == task_id
    assert database.value("select state from perdure.task(%s)", [task_id]) == "pending"
    assert hours(database, enqueue(database, said.replace("'k'", "'l'").replace("2 h", "9 h"))) == (
        pytest.approx(3, abs=0.1)
    )


REFUSED = [
    ("id => 1", "nothing to change"),
    ("1, clear => '{}'", "nothing to change"),
    ("1, clear => '{metadata}'", "clear names arguments"),
    ("1, clear => '{name}'", "clear names arguments"),
    ("1, clear => '{queue}', queue => 'q'", "clear names arguments"),
    ("1, metadata => '[]'", "metadata must be a JSON object"),
    ("1, metadata => 'null'", "metadata must be a JSON object"),
    ("1, priority => 10", "priority must be 0 to 9"),
    ("1, queue => '*'", "queue is not valid"),
    ("1, tags => '{\"\"}'", "tags: at most 32"),
    ("1, delay => '1 h', run_at => '2100-01-01Z'", "exclude each other"),
    ("1, delay => '-1 s'", "delay must lie between"),
    ("1, run_at => 'infinity'", "run_at must lie"),
    ("1, expires_at => '1999-01-01Z'", "expires_at must lie"),
]


def test_a_bad_change_is_refused_before_anything_is_changed(database: Database) -> None:
    task_id = enqueue(database)
    row = "select to_jsonb(t) from perdure.tasks as t"
    before = database.rows(row)
    for arguments, message in REFUSED:
        with pytest.raises(psycopg.Error, match=message) as refused:
            database.value(f"select perdure.update_task({arguments.replace('1', str(task_id), 1)})")
        assert refused.value.sqlstate == "PD004"
    large = "jsonb_build_object('x', repeat('x', 2000000))"
    with pytest.raises(psycopg.Error, match="metadata is larger") as too_large:
        update(database, task_id, f"metadata => {large}")
    assert too_large.value.sqlstate == "PD002"
    assert database.rows(row) == before
    assert befores(database, task_id) == []


@pytest.fixture
def logins(database: Database) -> Any:
    with logins_of(database) as made:
        yield made


def test_a_producer_changes_its_own_tasks_only(logins: Logins) -> None:
    own = logins.value("producer", "select task_id from perdure.enqueue('a', delay => '1 h')")
    calls = (f"update_task({own}, priority => 1)", f"run_now({own})")
    for call in calls:
        assert logins.value("other producer", f"select perdure.{call}") == "not_found"
    assert [logins.value("producer", f"select perdure.{call}") for call in calls] == [
        "applied", "hastened",
    ]  # fmt: skip
    for call in (*calls, "reschedule_where(name => 'a', delay => '1 h')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            logins.value("nobody", f"select perdure.{call}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        logins.value("producer", "select perdure.reschedule_where(name => 'a', delay => '1 h')")
    moved = logins.value("operator", "select perdure.reschedule_where(name => 'a', delay => '1 h')")
    assert moved == 1


@pytest.mark.conformance("C49")
def test_reschedule_where_moves_exactly_what_matches_and_waits_for_a_time(
    database: Database,
) -> None:
    by_hand.worker(database)
    tagged = [
        enqueue(database, ", tags => '{x}'"),
        enqueue(database, ", tags => '{x,y}', delay => '1 h'"),
    ]
    retrying, other = wait_for(database, "retry"), enqueue(database, ", tags => '{xx}'")
    suspended, running = wait_for(database, "suspended"), enqueue(database, ", tags => '{x}'")
    by_hand.lease(database, running)
    database.execute(
        "update perdure.tasks set tags = '{x}' where id = any (%s)", [[retrying, suspended]]
    )
    states = "select id, state, due_at from perdure.task_states order by id"
    before = database.rows(states)
    call = "select perdure.reschedule_where(tag => 'x', delay => '5 h'{})"
    assert database.value(call.format(", dry_run => true")) == 3
    assert database.value(call.format(", dry_run => null")) == 3
    assert database.rows(states) == before
    assert database.value(call.format("")) == 3
    for task_id in (*tagged, retrying):
        assert hours(database, task_id) == pytest.approx(5, abs=0.1)
    unmoved = {other, suspended, running}
    after = database.rows(states)
    assert [row for row in after if row[0] in unmoved] == [
        row for row in before if row[0] in unmoved
    ]
    assert dict(row[:2] for row in after)[tagged[0]] == "scheduled"
    only = "select perdure.reschedule_where(state => 'retrying', run_at => '2020-01-01Z')"
    assert database.value(only) == 1
    assert database.value("select state from perdure.task(%s)", [retrying]) == "pending"
    for arguments, message in (
        ("delay => '1 h'", "at least one filter"),
        ("tag => 'x'", "delay or run_at is needed"),
        ("tag => 'x', delay => '1 h', run_at => '2100-01-01Z'", "exclude each other"),
        ("state => 'running', delay => '1 h'", "state must be pending"),
        ("tag => 'x', run_at => 'infinity'", "run_at must lie"),
    ):
        with pytest.raises(psycopg.Error, match=message) as refused:
            database.value(f"select perdure.reschedule_where({arguments})")
        assert refused.value.sqlstate == "PD004"
    database.check()


def test_a_time_that_a_task_has_already_is_given_to_it_again(database: Database) -> None:
    limit(database, 1)
    add = "select task_id from perdure.enqueue(%s, run_at => %s)"
    update = "select perdure.update_task(%s, run_at => %s)"
    passed, ahead = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
    first, second, third, other = (
        database.value(add, [name, at])
        for name, at in (
            ("limited", passed),
            ("limited", passed),
            ("limited", ahead),
            ("free", ahead),
        )
    )
    for waiting in (third, other):
        assert database.value("select perdure.run_now(%s)", [waiting]) == "hastened"
    for task_id, at in ((second, passed), (third, ahead), (other, ahead)):
        assert database.value(update, [task_id, at]) == "applied"
    database.execute("select perdure.cancel(%s)", [first])
    states = dict(database.rows("select id, state || ' ' || reason from perdure.task_states"))
    assert states[second] == "pending first"
    assert states[third] == states[other] == "scheduled delay"
