"""Attempts to do more than was granted, and what each kind of login is there for."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import errors
from tests.kit.databases import Database, Server, new_database
from tests.kit.logins import KINDS, Logins, logins_of


@pytest.fixture
def logins(database: Database) -> Iterator[Logins]:
    with logins_of(database) as made:
        yield made


@pytest.fixture(scope="module")
def refused(server: Server, template: str) -> Iterator[Logins]:
    """Logins of a database in which nothing can be changed by what they try."""
    with new_database(server, template) as database, logins_of(database) as made:
        database.execute("insert into perdure.tasks (name) values ('a')")
        yield made


EVERYBODY = (
    "set role postgres",
    "set session authorization postgres",
    "set session_replication_role = replica",
    "grant select on perdure.tasks_default to public",
    "alter schema perdure rename to mine",
    "insert into perdure.access (role, login) values ('operator', session_user)",
    "update perdure.settings set value = '1'",
    "create table perdure.mine ()",
    "create function perdure.mine() returns int language sql return 1",
    "create trigger mine after insert on perdure.tasks execute function perdure.admit()",
    "alter table perdure.tasks disable trigger admit",
    "alter table perdure.tasks_default disable trigger all",
    "drop table perdure.tasks_default",
    "alter function perdure.admit() security invoker",
    "insert into perdure.tasks_default (name) values ('a')",
    "insert into perdure.tasks (id, name) values (7, 'a')",
    "insert into perdure.tasks (name, unique_key) values ('a', 'k')",
    "insert into perdure.tasks (name, enqueued_by) values ('a', 'somebody')",
    "insert into perdure.tasks (name, created_at) values ('a', now())",
    "copy perdure.tasks (id, name) from stdin",
    "select setval('perdure.tasks_id_seq', 1)",
    "insert into perdure.ready (lane, priority, task_id) values (0, 5, 1)",
    "insert into perdure.waiting (task_id, reason) values (1, 'delay')",
    "insert into perdure.audit (action) values ('erase')",
    "select perdure.take_out(1, 'ready')",
    "update perdure.tasks set name = 'b'",
    "delete from perdure.tasks",
    "truncate perdure.tasks",
    "update perdure.outcomes set state = 'failed'",
    "delete from perdure.outcomes",
    "truncate perdure.outcomes",
    "delete from perdure.attempts",
    "delete from perdure.audit",
    "truncate perdure.audit",
)
PRODUCER = (
    "select name from perdure.tasks",
    "select metadata from perdure.tasks",
    "insert into perdure.tasks (name) values ('a') returning *",
    "select 1 from perdure.ready",
    "delete from perdure.ready",
    "select 1 from perdure.waiting",
    "update perdure.waiting set due_at = now()",
    "select id from perdure.leases",
    "delete from perdure.leases",
    "select 1 from perdure.progress",
    "insert into perdure.mail (task_id, kind) values (1, 'cancel')",
    "select 1 from perdure.outcomes",
    "select 1 from perdure.access",
    "select 1 from perdure.settings",
    "select perdure.place('{1}')",
    "select perdure.pause_queue('imports')",
    "select perdure.erase(1)",
    "select perdure.cancel_where(name => 'a')",
    "select perdure.prune('0')",
    "select perdure.drain_worker(1)",
)
READER = (
    "insert into perdure.tasks (name) values ('a')",
    "select 1 from perdure.tasks",
    "select id from perdure.leases",
    "explain analyze select result, error from perdure.outcomes",
    "select execution_metadata from perdure.progress",
    "select perdure.enqueue('a')",
    "select perdure.task(1)",
    "select perdure.cancel(1)",
    "select perdure.pause_queue('imports')",
    "select 1 from perdure.access",
)
OPERATOR = (
    "insert into perdure.tasks (name) values ('a')",
    "select metadata from perdure.tasks",
    "select id from perdure.leases",
    "select result from perdure.outcomes",
    "update perdure.queues set paused_at = null",
    "select perdure.place('{1}')",
)


@pytest.mark.parametrize(
    "kind, attempt",
    [(kind, attempt) for kind in KINDS for attempt in EVERYBODY]
    + [("producer", attempt) for attempt in PRODUCER]
    + [("reader", attempt) for attempt in READER]
    + [("operator", attempt) for attempt in OPERATOR],
)
def test_an_attempt_to_do_more_than_was_granted_is_refused(
    refused: Logins, kind: str, attempt: str
) -> None:
    before = refused.database.rows("select id from perdure.tasks")
    with pytest.raises(errors.InsufficientPrivilege):
        refused.as_(kind).execute(attempt.encode())
    assert refused.database.rows("select id from perdure.tasks") == before


@pytest.mark.parametrize("column", ["metadata", "execution_metadata", "result", "error", "headers"])
def test_the_view_of_tasks_has_no_column_with_what_tasks_carry(
    refused: Logins, column: str
) -> None:
    with pytest.raises(errors.UndefinedColumn):
        refused.as_("reader").execute(f"select {column} from perdure.task_states".encode())


def test_a_reader_sees_states_and_depths(refused: Logins) -> None:
    states = refused.as_("reader").execute(
        "select name, state, waiting_for from perdure.task_states"
    )
    assert states.fetchall() == [("a", "pending", "no live worker knows a")]
    assert refused.value("reader", "select count(*) from perdure.queue_states") == 1
    assert refused.value("reader", "select count(*) from perdure.misplaced_tasks") == 0
    assert refused.value("reader", "select perdure.queue_depth('default')") == 1


def test_a_producer_may_insert_copy_and_enqueue_and_hears_the_id(logins: Logins) -> None:
    producer = logins.as_("producer")
    inserted = logins.value(
        "producer", "insert into perdure.tasks (name, metadata) values ('a', '{}') returning id"
    )
    with (
        producer.cursor() as cursor,
        cursor.copy("copy perdure.tasks (name, metadata) from stdin") as copy,
    ):
        copy.write_row(("b", "{}"))
    enqueued = logins.value("producer", "select task_id from perdure.enqueue('c')")
    rows = logins.database.rows("select id, name, enqueued_by from perdure.tasks order by id")
    login = logins.names["producer"]
    assert [row[1:] for row in rows] == [("a", login), ("b", login), ("c", login)]
    assert (rows[0][0], rows[2][0]) == (inserted, enqueued)


@pytest.mark.parametrize("action", ["cancel", "retry", "proceed"])
def test_another_producers_task_is_as_unknown_as_no_task(logins: Logins, action: str) -> None:
    task = logins.value("producer", "select task_id from perdure.enqueue('a')")
    call = f"select perdure.{action}(%s)"
    assert logins.value("other producer", call, task) == "not_found"
    assert logins.value("other producer", call, task + 1) == "not_found"
    assert logins.value("other producer", "select count(*) from perdure.task(%s)", task) == 0
    assert logins.value("producer", call, task) != "not_found"
    assert logins.value("operator", call, task) != "not_found"


@pytest.mark.parametrize("kind", ["producer", "worker"])
@pytest.mark.parametrize(
    "call",
    [
        "fence(%(lease)s::uuid, %(task)s::bigint)",
        "checkpoint(%(lease)s::uuid, %(task)s::bigint, 1, 0, '{}')",
        "complete(%(lease)s::uuid, %(task)s::bigint, 1, '{}')",
    ],
)
def test_a_fenced_call_needs_the_lease_that_holds_the_task(
    logins: Logins, kind: str, call: str
) -> None:
    logins.database.execute("insert into perdure.tasks (name) values ('held'), ('other')")
    held, other = (
        row[0] for row in logins.database.rows("select id from perdure.tasks order by id")
    )
    lease, unknown = UUID(int=1), UUID(int=2)
    logins.database.execute("delete from perdure.ready where task_id = %s", (held,))
    logins.database.execute(
        "insert into perdure.workers (id, name, host, pid, version, lease_seconds) "
        "values (1, 'w', 'h', 1, '1', 10)"
    )
    logins.database.execute(
        "insert into perdure.leases (id, worker_id, task_ids) values (%s, 1, %s)", (lease, [held])
    )
    for wrong_lease, task in [(unknown, held), (lease, other)]:
        with pytest.raises(psycopg.Error) as raised:
            logins.as_(kind).execute(
                f"select perdure.{call}".encode(), {"lease": wrong_lease, "task": task}
            )
        assert raised.value.sqlstate == "PD001"
    for table in ("progress", "outcomes", "attempts"):
        assert logins.database.value(f"select count(*) from perdure.{table}") == 0
    assert logins.database.rows("select task_ids from perdure.leases") == [([held],)]


def test_what_an_operator_does_is_audited_under_its_own_login(logins: Logins) -> None:
    logins.as_("operator").execute("select perdure.pause_queue('imports')")
    assert logins.database.rows("select distinct actor from perdure.audit") == [
        (logins.names["operator"],)
    ]


def test_what_changes_a_schedule_is_audited_and_what_changes_nothing_is_not(
    logins: Logins,
) -> None:
    put = "select perdure.put_schedule('s', 'a', every => '1 hour'"
    for call in (
        f"{put})",
        f"{put})",  # unchanged
        f"{put}, policy => 'keep')",
        f"{put}, priority => 1)",
        f"{put}, policy => 'replace')",
        "select perdure.override_next('s', '2031-01-01 00:00+00')",
        "select perdure.override_next('s', null)",
        "select * from perdure.run_schedule('s')",
        "select * from perdure.run_schedule('s')",
        "select * from perdure.run_schedule('s', force => true)",
        "select perdure.pause_schedule('s')",
        "select perdure.resume_schedule('s')",
        "select perdure.delete_schedule('s')",
        "select perdure.delete_schedule('s')",
        "select perdure.override_next('s', null)",
        "select * from perdure.run_schedule('s')",
    ):
        logins.as_("operator").execute(call.encode())
    audited = logins.database.rows(
        """
        select action, details ->> 'answer', actor, details ->> 'key' from perdure.audit order by id
        """
    )
    assert [(action, answer) for action, answer, *_ in audited] == [
        ("put_schedule", "created"),
        ("put_schedule", "updated"),
        ("put_schedule", "replaced"),
        ("override_next", None),
        ("override_next", None),
        ("run_schedule", "fired"),
        ("run_schedule", "skipped"),
        ("run_schedule", "fired"),
        ("pause_schedule", None),
        ("resume_schedule", None),
        ("delete_schedule", None),
    ]
    assert {(actor, key) for *_, actor, key in audited} == {(logins.names["operator"], "s")}
    first, *changed = logins.database.rows(
        """
        select details -> 'trigger', details -> 'before' from perdure.audit
        where action = 'put_schedule' order by id
        """
    )
    assert (first, changed) == (({"every": 3600}, None), [({"every": 3600}, {"every": 3600})] * 2)
    assert logins.database.rows(
        "select details -> 'at' from perdure.audit where action = 'override_next' order by id"
    ) == [("2031-01-01T00:00:00+00:00",), (None,)]


def test_nothing_that_a_producer_puts_in_its_way_is_run_by_our_functions(logins: Logins) -> None:
    producer = logins.as_("producer")
    names = logins.database.rows(
        """
        select proname from pg_proc where pronamespace = (
            select relnamespace from pg_class where oid = 'perdure.tasks'::regclass)
        """
    )
    tables = ("tasks", "ready", "waiting", "settings", "access", "mail", "edges", "unique_keys")
    producer.execute("set search_path = pg_temp, public, pg_catalog")
    for table in tables:
        producer.execute(f"create temp table {table} (id int)".encode())
    hostile = "begin raise exception 'foreign code ran'; end"
    for (name,) in [*names, ("coalesce_all",), ("clock_timestamp",), ("md5",), ("octet_length",)]:
        producer.execute(
            f"create function pg_temp.{name}(variadic text[] default '{{}}') returns text "
            f"language plpgsql as $$ {hostile} $$".encode()
        )
    producer.execute(
        f"create function pg_temp.foreign_code(text, text) returns boolean "
        f"language plpgsql as $$ {hostile} $$".encode()
    )
    producer.execute(
        b"create operator pg_temp.= "
        b"(leftarg = text, rightarg = text, function = pg_temp.foreign_code)"
    )
    task = logins.value(
        "producer",
        "select task_id from perdure.enqueue('a', '{}', unique_key => 'k', tags => '{t}')",
    )
    producer.execute("insert into perdure.tasks (name) values ('b')")
    producer.execute(b"""select * from perdure.enqueue_many('[{"name": "c"}]')""")
    for call in ("task(%s)", "proceed(%s)", "cancel(%s)", "retry(%s)", "history(%s)"):
        producer.execute(f"select * from perdure.{call}".encode(), (task,))
    for table in tables:
        assert logins.value("producer", f"select count(*) from pg_temp.{table}") == 0
