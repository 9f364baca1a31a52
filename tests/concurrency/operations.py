"""Every operation that two sides may do at the same time, as steps on a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from tests.concurrency.explorer import COMMIT, Operation, Side, Step
from tests.concurrency.world import (
    FAILS,
    RETRIES,
    SAVED,
    STARTED_AT,
    SUSPENDS,
    WAIT_KEY,
    WORKER,
    Place,
    World,
    enqueue_values,
    finish_values,
    text,
)

from perdure.store.operations import Change
from perdure.store.queue import Saving, Settling, move_document, saved_document, saving_document
from perdure.store.schedule_operations import ScheduleEntry
from perdure.tasks.places import Ended, Move, Ready, Saved
from perdure.tasks.policies import UNIQUE_POLICIES, UniquePolicy

SUCCEEDS = Move(to=Ended(state="completed", result='"settled"'), attempt=1)
WITHDRAWS = Move(to=Ended(state="cancelled", kind="handler", error='{"type": "C"}'), attempt=1)
ABANDONS = Move(to=Ready(reason="interruption"), attempt=1, run="interruption", interruptions=1)
CHECKPOINT = Saved(json.dumps(SAVED), 1, None)
LEVELS = ("read committed", "repeatable read", "serializable")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOTHING = frozenset[str]()
LOST = frozenset({"PD001"})
BY_CALLER = LOST | {"40001"}
GONE = frozenset({"PD004"})
"""There is no such task: retention has removed it."""
LATER = frozenset({"55P03"})
"""Of what the machine repeats: a lock was not to be had in the time that it waits for one."""


class Aim(NamedTuple):
    """Which connection, which task, and at which level the caller's own transaction runs.

    `explicit`: the task's run is known to save in transactions of its handler.
    """

    on: int
    task: int
    level: str = LEVELS[0]
    explicit: bool = False


Build: TypeAlias = Callable[[World, Aim], Operation]
Says: TypeAlias = Callable[[Side, int], bool]


def _never(side: Side, task: int) -> bool:
    return False


def _refused(side: Side, task: int) -> bool:
    return side.refused in LOST


class Kind(NamedTuple):
    """An operation: `meets` are the places of a task in which it has something to do.

    `allowed`: how it may be refused. `caller`: it is part of a caller's own transaction.
    `took`, `saved`, `lost`: whether it says that it took a task out of where it was held, that it
    has saved the checkpoint, and that its lease does not hold the task any more. `move`: what is
    settled. `aimed`: at a task of the choice. `steps`: how many there are, with the commit.
    """

    name: str
    build: Build
    meets: Sequence[Place] = ()
    allowed: frozenset[str] = NOTHING
    caller: bool = False
    took: Says = _never
    saved: Says = _never
    lost: Says = _refused
    move: Move | None = None
    aimed: bool = True
    steps: int = 2


def one(verb: str, values: Callable[[World, Aim], dict[str, Any]]) -> Build:
    """An operation of one shipped statement."""
    return lambda world, aim: [Step(aim.on, text(verb), values(world, aim)), Step(aim.on, COMMIT)]


def plain(verb: str, /, **values: Any) -> Build:
    """The same without anything that depends on the scene."""
    return one(verb, lambda world, aim: values)


def by_caller(verb: str, values: Callable[[World, Aim], dict[str, Any]]) -> Build:
    """A handler's own write, which takes the snapshot of its transaction; then the statement."""

    def build(world: World, aim: Aim) -> Operation:
        write = f"insert into step.business values ({aim.on})"
        begin = f"set transaction isolation level {aim.level}; {write}"
        statement = Step(aim.on, text(verb), values(world, aim))
        return [Step(aim.on, begin), statement, Step(aim.on, COMMIT)]

    return build


def _run(world: World, aim: Aim) -> dict[str, Any]:
    """What statements for one run need."""
    return {
        "lease": world.lease_of(aim.task), "task": aim.task, "attempt": 1, "worker": WORKER,
        "started_at": STARTED_AT,
    }  # fmt: skip


def _finish(world: World, aim: Aim) -> Operation:
    values = finish_values(WORKER, [(world.lease_of(aim.task), aim.task, 1)])
    return [Step(aim.on, text("finish_plain") + " returning task_id", values),
            Step(aim.on, COMMIT)]  # fmt: skip


def _document(world: World, aim: Aim, move: Move, *, abandoned: bool = False) -> str:
    lease = world.lease_of(aim.task)
    explicit = replace(move, explicit=aim.explicit)
    return move_document(Settling(lease, aim.task, STARTED_AT, explicit, abandoned=abandoned))


def _save(world: World, aim: Aim) -> dict[str, Any]:
    saving = Saving(world.lease_of(aim.task), aim.task, 1, STARTED_AT, CHECKPOINT)
    return {"saves": f"[{saving_document(saving)}]"}


def _separate(world: World, aim: Aim) -> dict[str, Any]:
    own = world.own_lease(0 if aim.task == world.subject else 1)
    return {"lease": world.lease, "task": aim.task, "own": own}


def _deregister(world: World, aim: Aim) -> Operation:
    said = Step(aim.on, text("deregister"), {"worker": WORKER})
    recover = Step(aim.on, text("recover"), {"reported_only": True})
    return [said, Step(aim.on, COMMIT), recover, Step(aim.on, COMMIT)]


def _fire(world: World, aim: Aim) -> dict[str, Any]:
    """What a look at the schedule has decided, of the row as it is at the beginning."""
    version = world.database.value("select xmin::text from perdure.schedules")
    instant, after = LONG_AGO.isoformat(), (LONG_AGO + timedelta(minutes=1)).isoformat()
    turn = {
        "key": "s", "version": version, "anchor": instant, "next_fire_at": after, "look_at": after,
        "problem": None, "fires": [{"fire_at": instant, "fate": "fired", "instants": 1}],
    }  # fmt: skip
    return {"turns": json.dumps([turn])}


def _operate(world: World, aim: Aim) -> Operation:
    """What an operator sets, in one transaction."""
    return [
        Step(aim.on, text("set_queue"), {"name": "default", "max_depth": -1, "concurrency": 3}),
        Step(aim.on, text("set_constraint"), {"name": "c", "satisfied": True}),
        Step(aim.on, text("drain_worker"), {"id": WORKER}),
        Step(aim.on, COMMIT),
    ]


def _proceed(**to: Any) -> Build:
    verb = "proceed" if not to else "proceed_waiting"
    values = {"patch": json.dumps(SAVED), "execution_metadata": None, "run_at": None,
              "signal_key": None}  # fmt: skip
    return one(verb, lambda world, aim: {**values, **(to or {"id": aim.task})})


def _settled(side: Side, task: int) -> bool:
    return bool(side.answers) and [row[1] for row in side.answers[0]] == ["settled"]


def _lost(side: Side, task: int) -> bool:
    return bool(side.answers) and [row[1] for row in side.answers[0]] == ["lost"]


def _finished(side: Side, task: int) -> bool:
    return bool(side.answers) and side.answers[0] == [(task,)]


def _accepted(side: Side, task: int) -> bool:
    return side.refused is None


def _given_back(side: Side, task: int) -> bool:
    return bool(side.answers) and task in side.answers[0][0][0]


def _held(side: Side, task: int) -> bool:
    return bool(side.answers) and side.answers[0] == [(1, True)]


def _not_held(side: Side, task: int) -> bool:
    return bool(side.answers) and side.answers[0] == [(1, False)]


def settling(name: str, move: Move, *, abandoned: bool = False) -> Kind:
    """The end of a run that is not a plain success."""

    def values(world: World, aim: Aim) -> dict[str, Any]:
        return {"worker": WORKER, "moves": f"[{_document(world, aim, move, abandoned=abandoned)}]"}

    build = one("settle", values)
    places: list[Place] = ["running", "own", "blocked", "limited", "chained"]
    return Kind(name, build, places, took=_settled, lost=_lost, move=move)


def retention(name: str, **values: Any) -> Kind:
    """Nothing that has ended is kept."""
    keep = {"completed": 0, "failed": 0, "cancelled": 0}
    allowed = LATER if name == "drop range" else NOTHING
    verb = name.replace(" ", "_")
    return Kind(name, plain(verb, **keep, **values), ("failed", "left"), allowed, aimed=False)


def enqueueing(policy: UniquePolicy) -> Kind:
    """A task of the same unique key, whichever task has it."""
    build = one("enqueue", lambda world, aim: enqueue_values(world.key, policy, world.name))
    places: list[Place] = [
        "running", "ready", "withdrawn", "suspended", "failed", "blocked", "left", "lined",
        "opened",
    ]  # fmt: skip
    return Kind(policy, build, places, aimed=False)


def updating(name: str, **changes: Any) -> Kind:
    """A change of what was asked."""
    change = Change(**changes)._asdict()
    places: list[Place] = [
        "running", "ready", "suspended", "retrying", "blocked", "opened", "chained", "expired",
    ]  # fmt: skip
    return Kind(name, one("update_task", lambda world, aim: {"id": aim.task, **change}), places)


HELD: Sequence[Place] = ("running", "own")
EVERY: dict[str, Any] = {
    "name": None, "state": None, "tag": None, "unique_key": None, "queue": "default",
}  # fmt: skip
SCHEDULE = ScheduleEntry("s", "a", every=60.0, overlap="allow")._asdict()
KINDS = (
    Kind("insert", lambda world, aim: [
        Step(aim.on, "insert into perdure.tasks (name) values ('a'), ('b'), ('z')"),
        Step(aim.on, COMMIT)],
        aimed=False),
    # Who is refused, or runs a task now, locks no more than one of these.
    *(enqueueing(policy) for policy in UNIQUE_POLICIES if policy != "reject"),
    Kind("follow", one("enqueue", lambda world, aim: enqueue_values(None, "keep") | {
        "after": f'[{{"task": {aim.task}, "on_failure": "run"}}]'}),
        ("running", "own", "ready", "suspended", "failed", "left"), GONE),
    Kind("claim", one("claim", lambda world, aim: world.claim_values(
        WORKER, world.claims[aim.on], 1)), ("ready", "withdrawn", "expired"), aimed=False),
    Kind("finish", _finish, (*HELD, "blocked", "chained"), took=_finished),
    settling("retry later", RETRIES),
    settling("fail", FAILS),
    settling("suspend", SUSPENDS),
    settling("succeed", SUCCEEDS),
    settling("give up", WITHDRAWS),
    settling("abandon", ABANDONS, abandoned=True),
    Kind("hand back", one("hand_back", lambda world, aim: {
        "leases": [world.lease_of(aim.task)], "tasks": [aim.task]}), HELD, took=_given_back),
    Kind("separate", one("separate", _separate), HELD, LOST),
    Kind("save", one("save", _save), HELD, saved=_held, lost=_not_held),
    Kind("checkpoint", by_caller("checkpoint", lambda world, aim: {
        **_run(world, aim), "saved": saved_document(CHECKPOINT)}), HELD, BY_CALLER, caller=True,
        steps=3, saved=_accepted),
    Kind("complete", by_caller("complete", lambda world, aim: {
        **_run(world, aim), "move": _document(world, aim._replace(explicit=True), SUCCEEDS)}),
        HELD, BY_CALLER,
        caller=True, steps=3, took=_accepted),
    Kind("cancel", one("cancel", lambda world, aim: {"id": aim.task}),
        ("running", "ready", "suspended", "retrying", "blocked", "left", "lined", "limited",
         "opened", "chained", "expired")),
    Kind("cancel where", plain("cancel_where", **EVERY, dry_run=False),
        ("running", "ready", "suspended", "retrying", "blocked", "lined", "limited", "opened",
         "chained", "expired"), aimed=False),
    Kind("reschedule where", plain("reschedule_where", **EVERY, delay=None, run_at=LONG_AGO,
        dry_run=False), ("ready", "retrying", "blocked", "opened", "chained"), aimed=False),
    Kind("run now", one("run_now", lambda world, aim: {"id": aim.task}),
        ("retrying", "opened", "chained")),
    updating("update task", metadata='{"n": 2}', run_at=LONG_AGO),
    Kind("proceed", _proceed(), ("running", "suspended", "told")),
    Kind("signal", _proceed(wait_key=WAIT_KEY, keep_for=600), ("running", "suspended"),
        aimed=False),
    Kind("retry", one("retry", lambda world, aim: {
        "id": aim.task, "patch": None, "execution_metadata": None, "with_dependents": True}),
        ("failed", "retrying")),
    Kind("retry where", plain("retry_where", name="a", state="failed", since=None, error_type=None,
        dry_run=False), ("failed",), aimed=False),
    Kind("register", plain("register", id=WORKER, name="w", host="h", pid=1, version="0",
        lease_seconds=600, queues=["default"], names=["a"], slots=9, schedules=[],
        draining=False), aimed=False),
    Kind("beat", plain("beat", worker=WORKER, running=[], lease_seconds=600, held=[], problem=None,
        looks_in=None, satisfied=[]),
        HELD, aimed=False),
    Kind("deregister", _deregister, HELD, aimed=False, steps=4),
    Kind("recover", plain("recover", reported_only=False), HELD, aimed=False),
    Kind("promote", plain("promote", at_most=100), ("retrying", "chained", "expired"),
        aimed=False),
    Kind("serve openings", plain("serve_openings", at_most=100), ("limited", "opened"),
        aimed=False),
    Kind("operate", _operate, aimed=False, steps=4),
    Kind("put schedule", plain("put_schedule", **SCHEDULE), allowed=LATER, aimed=False),
    Kind("run schedule", plain("run_schedule", key="s", force=False), aimed=False),
    Kind("fire", one("fire", _fire), aimed=False),
    Kind("obey", plain("obey", at_most=100), ("told", "withdrawn", "left"), LATER, aimed=False),
    Kind("relane", plain("relane", after=0, at_most=100), aimed=False),
    Kind("pause", plain("pause_queue", name="default", stop_running=True), aimed=False),
    Kind("resume", plain("resume_queue", name="default"), aimed=False),
    retention("retire", at_most=100),
    retention("drop range", keep_most=100),
    Kind("prune", plain("prune_after", older_than=0, states=None, dry_run=False, after=0,
        at_most=100), ("failed", "left"), aimed=False),
)  # fmt: skip
NAMED = {kind.name: kind for kind in KINDS}
