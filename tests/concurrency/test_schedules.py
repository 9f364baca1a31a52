"""What somebody does to a schedule, open beside a look: nobody waits, nothing fires twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.looking import Looker, looking

from perdure.run import firing
from perdure.run.firing import decide
from perdure.store import due_schedules as store

CALLS = {
    "update": "put_schedule('s', 'b', every => '60 seconds', overlap => 'allow')",
    "another interval": "put_schedule('s', 'a', every => '90 seconds')",
    "replace": "put_schedule('s', 'a', every => '60 seconds', policy => 'replace')",
    "pause": "pause_schedule('s')",
    "run": "run_schedule('s', force => true)",
    "override": "override_next('s', clock_timestamp() + interval '1 hour')",
    "delete": "delete_schedule('s')",
}


@pytest.fixture
def by_hand(database: Database) -> Iterator[Looker]:
    with looking(database) as looker:
        looker.put(every="60 seconds", overlap="allow")
        # Any wait would be an error.
        looker.session.connection.execute("set lock_timeout = '5s'")
        yield looker


@pytest.mark.parametrize("call", CALLS)
def test_a_look_passes_over_what_an_open_transaction_holds(
    by_hand: Looker, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "SECONDS_MOST", 60)  # both in one look, however slow it is
    by_hand.put("other", every="60 seconds")
    by_hand.session.connection.execute("set lock_timeout = '1ms'")
    with psycopg.connect(by_hand.database.dsn) as other:
        by_hand.database.execute(
            "update perdure.schedules set look_at = clock_timestamp(), anchor = anchor - w,"
            " next_fire_at = next_fire_at - w from (values (interval '61 seconds')) as t (w)"
        )
        other.execute(f"select * from perdure.{CALLS[call]}".encode())
        looked = by_hand.look()
        assert (looked.made, looked.held) == (1, True)
        assert (by_hand.tasks("s"), by_hand.tasks("other")) == (0, 1)
        other.rollback()
        assert by_hand.look().made == 1
    assert by_hand.fires("s") == by_hand.fires("other") == [(60, "fired", 1)]


@pytest.mark.parametrize("call", CALLS)
def test_what_was_decided_of_an_older_row_is_not_written(
    by_hand: Looker, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand.database.execute(
        "update perdure.schedules set look_at = clock_timestamp(), anchor = anchor - w,"
        " next_fire_at = next_fire_at - w from (values (interval '61 seconds')) as t (w)"
    )
    write = store.fire

    def later(session: object, decided: object) -> object:
        monkeypatch.setattr(store, "fire", write)
        by_hand.database.execute(f"select * from perdure.{CALLS[call]}")
        return write(session, decided)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "fire", later)
    looked = by_hand.look()
    by_hand.look()
    made = by_hand.database.rows("select fire_at, count(*) from perdure.tasks group by 1")
    assert all(count == 1 for _, count in made)
    nominal = [row for row in made if row[0] is not None]
    # What was held back by the change is decided again, of the row as it is now.
    fires = {"update": 1, "run": 1}
    assert (looked.made, len(nominal)) == (0, fires.get(call, 0))


def all_looked_at(looker: Looker) -> None:
    """Look until nothing is due: one look is bounded in time."""
    while (looker.look().next_in or 0) <= 0:
        pass


def test_two_looks_at_once_share_what_is_due(by_hand: Looker) -> None:
    by_hand.database.execute(
        "select perdure.put_schedule('k' || n, 'a', every => '60 seconds')"
        " from generate_series(1, 500) as n"
    )
    all_looked_at(by_hand)
    by_hand.database.execute(
        "update perdure.schedules set look_at = clock_timestamp(), anchor = anchor - w,"
        " next_fire_at = next_fire_at - w from (values (interval '61 seconds')) as t (w)"
    )
    with looking(by_hand.database) as second, ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda beat: beat.look().made, (by_hand, second)))
    all_looked_at(by_hand)
    count = "select count(*), count(distinct schedule_key), count(distinct id) from perdure.tasks"
    assert by_hand.database.rows(count) == [(501, 501, 501)]
    assert sum(made) <= 501
    assert by_hand.database.value("select sum(count) from perdure.fires") == 501


def test_who_queues_waits_for_all_that_live(by_hand: Looker) -> None:
    by_hand.put("q", every="60 seconds", overlap="queue")
    run = "select task_id from perdure.run_schedule('q', force => %s)"
    state = "select state from perdure.task(%s)"
    ask = by_hand.database.value

    first, second = (ask(run, [False]) for _ in range(2))
    with psycopg.connect(by_hand.database.dsn) as other:
        # It hands its place on, and cannot hand it to who comes before it commits.
        other.execute("select perdure.cancel(%s)", [second])
        third = ask(run, [False])
    ask("select perdure.obey(100)")
    assert ask(state, [second]) == "cancelled"
    assert ask(state, [third]) == "blocked"

    forced = ask(run, [True])
    fourth = ask(run, [False])
    assert (ask(state, [forced]), ask(state, [fourth])) == ("pending", "blocked")
    for live in (forced, first):
        assert ask(state, [fourth]) == ask(state, [third]) == "blocked"
        ask("select perdure.cancel(%s)", [live])
        ask("select perdure.obey(100)")
    assert (ask(state, [third]), ask(state, [fourth])) == ("pending", "blocked")
    ask("select perdure.cancel(%s)", [third])
    ask("select perdure.obey(100)")
    assert ask(state, [fourth]) == "pending"


def test_of_many_that_queue_only_two_look_at_those_that_live(by_hand: Looker) -> None:
    by_hand.put("q", every="60 seconds", overlap="queue", catch_up="all", max_catch_up=9)
    by_hand.session.connection.execute("set track_functions = 'all'")
    by_hand.passes("12 minutes")
    assert [fate for _, fate, _ in by_hand.fires("q")] == ["missed"] + ["fired"] * 9
    by_hand.session.connection.execute("select pg_stat_force_next_flush()")
    asked = "select calls from pg_stat_user_functions where funcname = 'live_occurrences'"
    assert by_hand.database.value(asked) == 2
    chained = "select count(*) from perdure.edges where after_id = task_id - 1"
    assert by_hand.database.value(chained) == 8


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel_previous"])
@pytest.mark.parametrize("lives", [False, True])
def test_a_long_way_to_the_oldest_that_lives_is_gone_in_short_looks(
    by_hand: Looker, overlap: str, lives: bool
) -> None:
    by_hand.database.execute(
        "with old as (insert into perdure.tasks (name, schedule_key)"
        " select 'a', 'long' from generate_series(1, 25000) returning id),"
        " live as (select max(id) as id from old)"
        " insert into perdure.outcomes (task_id, attempt, state)"
        " select o.id, 0, 'completed' from old as o cross join live as l where o.id < l.id or %s",
        [not lives],
    )
    by_hand.database.execute(
        "delete from perdure.ready as r using perdure.outcomes as o where o.task_id = r.task_id"
    )
    by_hand.put("long", every="60 seconds", overlap=overlap)
    at = "select oldest_live from perdure.schedules where key = 'long'"
    first = by_hand.database.value("select min(id) from perdure.tasks where schedule_key = 'long'")
    by_hand.database.execute(
        "update perdure.schedules set look_at = clock_timestamp(), anchor = anchor - w,"
        " next_fire_at = next_fire_at - w from (values (interval '61 seconds')) as t (w)"
        " where key = 'long'"
    )
    marks = []
    while not by_hand.fires("long"):
        (row,) = [r for r in store.due(by_hand.session, 10, []) if r.key == "long"]
        assert store.fire(by_hand.session, [decide(row)])[0].key == "long"
        marks.append(by_hand.database.value(at) - first)
    assert marks[:2] == [11_000, 21_000]  # a thousand when it was planned
    assert len(marks) == 3
    assert marks[2] >= 24_999
    fate = "skipped" if lives and overlap == "skip" else "fired"
    assert by_hand.fires("long") == [(60, fate, 1)]


def test_a_retry_of_an_occurrence_waits_for_who_holds_its_schedule(by_hand: Looker) -> None:
    by_hand.put("one", every="60 seconds", overlap="skip")
    run = "select * from perdure.run_schedule('one')"
    (first,) = by_hand.database.rows(run)[0][:1]
    task = by_hand.database.value("select min(id) from perdure.tasks where schedule_key = 'one'")
    by_hand.database.execute("select perdure.cancel(%s::bigint)", [task])
    # Its mark has gone on to the next one.
    by_hand.database.execute("update perdure.schedules set oldest_live = oldest_live + 1000")
    retry = "select perdure.retry(%s::bigint)"
    with psycopg.connect(by_hand.database.dsn) as other:
        other.execute("select perdure.pause_schedule('one')")
        with psycopg.connect(by_hand.database.dsn) as impatient:
            impatient.execute("set lock_timeout = '10ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                impatient.execute(retry, [task])
        other.rollback()
    assert by_hand.database.value(retry, [task]) == "retried"
    assert first == "fired"
    assert by_hand.database.rows(run)[0][0] == "skipped"
