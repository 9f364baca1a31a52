"""decide is total: every ending, with any mail, leads to one move that the table allows."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from perdure.tasks.decide import Ending, Run, decide_end, decide_start
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import MOVES, Claimed, Ended, Mail, Move, Ready, Saved, Waiting, rule_of
from perdure.tasks.policies import Delays, RetryDefaults, RetryPolicy

counts = st.integers(0, 40)
limits = st.none() | st.integers(-1, 20)
claims = st.builds(
    Claimed,
    lease=st.just(str(UUID(int=1))),
    task_id=st.just(7),
    name=st.just("catalogue.import"),
    metadata=st.just("{}"),
    failures=counts,
    interruptions=counts,
    crashes=counts,
    recovered=st.booleans(),
    explicit=st.booleans(),
    suspect=st.booleans(),
    version=st.integers(1, 3),
    max_retries=limits,
    retry_delays=st.none() | st.lists(st.floats(), max_size=3).map(tuple),
)
mails = st.lists(
    st.builds(
        Mail,
        id=st.integers(1, 9),
        kind=st.sampled_from(["cancel", "replaced", "proceed", "follower"]),
        body=st.none()
        | st.fixed_dictionaries({"run_at": st.none() | st.just("2030-01-01T00:00:00+00:00")}),
    ),
    max_size=4,
    unique_by=lambda letter: letter.id,
)
OUTCOMES: list[Outcome[object, object] | None] = [
    None,
    Success(1),
    Failure("no"),
    Failure("no", final=True),
    Retry(),
    Retry(after=0),
    Retry(after=1e9),
    Suspended(),
    Suspended(until=datetime(2030, 1, 1, tzinfo=UTC), wait_key="payment:991"),
    Cancelled("no"),
]
saved = st.none() | st.builds(
    Saved, execution_metadata=st.just("{}"), version=st.just(1), steps=st.none()
)
endings = st.builds(
    Ending,
    attempt=st.integers(1, 50),
    outcome=st.sampled_from(OUTCOMES),
    exception=st.none()
    | st.sampled_from([ValueError("\0\ud800"), asyncio.CancelledError(), KeyError(), SystemExit()]),
    stop_reason=st.sampled_from(
        (
            None,
            "shutdown",
            "drain",
            "paused",
            "constraint:net",
            "lease_lost",
            "cancelled",
            "replaced",
            "timeout",
            "new",
        )
    ),
    unwound=st.booleans(),
    hard_timeout=st.booleans(),
    child_died=st.booleans(),
    gives_up=st.booleans(),
    message=st.none() | st.text(),
    result=st.none() | st.just("1"),
    error=st.none() | st.just('"no"'),
    problem=st.none() | st.just("not a report"),
    saved=saved,
    last_saved=saved,
    explicit=st.booleans(),
)
policies = st.builds(
    RetryPolicy,
    max_retries=limits,
    backoff=st.none() | st.just(Delays([0, 5])),
    jitter=st.none() | st.floats(0, 1),
    retry_on=st.none() | st.just((ValueError,)),
    give_up_on=st.sampled_from([(), (KeyError,)]),
)
settings = st.builds(
    RetryDefaults,
    max_retry_count=st.integers(-1, 5),
    scheduler_retry_count=limits,
    scheduler_retry_delays=st.none() | st.just((0.0, 7.0)),
)


def end(
    claimed: Claimed,
    ending: Ending,
    mail: list[Mail],
    policy: RetryPolicy,
    defaults: RetryDefaults,
    *,
    expired: bool = False,
) -> Move:
    return decide_end(
        claimed,
        ending,
        mail,
        retry=policy,
        defaults=defaults,
        u=0.5,
        on_exhausted="alarm",
        expired=expired,
    )


@given(claims, endings, mails, policies, settings)
def test_every_ending_leads_to_a_move_of_the_table(
    claimed: Claimed,
    ending: Ending,
    mail: list[Mail],
    policy: RetryPolicy,
    defaults: RetryDefaults,
) -> None:
    for expired in (False, True):
        check(end(claimed, ending, mail, policy, defaults, expired=expired), ending, mail)


def check(move: Move, ending: Ending, mail: list[Mail]) -> None:
    assert rule_of(move) is not None
    assert move.attempt == ending.attempt
    assert set(move.obeyed) <= set(move.known) == set(move.known) & {m.id for m in mail}
    assert move.known == tuple(sorted(move.known))
    assert (move.run is None) == isinstance(move.to, Ended)
    if isinstance(move.to, Ended) and move.to.error is not None:
        assert json.loads(move.to.error)["kind"] == move.to.kind
    if isinstance(move.to, Waiting) and move.to.delay is not None:
        assert 0 < move.to.delay < 4e9


@given(claims, endings, mails, policies, settings)
def test_a_cancel_wins_over_everything_but_success(
    claimed: Claimed,
    ending: Ending,
    mail: list[Mail],
    policy: RetryPolicy,
    defaults: RetryDefaults,
) -> None:
    letters = [*mail, Mail(10, "cancel")]
    move = end(claimed, ending, letters, policy, defaults)
    assert isinstance(move.to, Ended)
    if isinstance(ending.outcome, Success) and ending.problem is None:
        assert move.to.state == "completed"
        assert not move.known
    else:
        assert move.to.state == "cancelled"
        assert move.exhausted is None
        assert 10 in move.known


@given(claims, endings, policies, settings)
def test_what_is_retried_stays_within_the_limit(
    claimed: Claimed, ending: Ending, policy: RetryPolicy, defaults: RetryDefaults
) -> None:
    move = end(claimed, ending, [], policy, defaults)
    if move.run == "failure":
        asked = [claimed.max_retries, policy.max_retries]
        settings_say = (
            defaults.scheduler_retry_count
            if ending.outcome is None and defaults.scheduler_retry_count is not None
            else defaults.max_retry_count
        )
        allowed = next((limit for limit in asked if limit is not None), settings_say)
        assert allowed == -1 or claimed.failures + 1 <= allowed
    if isinstance(move.to, Ready | Waiting):
        assert move.exhausted is None
    if move.interruptions or move.run == "suspension":
        assert move.failures == move.crashes == 0


@given(claims, mails, st.none() | st.text(max_size=5), st.booleans())
def test_a_start_is_a_run_or_a_move_of_the_table_that_counts_nothing(
    claimed: Claimed, mail: list[Mail], invalid: str | None, expired: bool
) -> None:
    answer = decide_start(claimed, version=2, mail=mail, invalid=invalid, expired=expired)
    if isinstance(answer, Run):
        assert answer.isolated == (claimed.crashes + claimed.suspect >= 2)
        assert answer.write_start or not (claimed.recovered or claimed.suspect)
        assert invalid is None
        assert not expired
        assert claimed.version <= 2
        assert claimed.crashes < 10
        assert not any(letter.kind in {"cancel", "replaced"} for letter in mail)
    else:
        assert rule_of(answer) is not None
        assert answer.attempt is None


def test_the_table_has_every_row_that_settle_uses_once() -> None:
    rows = [row for row in MOVES if row.by == "settle"]
    keys = [
        (row.place, word, row.begun, row.run, row.failures, row.interruptions, row.crashes)
        for row in rows
        for word in row.words
    ]
    assert len(keys) == len(set(keys))
