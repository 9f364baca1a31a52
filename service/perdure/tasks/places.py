"""Ready, running, waiting, ended: how a state follows from a place, and the table of allowed moves.

A task is in exactly one of four places at every moment. `MOVES` is the table of all that may
happen to it, as data: `rule_of` finds the row that allows a move, and documentation and tests read
the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Place: TypeAlias = Literal["ready", "running", "waiting", "ended"]
State: TypeAlias = Literal[
    "pending",
    "scheduled",
    "retrying",
    "blocked",
    "running",
    "suspended",
    "completed",
    "failed",
    "cancelled",
]
EndState: TypeAlias = Literal["completed", "failed", "cancelled"]
EndKind: TypeAlias = Literal[
    "exhausted",
    "given_up",
    "crash",
    "expired",
    "dependency",
    "invalid",
    "bad_result",
    "requested",
    "handler",
    "replaced",
    "skipped",
    "scope",
]
ReadyReason: TypeAlias = Literal[
    "first", "proceeded", "until", "retry", "interruption", "crash", "requeued"
]
WaitingReason: TypeAlias = Literal[
    "retry", "suspended", "interruption", "newer_checkpoint", "proceeded"
]
LeaseId: TypeAlias = str
"""A uuid as text: looked up several times for each task, and text knows its hash."""
RunKind: TypeAlias = Literal["failure", "suspension", "interruption", "crash"]

_STATE_OF_WAITING: Mapping[str, State] = {
    "delay": "scheduled",
    "proceeded": "scheduled",
    "interruption": "scheduled",
    "newer_checkpoint": "scheduled",
    "retry": "retrying",
    "after": "blocked",
    "serial": "blocked",
    "replaces": "blocked",
    "instances": "blocked",
    "suspended": "suspended",
}


class Claimed(NamedTuple):
    """What a claim returns for one task. Texts are JSON; times are seconds.

    `attempt` counts the runs begun and recorded before this one, which is `attempt + 1`.
    `recovered`: taken back from a dead worker. `explicit`: an earlier run used a transaction.
    `suspect`: may have started in a worker that died, unrecorded: for the choice of a process of
    its own that is as good as a crash.
    `followed`: others wait for its end. `limited`: it holds an instance, which its end hands over.
    `cancelled`: a cancel lay in its mail already. `max_retries` and `retry_delays` are those of the
    task's own row, None where it says nothing; -1 is UNLIMITED. `schedule_key`, `fire_at`: the
    schedule that made it, and for which instant (None: by hand). `losses`: interruptions because a
    constraint was lost. `expires_at`, `deadline_at`: seconds of the epoch.
    """

    lease: LeaseId
    task_id: int
    name: str
    metadata: str
    lane: int = 0
    priority: int = 5
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    losses: int = 0
    crashes: int = 0
    recovered: bool = False
    explicit: bool = False
    suspect: bool = False
    followed: bool = False
    limited: bool = False
    reason: str = "first"
    execution_metadata: str | None = None
    version: int = 1
    steps: str | None = None
    headers: str | None = None
    max_retries: int | None = None
    retry_delays: tuple[float, ...] | None = None
    cancelled: bool = False
    schedule_key: str | None = None
    fire_at: float | None = None
    expires_at: float | None = None
    deadline_at: float | None = None


class InputRow(NamedTuple):
    """What a task that another follows has come to; `result` and `error` are JSON texts, or None.

    `state` is None for one that has been retried and lives again.
    """

    task_id: int
    name: str
    label: str | None
    state: str | None
    result: str | None
    error: str | None


class Mail(NamedTuple):
    """A letter to a task: kind `cancel`, `replaced`, `proceed` or `follower`.

    The body of a proceed has `patch` or `execution_metadata`, and `run_at` (text or null).
    """

    id: int
    kind: str
    body: Mapping[str, object] | None = None


class Saved(NamedTuple):
    """Execution metadata as it is to be stored.

    `execution_metadata` is JSON text (None: the task has none), `steps` the JSON text of an object.
    """

    execution_metadata: str | None
    version: int
    steps: str | None

    @property
    def size(self) -> int:
        """Characters of JSON text."""
        return len(self.execution_metadata or "") + len(self.steps or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The task has ended. `result` and `error` are JSON texts; `kind` is None when completed."""

    state: EndState
    kind: EndKind | None = None
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The task waits for a time, a wait key, or both; `reason` None keeps the reason it had.

    `delay` is in seconds and counted by the database's clock; `until` is ISO 8601 with zone.
    Neither: for ever, until it is proceeded.
    """

    reason: WaitingReason | None
    delay: float | None = None
    until: str | None = None
    wait_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The task may run again at once; `reason` None keeps the reason it had."""

    reason: ReadyReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What becomes of one task; the function `settle` carries it out and decides nothing.

    `attempt` is the number of the run that this move ends (None: no run was begun), `run` the kind
    of the row it leaves in `attempts` (None: none), `run_reason` the reason of a stop and
    `run_error` JSON text. The three counters are increments. `saved` is stored with the move.
    `known` lists the letters that the decision took into account, in the order of their ids: if
    there are others, `settle` answers `mail`. `obeyed` are the proceeds among them, which are
    applied in order and removed. `wait_key` is the key that the run suspended with, also when the
    task does not come to wait for it. `exhausted` names the task to enqueue with this end.
    """

    to: Ended | Waiting | Ready
    attempt: int | None = None
    run: RunKind | None = None
    run_reason: str | None = None
    run_error: str | None = None
    failures: int = 0
    interruptions: int = 0
    crashes: int = 0
    saved: Saved | None = None
    explicit: bool = False
    known: tuple[int, ...] = ()
    obeyed: tuple[int, ...] = ()
    wait_key: str | None = None
    exhausted: str | None = None


def state_of(place: Place, word: str | None = None) -> State:
    """The state that people see: from the place and, in waiting, its reason (ended: its state)."""
    match place:
        case "ready":
            return "pending"
        case "running":
            return "running"
        case "waiting":
            return _STATE_OF_WAITING[word or "delay"]
        case "ended":
            ends: Mapping[str | None, State] = {
                "completed": "completed",
                "failed": "failed",
                "cancelled": "cancelled",
            }
            return ends[word]


class Allowed(NamedTuple):
    """One row of the table of moves.

    `words` says how the goal may be marked: in `ready` and `waiting` the reason, where ended the
    state with its kind ("failed exhausted"); empty: any. `begun`: a run was begun. `run` is the
    row left in `attempts`, the counters what is added. `by` is who does it: a `settle` that
    carries out a decision, or other SQL.
    """

    number: int
    event: str
    origins: tuple[Place | Literal["nowhere"], ...]
    place: Place | Literal["nowhere"]
    words: tuple[str, ...] = ()
    by: Literal["settle", "sql"] = "settle"
    begun: bool = True
    run: RunKind | None = None
    failures: int = 0
    interruptions: int = 0
    crashes: int = 0


_RUN: tuple[Place, ...] = ("running",)
_REST: tuple[Place, ...] = ("ready", "waiting")
_CANCELLED = ("cancelled requested", "cancelled replaced", "cancelled scope")

MOVES: tuple[Allowed, ...] = (
    Allowed(1, "enqueued", ("nowhere",), "ready", ("first",), "sql", begun=False),
    Allowed(2, "enqueued, has to wait", ("nowhere",), "waiting", (), "sql", begun=False),
    Allowed(
        4,
        "enqueued behind a bad end, or skipped",
        ("nowhere",),
        "ended",
        ("failed dependency", "cancelled dependency", "cancelled skipped"),
        "sql",
        begun=False,
    ),
    Allowed(5, "promoted or released", ("waiting",), "ready", (), "sql", begun=False),
    Allowed(6, "proceeded", ("waiting",), "ready", ("proceeded",), "sql", begun=False),
    Allowed(6, "proceeded for later", _REST, "waiting", ("proceeded",), "sql", begun=False),
    Allowed(7, "hastened", ("waiting",), "ready", (), "sql", begun=False),
    Allowed(
        8,
        "cancelled, expired or cut off",
        _REST,
        "ended",
        (
            *_CANCELLED,
            "failed expired",
            "failed dependency",
            "cancelled dependency",
            "cancelled skipped",
        ),
        "sql",
        begun=False,
    ),
    Allowed(12, "claimed", ("ready",), "running", (), "sql", begun=False),
    Allowed(13, "handed back", _RUN, "ready", (), "sql", begun=False),
    Allowed(13, "its run before has not stopped here", _RUN, "waiting", ("delay",), begun=False),
    Allowed(14, "checkpoint too new", _RUN, "waiting", ("newer_checkpoint",), begun=False),
    Allowed(
        15,
        "not started",
        _RUN,
        "ended",
        (*_CANCELLED, "failed expired", "failed invalid", "failed crash"),
        begun=False,
    ),
    Allowed(18, "success", _RUN, "ended", ("completed",)),
    Allowed(18, "success that cannot be stored", _RUN, "ended", ("failed bad_result",)),
    Allowed(19, "failure, retried", _RUN, "waiting", ("retry",), run="failure", failures=1),
    Allowed(19, "failure, retried at once", _RUN, "ready", ("retry",), run="failure", failures=1),
    Allowed(
        19,
        "failure, final",
        _RUN,
        "ended",
        ("failed exhausted", "failed given_up", "failed expired"),
        failures=1,
    ),
    Allowed(20, "stopped", _RUN, "ready", ("interruption",), run="interruption", interruptions=1),
    Allowed(
        20,
        "stopped, damped",
        _RUN,
        "waiting",
        ("interruption",),
        run="interruption",
        interruptions=1,
    ),
    Allowed(21, "suspended", _RUN, "waiting", ("suspended", "proceeded"), run="suspension"),
    Allowed(21, "suspended, signal there", _RUN, "ready", ("proceeded",), run="suspension"),
    Allowed(22, "cancelled", _RUN, "ended", ("cancelled handler", *_CANCELLED)),
    Allowed(22, "failed, but cancelled", _RUN, "ended", _CANCELLED, failures=1),
    Allowed(22, "stopped, but cancelled", _RUN, "ended", _CANCELLED, interruptions=1),
    Allowed(22, "child lost, but cancelled", _RUN, "ended", _CANCELLED, crashes=1),
    Allowed(23, "child lost", _RUN, "ready", ("crash",), run="crash", crashes=1),
    Allowed(23, "child lost, proven guilty", _RUN, "ended", ("failed crash",), crashes=1),
    Allowed(23, "recovered", _RUN, "ready", (), "sql", run="crash", crashes=1),
    Allowed(23, "recovered, not started", _RUN, "ready", (), "sql", begun=False),
    Allowed(24, "retried by hand", ("ended",), "ready", ("requeued",), "sql", begun=False),
    Allowed(24, "retried by hand, waits", ("ended",), "waiting", (), "sql", begun=False),
    Allowed(25, "retired", ("ended",), "nowhere", (), "sql", begun=False),
)


def word_of(to: Ended | Waiting | Ready) -> tuple[Place, str]:
    """The place and the word of a goal, as in `Allowed`."""
    match to:
        case Ended():
            return "ended", f"{to.state} {to.kind}" if to.kind else to.state
        case Waiting():
            return "waiting", to.reason or "delay"
        case Ready():
            return "ready", to.reason or ""


def rule_of(move: Move) -> Allowed | None:
    """The row of `MOVES` that allows a move of `settle`, or None: there is no such move."""
    place, word = word_of(move.to)
    shape = (move.attempt is not None, move.run, move.failures, move.interruptions, move.crashes)
    for row in MOVES:
        if (
            row.by == "settle"
            and row.place == place
            and word in row.words
            and shape == (row.begun, row.run, row.failures, row.interruptions, row.crashes)
        ):
            return row
    return None
