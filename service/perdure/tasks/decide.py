"""decide_start and decide_end: the one place that chooses what becomes of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, assert_never

from perdure.tasks.codec import ERROR_BYTES_MAX, error_record
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Claimed, Ended, EndKind, Mail, Move, Ready, Saved, Waiting
from perdure.tasks.policies import (
    UNLIMITED,
    HardTimeout,
    RetryDefaults,
    RetryPolicy,
    SoftTimeout,
    limit,
    retry_delay,
)

NEWER_CHECKPOINT_SECONDS = 30.0
DAMPING_SECONDS_MAX = 60


class Run(NamedTuple):
    """The task is to be run.

    `isolated`: in a child process of its own; `write_start`: its start is recorded before it runs.
    """

    isolated: bool
    write_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a run has left behind.

    Either `outcome` is what the handler returned, or it is None: then the run was `unwound`
    (CancelledError or TaskStopped came out of it), its child process died (`child_died`: by
    itself), or it raised `exception`. `stop_reason` is the stop that it had been asked for, and
    `hard_timeout` says that it was broken off rather than asked.
    `type`, `message` and `traceback` describe a failure where the exception itself is not at hand;
    `gives_up` then says whether its class is a final one.

    `result` and `error` are the JSON texts of what the outcome carries; `problem` says why a result
    cannot be stored. `saved` is the execution metadata as it stands, `last_saved` as it was saved
    last or was going to be; each is None if the database has it already or there is none.
    """

    attempt: int
    outcome: Outcome[object, object] | None = None
    exception: BaseException | None = None
    stop_reason: str | None = None
    unwound: bool = False
    hard_timeout: bool = False
    child_died: bool = False
    gives_up: bool = False
    type: str | None = None
    message: str | None = None
    traceback: str | None = None
    result: str | None = None
    error: str | None = None
    problem: str | None = None
    saved: Saved | None = None
    last_saved: Saved | None = None
    explicit: bool = False


class _Rules(NamedTuple):
    """What holds for the task whose run has ended."""

    retry: RetryPolicy
    defaults: RetryDefaults
    u: float
    on_exhausted: str | None
    isolate_after: int
    expired: bool
    error_bytes_max: int


def decide_start(
    claimed: Claimed,
    *,
    version: int,
    mail: Sequence[Mail] = (),
    isolate_after: int = 2,
    max_crashes: int = 10,
    invalid: str | None = None,
    expired: bool = False,
    on_exhausted: str | None = None,
) -> Run | Move:
    """Whether a claimed task is run, and how; if not, what becomes of it. No counter moves.

    `version` is the version of execution metadata that this worker knows, `invalid` says why
    metadata or execution metadata cannot be read, `expired` is what `expires` says. A
    checkpoint that is too new comes before `invalid`: an old worker is no judge of a newer shape.
    """
    kind: EndKind
    message: str | None = None
    cancel = _cancel_kind(mail)
    if cancel is not None:
        kind = cancel
    elif expired:
        kind, message = "expired", "its time was over before it was started"
    elif claimed.crashes >= max_crashes:
        kind = "crash"
        message = f"{claimed.crashes} runs were lost together with their process"
    elif claimed.version > version:
        goal = Waiting(reason="newer_checkpoint", delay=NEWER_CHECKPOINT_SECONDS)
        return Move(to=goal, explicit=claimed.explicit)
    elif invalid is not None:
        kind, message = "invalid", invalid
    else:
        return Run(
            isolated=_apart(claimed, isolate_after),
            write_start=claimed.recovered or claimed.suspect or claimed.crashes > 0,
        )
    return Move(
        to=Ended(
            state="failed" if cancel is None else "cancelled",
            kind=kind,
            error=error_record(kind, message=message),
        ),
        explicit=claimed.explicit,
        known=_known(mail, rests=False),
        exhausted=on_exhausted if kind in {"crash", "invalid"} else None,
    )


def expires(claimed: Claimed, now: float) -> bool:
    """Whether its time was over before it was started; `now` by the database's clock.

    A task that has been started goes on after it, however often it is stopped, until it fails.
    """
    if claimed.expires_at is None or claimed.expires_at > now:
        return False
    return claimed.attempt == 0 or claimed.reason in ("retry", "requeued")


def decide_end(
    claimed: Claimed,
    ending: Ending,
    mail: Sequence[Mail] = (),
    *,
    retry: RetryPolicy,
    defaults: RetryDefaults,
    u: float,
    on_exhausted: str | None = None,
    isolate_after: int = 2,
    expired: bool = False,
    error_bytes_max: int = ERROR_BYTES_MAX,
) -> Move:
    """What becomes of a task whose run has ended. Total: every ending leads to one allowed move.

    `mail` is what is known to lie there now, all of it and nothing else; `u` is uniform in [0, 1);
    `expired`: `expires_at` has passed. A cancel wins over everything but success.
    """
    rules = _Rules(retry, defaults, u, on_exhausted, isolate_after, expired, error_bytes_max)
    move = _by_itself(claimed, ending, mail, rules)
    if isinstance(move.to, Ended) and move.to.state == "completed":
        return move
    cancel = _cancel_kind(mail) or _cancel_of_stop(ending)
    if cancel is None:
        rests = isinstance(move.to, Waiting) and move.to.reason == "suspended"
        return replace(move, known=_known(mail, rests=rests or bool(move.obeyed)))
    return replace(
        move,
        to=Ended(state="cancelled", kind=cancel, error=_record(cancel, ending, rules)),
        run=None,
        run_reason=None,
        run_error=None,
        known=_known(mail, rests=False),
        obeyed=(),
        exhausted=None,
    )


def _by_itself(claimed: Claimed, ending: Ending, mail: Sequence[Mail], rules: _Rules) -> Move:
    """The move that the run asks for, if nobody has cancelled it."""
    base = Move(
        to=Ready(),
        attempt=ending.attempt,
        saved=ending.saved,
        explicit=ending.explicit or claimed.explicit,
    )
    match ending.outcome:
        case None:
            return _broken(claimed, ending, rules, base)
        case Success():
            return _succeeded(ending, rules, base)
        case Failure(final=final):
            return _failed(claimed, ending, rules, base, final=final)
        case Retry() as again:
            return _failed(claimed, ending, rules, base, after=again.after_seconds)
        case Suspended() as rest:
            return _suspended(rest, mail, base)
        case Cancelled():
            error = _record("handler", ending, rules)
            return replace(base, to=Ended(state="cancelled", kind="handler", error=error))
        case unknown:
            assert_never(unknown)


def _succeeded(ending: Ending, rules: _Rules, base: Move) -> Move:
    """Completed; or failed without a retry, which could not undo the effects that are done."""
    if ending.problem is None:
        return replace(base, to=Ended(state="completed", result=ending.result))
    error = _record("bad_result", ending, rules, message=ending.problem)
    goal = Ended(state="failed", kind="bad_result", error=error)
    return replace(base, to=goal, exhausted=rules.on_exhausted)


def _broken(claimed: Claimed, ending: Ending, rules: _Rules, base: Move) -> Move:
    """The handler returned nothing: stopped, lost with its child process, or raised."""
    stop = ending.stop_reason
    if ending.child_died and stop is None:
        return _child_lost(claimed, ending, rules, base)
    saved = replace(base, saved=ending.last_saved)
    if not (ending.unwound or ending.child_died) or stop in {None, "timeout"}:
        return _failed(claimed, ending, rules, saved)
    if stop in {"cancelled", "replaced"}:
        return saved
    goal: Waiting | Ready = Ready(reason="interruption")
    if stop is not None and stop.startswith("constraint:"):
        delay = min(2 ** min(claimed.losses, 10) - 1, DAMPING_SECONDS_MAX)
        goal = Waiting(reason="interruption", delay=float(delay)) if delay else goal
    stopped = saved if base.explicit else base
    return replace(stopped, to=goal, run="interruption", run_reason=stop, interruptions=1)


def _child_lost(claimed: Claimed, ending: Ending, rules: _Rules, base: Move) -> Move:
    """The child process died by itself: proof of guilt, if it ran alone because of crashes."""
    error = _record("crash", ending, rules, message=ending.message or "its child process died")
    lost = replace(base, saved=None, crashes=1)
    if not _apart(claimed, rules.isolate_after):
        return replace(lost, to=Ready(reason="crash"), run="crash", run_error=error)
    goal = Ended(state="failed", kind="crash", error=error)
    return replace(lost, to=goal, exhausted=rules.on_exhausted)


def _apart(claimed: Claimed, isolate_after: int) -> bool:
    """Whether it has been with so many workers that died that it has to run alone.

    Among the first of them may be one that died before anything said that the task had started.
    """
    return claimed.crashes + claimed.suspect >= isolate_after


def _failed(
    claimed: Claimed,
    ending: Ending,
    rules: _Rules,
    base: Move,
    *,
    final: bool = False,
    after: float | None = None,
) -> Move:
    """One failure more: tried again, or the last one."""
    thrown = ending.outcome is None
    failures = claimed.failures + 1
    allowed = limit(rules.retry, rules.defaults, own=claimed.max_retries, thrown=thrown)
    kind: EndKind | None = None
    if final or (thrown and _gives_up(ending, rules.retry)):
        kind = "given_up"
    elif rules.expired:
        kind = "expired"
    elif allowed != UNLIMITED and failures > allowed:
        kind = "exhausted"
    if kind is not None:
        goal = Ended(state="failed", kind=kind, error=_record(kind, ending, rules))
        exhausted = None if kind == "expired" else rules.on_exhausted
        return replace(base, to=goal, failures=1, exhausted=exhausted)
    if after is None:
        after = retry_delay(
            rules.retry,
            rules.defaults,
            own=claimed.retry_delays,
            thrown=thrown,
            n=failures,
            u=rules.u,
        )
    return replace(
        base,
        to=Waiting(reason="retry", delay=after) if after > 0 else Ready(reason="retry"),
        run="failure",
        run_error=_record("failure", ending, rules),
        failures=1,
    )


def _suspended(rest: Suspended, mail: Sequence[Mail], base: Move) -> Move:
    """Rests, unless signals have come first: then those are obeyed, and the last one says when."""
    signals = sorted((letter for letter in mail if letter.kind == "proceed"), key=_id)
    goal: Waiting | Ready
    if signals:
        run_at = (signals[-1].body or {}).get("run_at")
        goal = Ready(reason="proceeded")
        if isinstance(run_at, str):
            goal = Waiting(reason="proceeded", until=run_at)
    else:
        goal = Waiting(reason="suspended", until=rest.until_text, wait_key=rest.wait_key)
    obeyed = tuple(letter.id for letter in signals)
    return replace(base, to=goal, run="suspension", obeyed=obeyed, wait_key=rest.wait_key)


def _timeout(ending: Ending) -> type[SoftTimeout | HardTimeout] | None:
    """The class of failure if it was a timeout that ended the run."""
    if ending.outcome is not None or ending.stop_reason != "timeout":
        return None
    if not (ending.unwound or ending.child_died):
        return None
    return HardTimeout if ending.hard_timeout else SoftTimeout


def _gives_up(ending: Ending, retry: RetryPolicy) -> bool:
    thrown: type[BaseException] | None = _timeout(ending)
    if thrown is None and ending.exception is not None:
        thrown = type(ending.exception)
    return ending.gives_up if thrown is None else retry.gives_up(thrown)


def _record(kind: str, ending: Ending, rules: _Rules, *, message: str | None = None) -> str:
    """The error as it is stored: whatever the ending says about it, under this kind."""
    timeout = _timeout(ending)
    return error_record(
        kind,
        exception=ending.exception,
        type=ending.type if timeout is None else timeout.__name__,
        message=message or (timeout.__doc__ if timeout else ending.message),
        traceback=ending.traceback,
        error_json=ending.error,
        error_bytes_max=rules.error_bytes_max,
    )


def _cancel_kind(mail: Sequence[Mail]) -> EndKind | None:
    """The kind of end that the first cancel in the mail asks for."""
    words = [letter.kind for letter in sorted(mail, key=_id) if letter.kind in _CANCELS]
    return _CANCELS[words[0]] if words else None


def _cancel_of_stop(ending: Ending) -> EndKind | None:
    """The same for a run that was stopped on account of a cancel: its letter may not be at hand."""
    return _CANCELS.get(ending.stop_reason or "")


def _known(mail: Sequence[Mail], *, rests: bool) -> tuple[int, ...]:
    """The letters that matter for a move: cancels always, signals only to what suspends."""
    letters = (m.id for m in mail if m.kind in _CANCELS or (rests and m.kind == "proceed"))
    return tuple(sorted(letters))


def _id(letter: Mail) -> int:
    return letter.id


_CANCELS: dict[str, EndKind] = {
    "cancel": "requested",
    "cancelled": "requested",
    "replaced": "replaced",
}
