"""What changing, pausing, running and overriding a schedule does to its instants."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.looking import Looker, looking


@pytest.fixture
def by_hand(database: Database) -> Iterator[Looker]:
    with looking(database) as looker:
        yield looker


def call(looker: Looker, text: str, *values: object) -> Any:
    """The answer of one of the functions, and a look after it."""
    answer = looker.database.rows(f"select * from perdure.{text}", values)[0]
    looker.look()
    return answer if len(answer) > 1 else answer[0]


@pytest.mark.conformance("C86")
def test_a_pause_is_not_caught_up_unless_it_is_asked_for(by_hand: Looker) -> None:
    for key in ("s", "caught up"):
        by_hand.put(key, every="60 seconds")
    by_hand.put("once", once="2000-01-02", overlap="allow")
    by_hand.put("moment", once=by_hand.database.value("select now() + interval '1 minute'"))
    for key in ("s", "caught up", "moment"):
        assert call(by_hand, "pause_schedule(%s)", key) == "paused"
    assert call(by_hand, "pause_schedule(%s)", "s") == "already_paused"
    assert call(by_hand, "pause_schedule(%s)", "once") == "finished"
    by_hand.database.execute(
        "update perdure.schedules set trigger = w, planned = w"
        ' from (values (\'{"once": "2001-01-01 00:00:00+00"}\'::jsonb)) as t (w)'
        " where key = 'moment'"
    )
    by_hand.passes("3 minutes 30 seconds")
    assert by_hand.fires("s") == by_hand.fires("moment") == []
    before = by_hand.next("s")
    answer, task = call(by_hand, "run_schedule(%s)", "s")
    assert answer == "fired"
    row = "select schedule_key, fire_at from perdure.tasks where id = %s"
    assert by_hand.database.rows(row, [task]) == [("s", None)]
    assert by_hand.database.rows(
        "select fate, task_id from perdure.fires where fate = 'manual'"
    ) == [("manual", task)]
    assert (by_hand.state("s"), by_hand.next("s")) == ("paused", before)
    assert call(by_hand, "run_schedule(%s)", "s") == ("skipped", None)
    forced = call(by_hand, "run_schedule(%s, force => true)", "s")
    assert forced[0] == "fired"
    assert call(by_hand, "run_schedule(%s)", "once")[0] == "fired"
    assert by_hand.state("once") == "finished"
    assert call(by_hand, "run_schedule(%s)", "nothing") == ("not_found", None)
    for key in ("s", "moment"):
        assert call(by_hand, "resume_schedule(%s)", key) == "resumed"
    assert call(by_hand, "resume_schedule(%s, catch_up => true)", "caught up") == "resumed"
    assert call(by_hand, "resume_schedule(%s)", "s") == "not_paused"
    assert [fate for _, fate, _ in by_hand.fires("s")] == ["manual", "manual", "manual"]
    assert by_hand.next("s") == 240
    assert (by_hand.fires("moment"), by_hand.state("moment")) == ([], "finished")
    assert by_hand.fires("caught up") == [(60, "coalesced", 2), (180, "fired", 1)]


def test_what_was_overridden_in_a_pause_happens_then(by_hand: Looker) -> None:
    by_hand.put(every="60 minutes")
    call(by_hand, "pause_schedule(%s)", "s")
    # Before anybody has planned it anew.
    by_hand.database.execute("select perdure.put_schedule('s', 'a', every => '50 minutes')")
    call(by_hand, "override_next(%s, clock_timestamp() + interval '5 minutes')", "s")
    call(by_hand, "resume_schedule(%s, catch_up => true)", "s")
    by_hand.passes("6 minutes")
    assert [fate for _, fate, _ in by_hand.fires()] == ["fired"]


@pytest.mark.conformance("C87")
def test_an_override_replaces_the_next_instant_once(by_hand: Looker) -> None:
    anchor = "(select anchor + %s::interval from perdure.schedules where key = %s)"
    override = f"override_next(%s, {anchor})"
    for key in ("earlier", "later", "past", "taken back"):
        by_hand.put(key, every="60 seconds", overlap="allow", misfire_grace="20 seconds")
    assert call(by_hand, override, "earlier", "30 seconds", "earlier") == "set"
    assert call(by_hand, override, "later", "130 seconds", "later") == "set"
    assert call(by_hand, override, "taken back", "30 seconds", "taken back") == "set"
    assert call(by_hand, "override_next(%s, null)", "taken back") == "set"
    assert call(by_hand, override, "past", "-1 hour", "past") == "set"
    assert [fate for _, fate, _ in by_hand.fires("past")] == ["fired"]
    assert by_hand.next("past") == 120  # the one replaced was 60
    assert by_hand.put("earlier", name="b", every="60 seconds", overlap="allow") == "updated"
    by_hand.passes("31 seconds")
    assert by_hand.fires("earlier") == [(30, "fired", 1)]
    assert by_hand.next("earlier") == 120
    name = "select name from perdure.tasks where schedule_key = 'earlier'"
    assert by_hand.database.value(name) == "b"
    by_hand.passes("31 seconds")
    assert by_hand.fires("taken back") == [(60, "fired", 1)]
    by_hand.passes("60 seconds")
    assert by_hand.fires("later") == []
    by_hand.passes("10 seconds")
    assert by_hand.fires("later") == [(130, "fired", 1)]
    assert by_hand.next("later") == 180
    by_hand.put("over", once="2000-01-02")
    assert call(by_hand, "override_next(%s, now())", "over") == "finished"
    assert call(by_hand, "override_next(%s, now())", "nothing") == "not_found"


@pytest.mark.conformance("C88")
def test_what_is_put_again_keeps_its_phase(by_hand: Looker) -> None:
    by_hand.put(every="60 seconds", overlap="allow")
    by_hand.passes("90 seconds")
    (live,) = by_hand.database.rows("select id from perdure.tasks")
    assert by_hand.put(every="60 seconds", overlap="allow") == "unchanged"
    assert by_hand.next() == 120
    assert by_hand.put(every="60 seconds", overlap="allow", metadata='{"a": 1}') == "updated"
    assert by_hand.next() == 120
    assert by_hand.database.value("select generation from perdure.schedules") == 2
    state = "select state from perdure.task_states where id = %s"
    assert by_hand.database.value(state, live) == "pending"
    assert by_hand.put(every="90 seconds") == "updated"
    # The anchor is the last fire now, which was 30 s ago.
    assert by_hand.next() == 90
    assert timedelta(seconds=31) < by_hand.next_in() <= timedelta(seconds=60)
    # A shorter one whose first instant is past fires at once; the grid is that of the last fire.
    assert by_hand.put(every="20 seconds", overlap="allow") == "updated"
    assert by_hand.fires()[1:] == [(20, "fired", 1)]
    assert by_hand.next() == 40
    assert by_hand.put(every="20 seconds", overlap="allow", keep_phase=False) == "updated"
    assert by_hand.next() == 20
    assert timedelta(seconds=10) < by_hand.next_in() <= timedelta(seconds=20)
    assert by_hand.put(cron="0 0 1 1 *", overlap="allow") == "updated"
    assert by_hand.next_in() > timedelta(seconds=20)
    call(by_hand, "pause_schedule(%s)", "s")
    assert by_hand.put(every="60 seconds", overlap="allow") == "updated"
    assert (by_hand.state(), by_hand.next()) == ("paused", 60)
    assert by_hand.put(every="60 seconds", policy="keep", name="b") == "kept"
    with pytest.raises(psycopg.Error) as caught:
        by_hand.put(every="60 seconds", policy="reject")
    assert caught.value.sqlstate == "PD006"
    assert by_hand.put(every="60 seconds", policy="replace") == "replaced"
    assert (by_hand.state(), by_hand.next()) == ("active", 60)
    assert by_hand.database.value(state, live) == "cancelled"
    assert call(by_hand, "delete_schedule(%s)", "s") == "deleted"
    assert call(by_hand, "delete_schedule(%s)", "s") == "not_found"


@pytest.mark.conformance("C88", "C90")
def test_a_broken_schedule_is_mended_by_what_it_was_before(by_hand: Looker) -> None:
    by_hand.put(every="60 seconds")
    by_hand.put(cron="0 0 31 2 *")
    assert by_hand.state() == "broken"
    assert "day '31'" in by_hand.database.value("select problem from perdure.schedules")
    by_hand.passes("2 minutes")
    assert by_hand.tasks() == 0
    assert by_hand.put(every="60 seconds") == "updated"
    assert (by_hand.state(), by_hand.next()) == ("active", 180)
    assert by_hand.database.value("select problem from perdure.schedules") is None


def test_a_pause_outlasts_a_trigger_that_cannot_be_evaluated(by_hand: Looker) -> None:
    by_hand.put(every="60 seconds")
    call(by_hand, "pause_schedule(%s)", "s")
    by_hand.put(cron="bad")
    states = "select state, problem is not null, next_fire_at is null from perdure.schedule_states"
    assert by_hand.database.rows(states) == [("paused", True, True)]
    assert by_hand.look().next_in is None
    by_hand.put(every="60 seconds")
    by_hand.passes("61 seconds")
    assert by_hand.database.rows(states) == [("paused", False, False)]
    by_hand.put(cron="bad")
    call(by_hand, "resume_schedule(%s, catch_up => true)", "s")
    assert by_hand.state() == "broken"
    assert by_hand.fires() == []


@pytest.mark.conformance("C90")
def test_a_task_that_cannot_be_made_breaks_its_schedule_alone(by_hand: Looker) -> None:
    by_hand.put("large", every="60 seconds", metadata='{"a": "' + "x" * 5000 + '"}')
    by_hand.put("small", every="60 seconds")
    by_hand.database.execute(
        "update perdure.settings set value = '1000' where key = 'metadata_bytes'"
    )
    by_hand.passes("61 seconds")
    assert (by_hand.tasks("large"), by_hand.tasks("small")) == (0, 1)
    assert (by_hand.state("large"), by_hand.state("small")) == ("broken", "active")
    assert "metadata" in by_hand.database.value(
        "select problem from perdure.schedules where key = 'large'"
    )


@pytest.mark.conformance("C91")
def test_twenty_puts_make_one_schedule_and_many_looks_one_task(by_hand: Looker) -> None:
    text = "select perdure.put_schedule('s', 'a', every => '60 seconds')"

    def put(_: int) -> str:
        with psycopg.connect(by_hand.database.dsn, autocommit=True) as own:
            return str(own.execute(text).fetchone()[0])  # type: ignore[index]

    with ThreadPoolExecutor(20) as threads:
        assert sorted(threads.map(put, range(20))) == ["created"] + ["unchanged"] * 19
    by_hand.put("t", every="60 seconds", start_at=by_hand.database.value("select now()"))
    assert by_hand.database.value("select generation from perdure.schedules where key = 's'") == 1
    # Both at one instant, from now on.
    by_hand.database.execute(
        "update perdure.schedules set trigger = trigger - 'start', planned = trigger - 'start',"
        " anchor = now(), look_at = now(), next_fire_at = now() + interval '1 minute'"
    )
    by_hand.look()
    with ExitStack() as stack:
        beats = [stack.enter_context(looking(by_hand.database)) for _ in range(4)]
        for number in range(1, 6):
            by_hand.database.execute(
                "delete from perdure.ready;"
                "insert into perdure.outcomes (task_id, attempt, state)"
                " select id, 1, 'completed' from perdure.tasks on conflict do nothing;"
                "update perdure.fires set fire_at = fire_at - interval '1 minute';"
                "update perdure.tasks set fire_at = fire_at - interval '1 minute';"
                "update perdure.schedules set look_at = clock_timestamp(),"
                " anchor = anchor - interval '1 minute',"
                " next_fire_at = next_fire_at - interval '1 minute'"
            )
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(lambda beat: beat.look(), beats))
            assert (by_hand.tasks("s"), by_hand.tasks("t")) == (number, number)
    for key in ("s", "t"):
        assert by_hand.fires(key) == [(60.0 * n, "fired", 1) for n in range(1, 6)]


def test_an_occurrence_that_is_retried_counts_for_the_overlap(by_hand: Looker) -> None:
    by_hand.put(every="60 seconds")
    for number, state in enumerate(("failed", "completed"), 1):
        by_hand.passes("61 seconds")
        assert by_hand.tasks() == number
        by_hand.database.execute("delete from perdure.ready")
        by_hand.database.execute(
            "insert into perdure.outcomes (task_id, attempt, state)"
            " select max(id), 1, %s from perdure.tasks",
            [state],
        )
    (first,) = by_hand.database.rows("select min(id) from perdure.tasks")
    assert call(by_hand, "retry(%s)", *first) == "retried"
    by_hand.passes("61 seconds")
    assert [fate for _, fate, _ in by_hand.fires()] == ["fired", "fired", "skipped"]


@pytest.mark.parametrize("every", ["1 month", "1 year -350 days", "40000 days"])
def test_an_interval_of_no_fixed_length_is_refused(by_hand: Looker, every: str) -> None:
    with pytest.raises(psycopg.errors.Error, match=r"no fixed length|at most 100 years") as refused:
        by_hand.put(every=every)
    assert refused.value.sqlstate == "PD004"
    assert by_hand.put(every="36525 days") == "created"
    assert by_hand.state() == "active"
