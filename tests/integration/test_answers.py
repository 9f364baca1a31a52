"""What public SQL functions answer to arguments that are null, unknown, out of range, hostile."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.kit.databases import Database, Server, new_database

BIGGEST = 2**63 - 1


@pytest.fixture(scope="module")
def asked(server: Server, template: str) -> Iterator[Database]:
    """A database with a ready task (1), a completed (2), a failed (3) and a suspended one (4)."""
    with new_database(server, template) as database:
        database.execute(
            """
            insert into perdure.tasks (name) select 'a' from generate_series(1, 4);
            delete from perdure.ready where task_id > 1;
            insert into perdure.outcomes (task_id, attempt, state, started_at)
            values (2, 1, 'completed', now()), (3, 1, 'failed', now());
            insert into perdure.waiting (task_id, reason) values (4, 'suspended');
            """
        )
        yield database


NOBODY = [f"({n})" for n in ("null", "0", "-1", str(BIGGEST))]
ANSWERED: list[tuple[str, object]] = [
    *((f"{word}{who}", "not_found") for word in ("cancel", "retry", "proceed") for who in NOBODY),
    *((f"erase{who}", "not_found") for who in NOBODY),
    *((f"run_now{who}", "not_found") for who in NOBODY),
    *((f"update_task{who[:-1]}, priority => 1)", "not_found") for who in NOBODY),
    ("run_now(2)", "not_waiting"),
    ("update_task(2, priority => 1)", "not_applied"),
    ("reschedule_where(name => 'nobody', delay => '1 h')", 0),
    ("reschedule_where(name => 'a', delay => '1 h', dry_run => null)", 1),
    *((f"repeat{who}", None) for who in NOBODY),
    ("cancel(2)", "ended"),
    ("cancel(3)", "ended"),
    ("retry(1)", "live"),
    ("retry(2)", "completed"),
    ("retry(4, patch => '{}')", "live"),
    ("proceed(2)", "ended"),
    ("proceed(3, patch => '{}')", "ended"),
    ("proceed_waiting('nobody', keep_for => '0')", "not_found"),
    ("erase(1)", "live"),
    ("erase(4)", "live"),
    ("queue_depth('nobody')", 0),
    ("queue_depth('default')", 1),
    ("resume_queue('nobody')", "not_paused"),
    ("cancel_where(name => 'nobody')", 0),
    ("cancel_where(name => 'a', state => 'failed')", 0),
    ("cancel_where(name => 'a', dry_run => null)", 2),
    ("retry_where(name => 'nobody')", 0),
    ("retry_where(name => 'a', dry_run => null)", 1),
    ("retry_where(since => 'infinity')", 0),
    ("prune('1 h')", 0),
    *((f"drain_worker{who}", "not_found") for who in NOBODY),
    ("prune('0', dry_run => null)", 2),
    ("prune('0', '{failed}', true)", 1),
    ("prune('0', '{}')", 0),
]
LONG = "repeat('x', 501)"
REFUSED = {
    "patch must be a JSON object": [
        "proceed(4, patch => '[1]')", "proceed(4, patch => 'null')", "retry(3, patch => '5')",
        "proceed_waiting('k', patch => '\"x\"')",
    ],
    "execution_metadata must be a JSON object": [
        "proceed(4, execution_metadata => 'null')", "retry(3, execution_metadata => '[]')"
    ],
    "exclude each other": ["proceed(4, '{}', '{}')", "retry(3, '{}', '{}')"],
    "run_at must lie in the years 2000 to 9999": [
        "proceed(4, run_at => 'infinity')", "proceed(4, run_at => '1970-01-01')",
        "enqueue('a', run_at => '-infinity')",
    ],
    "signal_key must have 1 to 500 bytes": [
        "proceed(4, signal_key => '')", f"proceed(4, signal_key => {LONG})"
    ],
    "wait_key must have 1 to 500 bytes": [
        "proceed_waiting(null)", "proceed_waiting('')", f"proceed_waiting({LONG})"
    ],
    "keep_for must lie between 0 and a year": [
        "proceed_waiting('k', keep_for => null)", "proceed_waiting('k', keep_for => '-1 s')",
        "proceed_waiting('k', keep_for => '2 years')",
    ],
    "queue is not valid": [
        f"{word}({name})" for word in ("pause_queue", "resume_queue", "set_queue", "queue_depth")
        for name in ("null", "''", "repeat('q', 129)", r"E'a\nb'")
    ],
    "one queue": ["queue_depth('*')", "set_queue('*', 1)", "set_queue('q', -1)"],
    "at least one filter is needed": ["cancel_where()", "retry_where(state => null)"],
    "there is no such state": ["cancel_where(state => 'loud')"],
    "state must be failed or cancelled": ["retry_where(state => 'running')"],
    "older_than must be a length": ["prune(null)", "prune('-1 s')"],
    "states must be completed, failed or cancelled": [
        "prune('1 h', '{running}')", "prune('1 h', '{null}')"
    ],
    "tags: at most 32": ["enqueue('a', tags => '{{a},{b}}')", "enqueue('a', tags => '{null}')"],
    "requires: at most 32": ["enqueue('a', requires => '{{a},{b}}')"],
    "retry_delays: 1 to 100 numbers": [
        "enqueue('a', retry_delays => '{{1},{2}}')", "enqueue('a', retry_delays => '{nan}')"
    ],
}  # fmt: skip


def state(database: Database) -> list[tuple[object, ...]]:
    """Whatever a call might have changed."""
    tables = ("ready", "waiting", "outcomes", "progress", "mail", "queues", "tasks", "edges")
    return [
        row for table in tables
        for row in database.rows(f"select t::text from perdure.{table} as t order by 1")
    ]  # fmt: skip


@pytest.mark.parametrize(("call", "answer"), ANSWERED)
def test_a_call_that_can_do_nothing_says_so(asked: Database, call: str, answer: object) -> None:
    before = state(asked)
    assert asked.value(f"select * from perdure.{call}") == answer
    assert state(asked) == before


@pytest.mark.parametrize("call", [f"{word}{who}" for word in ("task", "history") for who in NOBODY])
def test_an_unknown_task_has_no_rows(asked: Database, call: str) -> None:
    assert asked.rows(f"select * from perdure.{call}") == []


@pytest.mark.parametrize(
    ("call", "message"), [(call, message) for message, calls in REFUSED.items() for call in calls]
)
def test_what_is_not_acceptable_is_refused_with_a_hint(
    asked: Database, call: str, message: str
) -> None:
    before = state(asked)
    with pytest.raises(psycopg.Error, match=message) as refused:
        asked.rows(f"select * from perdure.{call}")
    assert refused.value.sqlstate == "PD004"
    assert refused.value.diag.message_hint
    assert state(asked) == before


@pytest.mark.parametrize(
    "call",
    [
        "fence(null, null)", "fence(gen_random_uuid(), 1)", "fence(gen_random_uuid(), -1)",
        "checkpoint(null, null, null, null, null)", "complete(null, null, null, null)",
    ],
)  # fmt: skip
def test_a_lease_that_nobody_has_is_lost(asked: Database, call: str) -> None:
    with pytest.raises(psycopg.Error, match="the lease no longer holds task") as refused:
        asked.rows(f"select perdure.{call}")
    assert refused.value.sqlstate == "PD001"


def test_a_pause_that_does_not_say_whether_to_stop_runs_stops_none(database: Database) -> None:
    assert database.value("select perdure.pause_queue('q', stop_running => null)") == "paused"
    assert database.value("select perdure.pause_queue('q')") == "already_paused"
    assert database.rows("select name, stop_running from perdure.queues") == [("q", False)]
    assert database.value("select perdure.resume_queue('q')") == "resumed"
