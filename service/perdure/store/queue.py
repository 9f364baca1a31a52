"""Claim, finish, settle, save, hand back: every write for a running task, as batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import psycopg

from perdure.errors import DatabaseUnavailable
from perdure.store.database import Session
from perdure.tasks.places import Claimed, Ended, LeaseId, Mail, Move, Ready, Saved, Waiting
from perdure.tasks.plan import Pick

LEASE_TASKS_MAX = 64
"""Tasks that one lease holds at most; the claim's statement knows the same number."""
BODY_BYTES_MAX = 2048
"""Metadata up to this size rides the claim; what is larger is read after its commit."""
_PRIORITY_AND_ID = itemgetter(2, 3)
METADATA_READ_MAX = 16
"""How many large metadata are read in one statement."""


class Unclaimed(RuntimeError):
    """The server returned more tasks than were asked for: a plan has gone wrong."""


class Done(Protocol):
    """A plain success: what `finish` needs of it. `started_at` is in seconds of the epoch, by the
    database's clock; `result` is JSON text; `saved` the checkpoint that it leaves, if any."""

    lease: LeaseId
    task_id: int
    attempt: int
    result: str
    saved: Saved | None

    @property
    def started_at(self) -> float:
        """When the handler was called."""


class Settling(NamedTuple):
    """A move to settle: `progress` is the last report as JSON text, `abandoned` marks the last
    release at shutdown."""

    lease: LeaseId
    task_id: int
    started_at: float | None
    move: Move
    progress: str | None = None
    abandoned: bool = False


class Saving(NamedTuple):
    """Execution metadata, progress, or (both None) the mere start of a run, to be saved."""

    lease: LeaseId
    task_id: int
    attempt: int
    started_at: float
    saved: Saved | None = None
    explicit: bool = False
    progress: str | None = None
    alone: bool = False
    """Whether the run has a lease of its own: a transaction of its handler may be open, with a
    checkpoint in it."""


class Settled(NamedTuple):
    """What `settle` answered for one move: settled, busy, lost, or mail with all the letters."""

    answer: str
    letters: tuple[Mail, ...]


def array_literal(values: Iterable[object]) -> str:
    """An array of numbers or uuids as text: the driver's dumpers per item cost more than the
    statement."""
    return "{" + ",".join(map(str, values)) + "}"


async def claim(
    session: Session, worker: int, picks: Sequence[Pick], at_most: int
) -> list[Claimed]:
    """Take at most `at_most` tasks as `picks` say, under new leases of `worker`.

    The more urgent come first, then the older.

    [] may also mean that the worker is not registered any more: its beat will say so.

    Raises:
        Unclaimed: more came than was asked for.
    """
    leases = [str(uuid4()) for _ in range(-(-at_most // LEASE_TASKS_MAX))]
    rows = await session.run(
        "claim",
        {
            "worker": worker,
            "lanes": array_literal(pick.lane for pick in picks),
            "priorities": array_literal(pick.priority for pick in picks),
            "after": array_literal(pick.after for pick in picks),
            "shares": array_literal(pick.at_most for pick in picks),
            "at_most": at_most,
            "leases": array_literal(leases),
            "body_bytes": BODY_BYTES_MAX,
        },
    )
    if len(rows) > at_most:
        raise Unclaimed(f"asked for {at_most} tasks, got {len(rows)}: a plan has gone wrong")
    claimed: list[Claimed] = []
    large: dict[int, int] = {}
    for part, lane, priority, task_id, name, body, details in sorted(rows, key=_PRIORITY_AND_ID):
        lease = leases[part - 1]
        if body is None:
            large[task_id] = len(claimed)
        if details is None:
            claimed.append(Claimed(lease, task_id, name, body or "", lane, priority))
        else:
            claimed.append(_detailed(lease, task_id, name, body or "", lane, priority, details))
    for ids in _chunks(sorted(large), METADATA_READ_MAX):
        for task_id, body in await session.run("read_metadata", {"ids": ids}):
            place = large[task_id]
            claimed[place] = claimed[place]._replace(metadata=body)
    return claimed


async def finish(session: Session, worker: int, done: Sequence[Done]) -> list[str]:
    """End plain successes in one statement.

    Returns:
        For each: own (recorded), held (its lease was locked: again later), lost.
    """
    held = [d.lease for d in done]
    leases = {lease: n for n, lease in enumerate(dict.fromkeys(held), 1)}
    saves = [d.saved for d in done]
    changed = await session.count(
        "finish_plain",
        {
            "worker": worker,
            "leases": array_literal(leases),
            "lease": array_literal([leases[lease] for lease in held]),
            "task": array_literal([d.task_id for d in done]),
            "attempt": array_literal([d.attempt for d in done]),
            # Whole microseconds: writing a number with a fraction takes three times as long.
            "started": array_literal([int(d.started_at * 1e6) for d in done]),
            "result": "[" + ",".join([d.result for d in done]) + "]",
            "saved": "[" + ",".join(map(saved_document, saves if any(saves) else ())) + "]",
        },
    )
    if changed == len(done):
        return ["own"] * changed
    return await fates(session, worker, [(d.lease, d.task_id, d.attempt) for d in done])


async def fates(
    session: Session, worker: int, runs: Sequence[tuple[LeaseId, int, int]]
) -> list[str]:
    """Whether each (lease, task, attempt) is held still, recorded by this worker, or lost."""
    rows = await session.run(
        "fate",
        {
            "worker": worker,
            "leases": array_literal(lease for lease, _, _ in runs),
            "tasks": array_literal(task for _, task, _ in runs),
            "attempts": array_literal(attempt for _, _, attempt in runs),
        },
    )
    return [fate for _, fate in sorted(rows)]


async def settle(session: Session, worker: int, moves: Sequence[Settling]) -> list[Settled]:
    """Carry out moves, each under its own fence; the answers are in the order given.

    The caller sorts by lease and task, so that two workers lock in one order.
    """
    document = "[" + ",".join(move_document(settling) for settling in moves) + "]"
    rows = await session.run("settle", {"moves": document, "worker": worker})
    return [
        Settled(answer, tuple(Mail(**letter) for letter in json.loads(letters or "[]")))
        for _, answer, letters in sorted(rows)
    ]


async def save(session: Session, saves: Sequence[Saving]) -> list[bool]:
    """Save execution metadata and progress of several runs; False where the lease is lost."""
    return [held for _, held in sorted(await session.run("save", _saves(saves)))]


async def save_at_once(session: Session, saves: Sequence[Saving]) -> list[bool]:
    """The same, but it does not wait for a transaction that is open.

    Raises:
        psycopg errors: LockNotAvailable where it would have to.
    """
    return [held for _, held in sorted(await session.run_at_once("save", _saves(saves)))]


async def hand_back(session: Session, tasks: Sequence[tuple[LeaseId, int]]) -> list[int]:
    """Give tasks that were not started back to ready, unharmed; the ids that went back."""
    leases = sorted({lease for lease, _ in tasks})
    rows = await session.run(
        "hand_back",
        {"leases": array_literal(leases), "tasks": array_literal(t for _, t in tasks)},
    )
    return list(rows[0][0])


async def separate(session: Session, lease: LeaseId, task_id: int, own: LeaseId) -> LeaseId:
    """Give a running task a lease of its own; the lease that holds it afterwards.

    Raises:
        psycopg errors: with SQLSTATE PD001 if the lease no longer holds the task.
    """
    rows = await session.run("separate", {"lease": lease, "task": task_id, "own": own})
    return str(rows[0][0])


async def leases_of(session: Session, worker: int) -> dict[LeaseId, list[int]]:
    """The leases that the database believes `worker` to hold, with their tasks."""
    rows = await session.run("reconcile", {"worker": worker})
    return {str(lease): tasks for lease, tasks in rows}


async def end_session(session: Session, backend_pid: int) -> None:
    """End another session of the runtime's, so that nothing sent there can commit any more.

    Raises:
        DatabaseUnavailable: it has not ended yet.
    """
    try:
        ((ended,),) = await session.run("end_session", {"pid": backend_pid})
    except psycopg.Error as error:
        # Not ours any more: it has ended, and the server has given its number to another.
        if error.sqlstate == "PD003":
            return
        raise
    if not ended:
        raise DatabaseUnavailable(f"the server's process {backend_pid} does not end")


def _saves(saves: Sequence[Saving]) -> dict[str, object]:
    return {"saves": "[" + ",".join(map(saving_document, saves)) + "]"}


def saved_document(saved: Saved | None) -> str:
    """A `Saved` as the SQL functions read it: JSON text, `null` for None."""
    if saved is None:
        return "null"
    return (
        f'{{"version":{saved.version},"execution_metadata":{saved.execution_metadata or "null"}'
        f',"steps":{saved.steps or "null"}}}'
    )


def saving_document(saving: Saving) -> str:
    """A `Saving` as one JSON object."""
    return (
        f'{{"lease":"{saving.lease}","task":{saving.task_id},"attempt":{saving.attempt}'
        f',"started_at":{saving.started_at},"saved":{saved_document(saving.saved)}'
        f',"explicit":{str(saving.explicit).lower()},"progress":{saving.progress or "null"}}}'
    )


def move_document(settling: Settling) -> str:
    """A move as the SQL function `settle` reads it: one JSON object."""
    move = settling.move
    members: dict[str, str] = {
        "lease": f'"{settling.lease}"',
        "task": str(settling.task_id),
        "known": json.dumps(move.known),
        "obeyed": json.dumps(move.obeyed),
        "failures": str(move.failures),
        "interruptions": str(move.interruptions),
        "crashes": str(move.crashes),
        "explicit": json.dumps(move.explicit),
        "abandoned": json.dumps(settling.abandoned),
        "attempt": json.dumps(move.attempt),
        "started_at": json.dumps(settling.started_at),
        "run": json.dumps(move.run),
        "run_reason": json.dumps(move.run_reason),
        "run_error": move.run_error or "null",
        "saved": saved_document(move.saved),
        "progress": settling.progress or "null",
        "wait_key": json.dumps(move.wait_key),
        "exhausted": json.dumps(move.exhausted),
        "to": _goal(move.to),
    }
    return "{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}"


def _goal(goal: Ended | Waiting | Ready) -> str:
    match goal:
        case Ended():
            return (
                f'{{"place":"ended","state":"{goal.state}","kind":{json.dumps(goal.kind)}'
                f',"result":{goal.result or "null"},"error":{goal.error or "null"}}}'
            )
        case Waiting():
            return json.dumps(
                {"place": "waiting", "reason": goal.reason, "delay": goal.delay,
                 "until": goal.until, "wait_key": goal.wait_key}
            )  # fmt: skip
        case Ready():
            return json.dumps({"place": "ready", "reason": goal.reason})


def _detailed(
    lease: LeaseId, task_id: int, name: str, metadata: str, lane: int, priority: int, text: str
) -> Claimed:
    """A claimed task that has a progress row, headers or limits of its own, or a schedule."""
    details: dict[str, Any] = json.loads(text)
    marks = details["marks"] or 0
    delays = details["retry_delays"]

    return Claimed(
        lease=lease, task_id=task_id, name=name, metadata=metadata, lane=lane, priority=priority,
        attempt=details["attempt"] or 0, failures=details["failures"] or 0,
        interruptions=details["interruptions"] or 0, losses=details["losses"] or 0,
        crashes=details["crashes"] or 0,
        recovered=bool(marks & 1), explicit=bool(marks & 2), suspect=bool(marks & 4),
        followed=bool(marks & 8),
        reason=details["reason"] or "first",
        execution_metadata=details["execution_metadata"], version=details["version"] or 1,
        steps=details["steps"], headers=details["headers"], max_retries=details["max_retries"],
        retry_delays=None if delays is None else tuple(delays), cancelled=details["cancelled"],
        schedule_key=details["schedule_key"], fire_at=details["fire_at"],
        expires_at=details["expires_at"], deadline_at=details["deadline_at"],
    )  # fmt: skip


def _chunks(items: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
