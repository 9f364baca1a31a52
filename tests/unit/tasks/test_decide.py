"""What becomes of a task, by example: each row of the rules once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from perdure.tasks.decide import Ending, Run, decide_end, decide_start
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import (
    Claimed,
    Ended,
    Mail,
    Move,
    Ready,
    Saved,
    Waiting,
    rule_of,
    state_of,
)
from perdure.tasks.policies import UNLIMITED, Delays, RetryDefaults, RetryPolicy

CLAIMED = Claimed(str(UUID(int=1)), 7, "catalogue.import", "{}")
STANDS, LAST = Saved('{"rows": 2}', 1, None), Saved('{"rows": 1}', 1, None)
RAISED = Ending(attempt=1, exception=ValueError("no"), saved=STANDS, last_saved=LAST)
CANCEL = Mail(5, "cancel")


def end(
    ending: Ending,
    *mail: Mail,
    claimed: Claimed = CLAIMED,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008  (frozen)
    defaults: RetryDefaults = RetryDefaults(),  # noqa: B008  (frozen)
    **more: Any,
) -> Move:
    move = decide_end(claimed, ending, mail, retry=policy, defaults=defaults, u=0.5, **more)
    assert rule_of(move) is not None
    return move


def returned(outcome: Outcome[object, object], **more: Any) -> Ending:
    return Ending(attempt=1, outcome=outcome, saved=STANDS, last_saved=LAST, **more)


def stopped(reason: str | None, **more: Any) -> Ending:
    return replace(RAISED, **{"exception": None, "unwound": True, "stop_reason": reason, **more})


def ended(move: Move) -> tuple[str, str | None]:
    assert isinstance(move.to, Ended)
    return move.to.state, move.to.kind


def runs_until_the_end(kinds: str, **more: Any) -> tuple[int, tuple[str, str | None]]:
    """Runs of failures, thrown (t) or returned (r), until the task has ended."""
    claimed = CLAIMED
    for run, kind in enumerate(kinds, 1):
        ending = RAISED if kind == "t" else returned(Failure("no"))
        move = end(ending, claimed=claimed, **more)
        if isinstance(move.to, Ended):
            return run, ended(move)
        claimed = claimed._replace(failures=claimed.failures + move.failures)
    return len(kinds), ("alive", None)


@pytest.mark.conformance("C15")
def test_four_failures_of_any_kind_exhaust_the_defaults() -> None:
    for kinds in ("tttttt", "rrrrrr", "trtrtr"):
        assert runs_until_the_end(kinds) == (4, ("failed", "exhausted"))


@pytest.mark.conformance("C16")
def test_one_counter_is_compared_with_the_limit_of_the_present_kind() -> None:
    five = RetryDefaults(scheduler_retry_count=5)
    assert runs_until_the_end("ttttttt", defaults=five) == (6, ("failed", "exhausted"))
    assert runs_until_the_end("ttttr", defaults=five) == (5, ("failed", "exhausted"))
    assert runs_until_the_end("rrrt", defaults=five) == (4, ("alive", None))


@pytest.mark.conformance("C17")
def test_a_limit_of_the_task_holds_for_both_kinds() -> None:
    five = RetryDefaults(scheduler_retry_count=5)
    for kinds in ("ttt", "rrr"):
        once = runs_until_the_end(kinds, policy=RetryPolicy(max_retries=1), defaults=five)
        assert once == (2, ("failed", "exhausted"))
    endless = RetryPolicy(max_retries=UNLIMITED)
    assert runs_until_the_end("t" * 50, policy=endless) == (50, ("alive", None))


@pytest.mark.conformance("C19")
def test_final_failures_are_given_up_after_one_run() -> None:
    assert ended(end(returned(Failure("no", final=True)))) == ("failed", "given_up")
    assert ended(end(RAISED, policy=RetryPolicy(give_up_on=(ValueError,)))) == (
        "failed",
        "given_up",
    )
    assert ended(end(RAISED, policy=RetryPolicy(retry_on=(KeyError,))))[1] == "given_up"
    assert ended(end(Ending(attempt=1, type="Odd", gives_up=True)))[1] == "given_up"
    retried = end(RAISED, policy=RetryPolicy(retry_on=(ValueError,)))
    assert isinstance(retried.to, Waiting)


@pytest.mark.conformance("C23")
def test_retry_after_is_kept_exactly_and_counts_one_failure() -> None:
    move = end(returned(Retry(after=9000)))
    assert move.to == Waiting(reason="retry", delay=9000)
    assert (move.failures, move.run, move.attempt) == (1, "failure", 1)
    assert end(returned(Retry(after=0))).to == Ready(reason="retry")
    assert end(returned(Retry()), policy=RetryPolicy(backoff=Delays([4]))).to == Waiting(
        reason="retry", delay=4
    )


def test_a_task_past_its_expiry_is_not_retried_but_success_counts() -> None:
    assert ended(end(RAISED, expired=True, on_exhausted="alarm")) == ("failed", "expired")
    assert end(RAISED, expired=True, on_exhausted="alarm").exhausted is None
    assert ended(end(returned(Success(1), result="1"), expired=True)) == ("completed", None)


def test_a_result_that_cannot_be_stored_fails_without_retry() -> None:
    move = end(returned(Success(1), problem="$: not a Report"), on_exhausted="alarm")
    assert ended(move) == ("failed", "bad_result")
    assert (move.failures, move.exhausted) == (0, "alarm")
    assert isinstance(move.to, Ended)
    assert json.loads(move.to.error or "")["message"] == "$: not a Report"


def test_an_exception_is_kept_with_type_message_and_traceback() -> None:
    try:
        raise ValueError("no such page")
    except ValueError as error:
        record = json.loads(end(replace(RAISED, exception=error)).run_error or "")
    assert (record["kind"], record["type"], record["message"]) == (
        "failure",
        "ValueError",
        "no such page",
    )
    assert "test_decide" in record["traceback"]


@pytest.mark.parametrize("reason", ["shutdown", "drain", "paused", "lease_lost"])
def test_a_stopped_run_goes_on_elsewhere_at_once(reason: str) -> None:
    move = end(stopped(reason))
    assert move.to == Ready(reason="interruption")
    assert (move.run, move.run_reason, move.interruptions) == ("interruption", reason, 1)
    assert (move.failures, move.crashes) == (0, 0)


def test_a_lost_constraint_is_damped_from_the_second_time_on() -> None:
    def delay(before: int) -> float | None:
        move = end(
            stopped("constraint:net"), claimed=CLAIMED._replace(losses=before, interruptions=9)
        )
        return move.to.delay if isinstance(move.to, Waiting) else 0

    assert [delay(n) for n in range(8)] == [0, 1, 3, 7, 15, 31, 60, 60]
    assert delay(100_000) == 60


def test_unwinding_after_a_timeout_or_without_a_stop_is_a_thrown_failure() -> None:
    for ending, name in [
        (stopped("timeout"), "SoftTimeout"),
        (stopped("timeout", hard_timeout=True), "HardTimeout"),
        (stopped(None, exception=asyncio.CancelledError()), "CancelledError"),
    ]:
        move = end(ending)
        assert move.failures == 1
        assert json.loads(move.run_error or "")["type"] == name
    policy = RetryPolicy(give_up_on=(TimeoutError,))
    assert ended(end(stopped("timeout"), policy=policy))[1] == "given_up"


def test_what_is_raised_or_returned_after_a_stop_counts_as_usual() -> None:
    assert end(replace(RAISED, stop_reason="shutdown")).failures == 1
    assert ended(end(returned(Success(1), stop_reason="cancelled"))) == ("completed", None)


def test_cancel_wins_over_other_stops_and_keeps_what_the_run_counted() -> None:
    for ending, counted in [
        (stopped("shutdown"), (0, 1)),
        (RAISED, (1, 0)),
        (returned(Suspended()), (0, 0)),
        (returned(Retry(after=1)), (1, 0)),
    ]:
        move = end(ending, CANCEL)
        assert ended(move) == ("cancelled", "requested")
        assert (move.failures, move.interruptions) == counted
        assert (move.known, move.run) == ((5,), None)
    assert ended(end(stopped("replaced"))) == ("cancelled", "replaced")
    assert ended(end(RAISED, Mail(1, "replaced"), CANCEL)) == ("cancelled", "replaced")
    assert ended(end(returned(Cancelled("no"), error='"no"'))) == ("cancelled", "handler")


def test_what_is_saved_follows_from_how_the_run_ended() -> None:
    every: list[Outcome[object, object]] = [Success(1), Failure("no"), Retry(), Cancelled()]
    for outcome in (*every, Suspended()):
        assert end(returned(outcome)).saved == STANDS
    assert end(stopped("shutdown")).saved == STANDS
    assert end(stopped("shutdown", explicit=True)).saved == LAST
    assert end(stopped("drain"), claimed=CLAIMED._replace(explicit=True)).saved == LAST
    assert end(RAISED).saved == LAST
    assert end(stopped("timeout")).saved == LAST
    assert end(stopped("shutdown", explicit=True)).explicit


def test_a_suspension_waits_for_what_it_named() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    move = end(returned(Suspended(until, "payment:991")))
    assert move.to == Waiting(
        reason="suspended", until="2030-01-01T00:00:00+00:00", wait_key="payment:991"
    )
    assert (move.run, move.wait_key, move.failures) == ("suspension", "payment:991", 0)


def test_signals_that_came_first_are_obeyed_in_order() -> None:
    later = "2031-01-01T00:00:00+00:00"
    first, second = Mail(1, "proceed", {"run_at": later}), Mail(2, "proceed", {"patch": {}})
    move = end(returned(Suspended()), second, first, Mail(3, "follower"))
    assert move.to == Ready(reason="proceeded")
    assert move.obeyed == move.known == (1, 2)
    waits = end(returned(Suspended(wait_key="k")), first)
    assert waits.to == Waiting(reason="proceeded", until=later)
    assert waits.wait_key == "k"
    assert end(RAISED, first).known == ()


def test_a_child_that_dies_alone_is_guilty_only_after_crashes() -> None:
    died = Ending(attempt=3, child_died=True, last_saved=LAST)
    move = end(died)
    assert move.to == Ready(reason="crash")
    assert (move.crashes, move.run, move.saved) == (1, "crash", None)
    guilty = end(died, claimed=CLAIMED._replace(crashes=2), on_exhausted="alarm")
    assert ended(guilty) == ("failed", "crash")
    assert guilty.exhausted == "alarm"
    killed = end(replace(died, stop_reason="shutdown"))
    assert killed.to == Ready(reason="interruption")


def test_a_start_decides_before_the_handler_is_called() -> None:
    def start(claimed: Claimed = CLAIMED, *mail: Mail, **more: Any) -> Run | Move:
        return decide_start(claimed, version=1, mail=mail, on_exhausted="alarm", **more)

    assert start() == Run(isolated=False, write_start=False)
    assert start(CLAIMED._replace(recovered=True)) == Run(isolated=False, write_start=True)
    assert start(CLAIMED._replace(suspect=True)) == Run(isolated=False, write_start=True)
    assert start(CLAIMED._replace(crashes=2)) == Run(isolated=True, write_start=True)
    # The worker that died first may have died of it, before anything said that it had started.
    assert start(CLAIMED._replace(suspect=True, crashes=1)) == Run(isolated=True, write_start=True)
    for move, kind, exhausted in [
        (start(CLAIMED, CANCEL), "requested", None),
        (start(expired=True), "expired", None),
        (start(invalid="$.url: Field required"), "invalid", "alarm"),
        (start(CLAIMED._replace(crashes=10)), "crash", "alarm"),
    ]:
        assert isinstance(move, Move)
        assert ended(move)[1] == kind
        assert (move.exhausted, move.attempt) == (exhausted, None)
    newer = start(CLAIMED._replace(version=2), invalid="unreadable")
    assert isinstance(newer, Move)
    assert newer.to == Waiting(reason="newer_checkpoint", delay=30)


def test_states_follow_from_places() -> None:
    assert state_of("ready") == "pending"
    assert state_of("running") == "running"
    assert state_of("waiting", "serial") == "blocked"
    assert state_of("waiting", "newer_checkpoint") == "scheduled"
    assert state_of("ended", "failed") == "failed"


def test_a_move_that_the_table_lacks_has_no_rule() -> None:
    assert rule_of(Move(to=Ready(reason="interruption"), attempt=1, run="failure")) is None
