"""Limits on how many tasks of a name run at once: who gets an instance, and who hands it over."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database


def limit(database: Database, n: int | None, name: str = "limited", **more: Any) -> None:
    """Register a name whose tasks may be so many at once."""
    rule = {"name": name, "queue": "default", "priority": 5, "requires": [], "instances_of": name}
    document = json.dumps([rule | {"max_instances": n} | more])
    database.execute("select perdure.register_types(%s::jsonb)", [document])


def enqueue(database: Database, metadata: str = "{}", name: str = "limited", **more: Any) -> int:
    """A task of that name, by the function."""
    extra = "".join(f", {key} => %({key})s" for key in more)
    return int(
        database.value(
            f"select task_id from perdure.enqueue(%(name)s, %(metadata)s{extra})",
            {"name": name, "metadata": metadata, **more},
        )
    )


def states(database: Database) -> dict[int, str]:
    """The first letters of each task's state."""
    return dict(database.rows("select id, left(state, 4) from perdure.task_states order by id"))


def rest(database: Database) -> list[Any]:
    """Have a beat look at what was left; the openings that are there afterwards."""
    database.value("select perdure.serve_openings(1000)")
    return database.rows("select distinct key from perdure.openings")


def test_insert_copy_and_functions_are_bound_and_others_are_not(database: Database) -> None:
    limit(database, 2)
    limit(database, None, "free")
    names = "{limited,free,limited,limited}"
    database.execute("insert into perdure.tasks (name) select unnest(%s::text[])", [names])
    with database.connection.cursor().copy("copy perdure.tasks (name) from stdin") as copy:
        copy.write("limited\nfree\n")
    document = '[{"name": "limited"}, {"name": "free"}, {"name": "limited", "priority": 0}]'
    database.rows("select * from perdure.enqueue_many(%s)", [document])
    assert enqueue(database) == 10
    pending = {i for i, state in states(database).items() if state == "pend"}
    assert pending == {1, 2, 3, 6, 8}
    assert database.rows("select waiting_for from perdure.task(4)") == [("2 of 2 instances busy",)]
    assert database.value("select count(*) from perdure.instances") == 2
    assert rest(database) == []


def test_each_value_of_the_field_has_instances_of_its_own_and_a_missing_one_too(
    database: Database,
) -> None:
    limit(database, 1, instances_by="customer.id")
    values = ["{}", '{"customer": {"id": 1}}', '{"customer": {"id": null}}', '{"customer": 7}']
    values += ['{"customer": {"id": "1"}}', '{"customer": {"id": 1}}']
    values += ['{"customer": {"id": "%s"}}' % ("x" * 3000)] * 2
    for metadata in values:
        enqueue(database, metadata)
    assert list(states(database).values()) == [
        "pend",
        "pend",
        *["bloc"] * 2,
        "pend",
        "bloc",
        "pend",
        "bloc",
    ]
    database.execute("select perdure.cancel(7), perdure.cancel(1)")
    assert states(database)[3] == states(database)[8] == "pend"


def test_an_instance_that_comes_free_goes_to_the_lowest_id(database: Database) -> None:
    limit(database, 2)
    for priority in (5, 5, 9, 0, 5):
        enqueue(database, priority=priority)
    database.execute("select perdure.cancel(4)")
    database.execute("select perdure.cancel(2)")
    assert states(database) == {1: "pend", 2: "canc", 3: "pend", 4: "canc", 5: "bloc"}
    assert database.rows("select number, task_id from perdure.instances order by 1") == [
        (1, 1),
        (2, 3),
    ]


def test_many_are_let_in_together_and_the_numbers_between_are_given_again(
    database: Database,
) -> None:
    limit(database, 450)
    many = "insert into perdure.tasks (name) select 'limited' from generate_series(1, %s)"
    database.execute(many, [450])
    database.execute("select perdure.cancel(i) from unnest('{5,100,101,450}'::bigint[]) as i")
    database.execute(many, [2])
    assert database.rows(
        "select number, task_id from perdure.instances where number <> task_id order by 1"
    ) == [(5, 451), (100, 452)]
    database.execute(many, [20])
    held = database.rows("select number, task_id from perdure.instances order by 1")
    assert [number for number, _ in held] == list(range(1, 451))
    assert held[100] == (101, 453)
    assert held[449] == (450, 454)
    assert sum(state == "bloc" for state in states(database).values()) == 18
    assert rest(database) == []


def test_an_open_transaction_of_a_producer_takes_nothing_from_others(database: Database) -> None:
    limit(database, 1)
    with psycopg.connect(database.dsn) as producer:
        producer.execute("insert into perdure.tasks (name) values ('limited'), ('limited')")
        assert enqueue(database) == 3
        assert states(database) == {3: "pend"}
        database.execute("select perdure.cancel(3)")
        enqueue(database)
        assert states(database) == {3: "canc", 4: "pend"}
    assert states(database) == {1: "bloc", 2: "bloc", 3: "canc", 4: "pend"}
    database.execute("select perdure.cancel(4)")
    assert states(database)[1] == "pend"
    with psycopg.connect(database.dsn) as producer:
        producer.execute("insert into perdure.tasks (name) values ('limited')")
        producer.rollback()
    database.execute("select perdure.cancel(1), perdure.cancel(2)")
    assert database.rows("select * from perdure.instances") == []
    assert rest(database) == []


def test_an_instance_that_comes_free_beside_an_enqueue_is_found_by_a_beat(
    database: Database,
) -> None:
    limit(database, 1)
    enqueue(database)
    with psycopg.connect(database.dsn) as ending:
        ending.execute("select perdure.cancel(1)")
        enqueue(database)
        # It has seen nobody who waits, and who waits has seen it hold the instance.
        assert rest(database) == [("limited",)]
    assert states(database) == {1: "canc", 2: "bloc"}
    assert rest(database) == []
    assert states(database)[2] == "pend"


def test_who_waits_and_is_locked_is_passed_over_and_not_forgotten(database: Database) -> None:
    limit(database, 1)
    for _ in range(3):
        enqueue(database)
    assert rest(database) == []  # nothing left over but what the last to leave leaves
    with psycopg.connect(database.dsn) as canceller:
        canceller.execute("select perdure.cancel(2)")
        database.execute("select perdure.cancel(1)")
        assert states(database) == {1: "canc", 2: "bloc", 3: "pend"}
        database.execute("select perdure.cancel(3)")
        assert rest(database) == [("limited",)]
        canceller.rollback()
    assert rest(database) == []
    assert states(database)[2] == "pend"


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_transaction_that_reads_as_of_its_beginning_leaves_the_look_to_a_beat(
    database: Database, level: str
) -> None:
    limit(database, 1)
    for _ in range(2):
        enqueue(database)
    with psycopg.connect(database.dsn) as producer:
        producer.execute(f"set transaction isolation level {level}")
        producer.execute("insert into perdure.tasks (name) values ('limited')")
        enqueue(database)
        producer.execute("select perdure.cancel(1)")
    assert states(database) == {1: "canc", 2: "bloc", 3: "bloc", 4: "bloc"}
    assert rest(database) == []
    assert states(database)[2] == "pend"


def test_skip_ends_who_finds_none_and_lets_who_has_run_wait(database: Database) -> None:
    limit(database, 1, when_full="skip")
    database.execute("insert into perdure.tasks (name) select 'limited' from generate_series(1, 3)")
    assert states(database) == {1: "pend", 2: "canc", 3: "canc"}
    found = "select reason, cancel_requested_at, error ->> 'kind' from perdure.task(2)"
    assert database.rows(found) == [("skipped", None, "skipped")]
    enqueue(database, delay="1 hour")
    database.execute("insert into perdure.progress (task_id, attempt) values (4, 1)")
    enqueue(database, delay="1 hour")
    database.execute("update perdure.waiting set due_at = clock_timestamp()")
    database.rows("select * from perdure.promote(10)")
    assert states(database) == {1: "pend", 2: "canc", 3: "canc", 4: "bloc", 5: "canc"}
    database.execute("select perdure.cancel(1)")
    assert states(database)[4] == "pend"
    assert rest(database) == []


def test_cancel_previous_keeps_the_newest(database: Database) -> None:
    limit(database, 2, when_full="cancel_previous")
    for _ in range(3):
        enqueue(database)
    assert states(database) == {1: "canc", 2: "pend", 3: "pend"}
    assert database.rows("select reason from perdure.task(1)") == [("replaced",)]
    database.execute(
        "delete from perdure.ready; insert into perdure.workers (id, name, host, pid, version,"
        " lease_seconds) values (7, 'w', 'h', 1, '1', 60);"
        "insert into perdure.leases (id, worker_id, task_ids)"
        " values (gen_random_uuid(), 7, '{2}'), (gen_random_uuid(), 7, '{3}')"
    )
    for _ in range(3):
        enqueue(database)
    assert states(database) == {1: "canc", 2: "runn", 3: "runn", 4: "canc", 5: "bloc", 6: "bloc"}
    asked = "select task_id, kind from perdure.mail where kind <> 'follower' order by 1"
    assert database.rows(asked) == [(2, "replaced"), (3, "replaced")]


def test_a_limit_that_comes_changes_and_goes_takes_effect_on_those_that_are_there(
    database: Database,
) -> None:
    limit(database, None)
    for _ in range(5):
        enqueue(database, '{"t": 1}')
    limit(database, 3)
    database.rows("select * from perdure.relane(-1, 1000)")
    assert "".join(s[0] for s in states(database).values()) == "pppbb"
    limit(database, 1)
    database.execute("select perdure.cancel(1)")
    database.execute("select perdure.cancel(2)")
    assert "".join(s[0] for s in states(database).values()) == "ccpbb"
    enqueue(database)
    database.execute("select perdure.cancel(3)")
    assert rest(database) == []
    assert "".join(s[0] for s in states(database).values()) == "cccpbb"
    limit(database, 1, instances_by="t")
    assert rest(database) == []
    assert "".join(s[0] for s in states(database).values()) == "cccppp"
    enqueue(database)
    assert "".join(s[0] for s in states(database).values()) == "cccpppb"
    limit(database, None)
    assert rest(database) == []
    assert "".join(s[0] for s in states(database).values()) == "cccpppp"
    database.rows("select * from perdure.relane(-1, 1000)")
    assert database.rows("select * from perdure.instances") == []
    assert database.rows(
        "select distinct l.limited from perdure.ready as r join perdure.lanes as l on l.id = r.lane"
    ) == [(False,)]
    assert rest(database) == []


@pytest.mark.parametrize("change", [{"instances_by": "t"}, {"instances_of": "renamed"}])
def test_an_end_while_a_long_line_asks_anew_hands_nothing_down_the_line(
    database: Database, change: dict[str, str]
) -> None:
    limit(database, 1)
    limit(database, 1, "renamed")
    line = "insert into perdure.tasks (name) select 'limited' from generate_series(1, 1500)"
    database.execute(line)
    limit(database, 1, **change)
    waiting = "select count(*) from perdure.waiting where instance_key = 'limited'"
    assert 0 < database.value(waiting) < 1500
    assert database.value("select perdure.cancel(1)") == "cancelled"
    assert rest(database) == []
    assert database.value(waiting) == 0
    assert states(database)[2] == "pend"
    assert database.value("select count(*) from perdure.instances") == 1


def test_who_is_of_another_definition_by_now_does_not_hold_the_line_up(database: Database) -> None:
    limit(database, 1)
    limit(database, 1, "alias", instances_of="limited")
    for name in ("limited", "alias", "limited"):
        enqueue(database, name=name)
    limit(database, 1, "alias")
    assert states(database) == {1: "pend", 2: "bloc", 3: "bloc"}
    database.execute("select perdure.cancel(1)")
    assert rest(database) == []
    assert states(database) == {1: "canc", 2: "pend", 3: "pend"}


@pytest.mark.parametrize("definition", [{"n": None}, {"n": 1, "instances_by": "t"}])
def test_a_name_that_is_served_no_more_keeps_the_limit_that_it_had(
    database: Database, definition: dict[str, Any]
) -> None:
    limit(database, 1, "old", instances_of="limited")
    limit(database, **definition)
    database.execute("set statement_timeout = '10s'")
    database.execute("insert into perdure.tasks (name) values ('old'), ('old')")
    assert states(database) == {1: "pend", 2: "bloc"}
    database.execute("select perdure.cancel(1)")
    assert rest(database) == []
    assert states(database) == {1: "canc", 2: "pend"}


def test_who_waits_for_something_else_asks_when_that_is_over(database: Database) -> None:
    limit(database, 1)
    enqueue(database, name="parent")
    after = enqueue(database, after='[{"task": 1}]')
    later = enqueue(database, delay="1 hour")
    assert enqueue(database) == 4
    assert states(database) == {1: "pend", 2: "bloc", 3: "sche", 4: "pend"}
    assert database.rows("select waiting_for from perdure.task(%s)", [after]) == [("task 1",)]
    database.execute(
        "update perdure.waiting set due_at = clock_timestamp() where task_id = %s", [later]
    )
    database.rows("select * from perdure.promote(10)")
    database.execute("update perdure.edges set rule = 'run'; select perdure.cancel(1)")
    assert states(database) == {1: "canc", 2: "bloc", 3: "bloc", 4: "pend"}
    database.execute("select perdure.cancel(4)")
    assert states(database) == {1: "canc", 2: "pend", 3: "bloc", 4: "canc"}
    # Run again by hand, it waits for its turn like any other.
    assert database.value("select perdure.retry(4)") == "retried"
    assert database.value("select perdure.repeat(4)") == 5
    assert states(database) == {1: "canc", 2: "pend", 3: "bloc", 4: "bloc", 5: "bloc"}


def test_an_update_that_changes_the_field_asks_for_another(database: Database) -> None:
    limit(database, 1, instances_by="t")
    for metadata in ('{"t": 1}', '{"t": 1}', '{"t": 2}'):
        enqueue(database, metadata)
    change = "select perdure.rewrite(%s, %s)"
    assert database.value(change, [2, '{"metadata": {"t": 3}}']) == "applied"
    assert states(database) == {1: "pend", 2: "pend", 3: "pend"}
    assert database.value(change, [1, '{"metadata": {"t": 2}, "priority": 1}']) == "applied"
    assert states(database) == {1: "bloc", 2: "pend", 3: "pend"}
    assert database.value(change, [3, '{"priority": 1}']) == "applied"
    assert states(database)[3] == "pend"


def test_keys_that_somebody_holds_do_not_hide_those_behind_them(database: Database) -> None:
    limit(database, 1, instances_by="t")
    keys = [f"limited t={n}" for n in range(6)]
    with psycopg.connect(database.dsn) as free, psycopg.connect(database.dsn) as held:
        take = "insert into perdure.instances (key, number, task_id) values (%s, 1, -%s)"
        for n, key in enumerate(keys):
            (free if key == keys[-1] else held).execute(take, [key, n])
        for n in range(6):
            enqueue(database, json.dumps({"t": n}))
        free.rollback()
        looks = [database.value("select perdure.serve_openings(2)") for _ in range(3)]
        assert looks == [0, 0, 2]  # the opening, and who was let in
        assert states(database)[6] == "pend"
        assert sorted(rest(database)) == [(key,) for key in keys[:-1]]
        assert database.value("select count(*) from perdure.openings") == 5
        held.rollback()
    assert rest(database) == []


def test_one_look_of_a_beat_lets_in_some_and_the_next_goes_on(database: Database) -> None:
    limit(database, 3, instances_by="t")
    with psycopg.connect(database.dsn) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute(
            "insert into perdure.tasks (name, metadata)"
            " select 'limited', jsonb_build_object('t', n % 10) from generate_series(1, 30) as n"
        )
    looks = [database.value("select perdure.serve_openings(10)") for _ in range(4)]
    assert looks == [4 + 12, 4 + 12, 2 + 6, 0]  # openings, and who was let in
    assert set(states(database).values()) == {"pend"}


def test_a_limit_that_changes_leaves_all_looks_to_the_beats(database: Database) -> None:
    limit(database, 1, instances_by="t")
    for n in (1, 2):
        for _ in range(2):
            enqueue(database, json.dumps({"t": n}))
    limit(database, 2, instances_by="t")
    assert list(states(database).values()).count("bloc") == 2
    assert rest(database) == []
    assert set(states(database).values()) == {"pend"}
