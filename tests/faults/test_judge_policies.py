"""The judge of policies: for each promise there are facts in which it finds that it was broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from tests.faults.evidence import LINE, Attempt, Facts, Fire, Hurt, Schedule, Task, Tick
from tests.faults.history import Operation
from tests.faults.judge_policies import HELD_SECONDS, LOST_SECONDS
from tests.faults.oracle import CLASSES, judge
from tests.faults.policies import BY_SCHEDULE, SINGLETON

STOP = "constraint:line"


def record(what: str, task: int, at: float, attempt: int = 1, **more: Any) -> dict[str, Any]:
    """A note of a run, which is on member n."""
    return {
        "what": what,
        "task": task,
        "attempt": attempt,
        "member": f"m{attempt}",
        "at": at,
    } | more


def ran(task: int, since: float, until: float, attempt: int = 1, **more: Any) -> list[Any]:
    """A run from start to end."""
    end = {"reason": STOP, "what": "stopped"} if more.pop("stopped", False) else {"what": "end"}
    return [record("start", task, since, attempt, **more), record("", task, until, attempt) | end]


def asked(id_: str, name: str, key: str | None, policy: str | None, at: float, answer: Any) -> Any:
    """An operation that was answered a second later."""
    return Operation(
        id_, name, name, at, 1, key, policy, "ok", None, [answer], until=at + 1
    )  # fmt: skip


def done(id_: int, name: str, operation: str, number: int = 0, **more: Any) -> Task:
    """One that its first run has completed."""
    task = Task(
        id_, name, operation, number, None, "completed", None, 1, (operation, number), 9.0
    )  # fmt: skip
    return task._replace(**more)


def scheduled(id_: int, name: str, key: str, until: float) -> Task:
    return done(id_, name, BY_SCHEDULE, schedule=key, until=until)


NOTHING: Any = {"attempt": None, "result": (None, None)}
TASKS = [
    scheduled(1, "short", "allow", 1.6), scheduled(2, "short", "allow", 4.6),
    scheduled(3, "durable", "skip", 2.5), scheduled(4, "durable", "skip", 3.6),
    scheduled(5, "keyed", "queue", 4.5), scheduled(6, "keyed", "queue", 5.5),
    *(done(id_, "limited", "l:1", id_ - 10) for id_ in (10, 11)), done(12, "limited", "l:2"),
    done(13, "limited", "l:3"),
    done(20, "lined", "n:1", attempt=2),
    Task(30, SINGLETON, "", 0, SINGLETON, "cancelled", "requested", 2, (None, None)),
    done(40, "keyed", "u:2", unique_key="last-1"),
    done(50, "keyed", "k:1", unique_key="key-1"), done(51, "keyed", "k:2", unique_key="key-1"),
    done(60, "link", "c:1", 0), done(61, "link", "c:1", 1),
    done(62, "link", "c:1", 2, state="failed", kind="given_up", result=(None, None)),
    done(63, "link", "c:1", 3, state="failed", kind="dependency", **NOTHING),
    done(64, "link", "c:1", 4),
    done(70, "expiring", "e:1", expires=6.0),
    done(71, "expiring", "e:2", expires=6.0, state="failed", kind="expired", **NOTHING),
    done(72, "overdue", "e:3", deadline=6.0),
]  # fmt: skip
OPERATIONS = [
    replace(asked("l:1", "many", None, None, 0, (10, "created")), tasks=2),
    asked("l:2", "enqueue", None, None, 0, (12, "created")),
    asked("l:3", "enqueue", None, None, 0, (13, "created")),
    asked("n:1", "enqueue", None, None, 0, (20, "created")),
    asked("u:1", "updated", "last-1", "update", 0, (40, "created")),
    asked("u:2", "updated", "last-1", "update", 5, (40, "updated")),
    asked("k:1", "keyed", "key-1", "keep", 0, (50, "created")),
    asked("k:2", "keyed", "key-1", "append", 5, (51, "appended")),
    replace(asked("c:1", "chain", None, None, 0, (60, "created")), tasks=5, fails=2),
    *(asked(f"e:{n}", "timed", None, None, 0, (69 + n, "created")) for n in (1, 2, 3)),
]
LEDGER = [
    *ran(1, 1.2, 1.5), *ran(2, 4.2, 4.5), *ran(3, 1.2, 2.4), *ran(4, 3.2, 3.5),
    *ran(5, 2.2, 4.4), *ran(6, 4.6, 5.4),
    *ran(10, 1, 2), *ran(11, 1, 2), *ran(12, 1.5, 3), *ran(13, 2.5, 3.5),
    *ran(20, 98, 101, stopped=True, page=0), *ran(20, 106, 108, 2, page=0),
    record("start", 30, 0), record("tick", 30, 1, number=1), record("tick", 30, 2, number=2),
    record("start", 30, 4, 2), record("tick", 30, 4, 2, number=4),
    record("tick", 30, 5, 2, number=5), record("tick", 30, 6, 2, number=6),
    *ran(40, 8 + HELD_SECONDS, 9 + HELD_SECONDS), *ran(50, 10, 11), *ran(51, 12, 13),
    *ran(60, 10, 11), *ran(61, 12, 13), *ran(62, 12, 13), *ran(64, 14, 15),
    record("inputs", 61, 12, inputs=[["completed", 0]]),
    record("inputs", 64, 14, inputs=[["failed", None]]),
    *ran(70, 5, 6), *ran(72, 6.5, 7),
]  # fmt: skip
FIRES = [
    Fire("allow", 1, "fired", 1, 1, 1.1), Fire("allow", 2, "coalesced", 2, None, 4.1),
    Fire("allow", 4, "fired", 1, 2, 4.1),
    Fire("skip", 1, "fired", 1, 3, 1.1), Fire("skip", 2, "skipped", 1, None, 2.1),
    Fire("skip", 3, "fired", 1, 4, 3.1),
    Fire("queue", 2, "fired", 1, 5, 2.1), Fire("queue", 4, "fired", 1, 6, 4.1),
]  # fmt: skip
KEPT = Facts(
    operations=OPERATIONS,
    ledger=LEDGER,
    tasks={one.id: one for one in TASKS},
    attempts=[Attempt(20, 1, "interruption", 1, reason=STOP)],
    effects=[],
    pages=[],
    fires=FIRES,
    schedules=[Schedule("allow", 0, 5), Schedule("skip", 0, 4), Schedule("queue", 0, 6)],
    # The third is what the first holder had begun when it died, the fifth has raised.
    ticks=[Tick(30, 1, 1), Tick(30, 1, 2), Tick(30, 2, 4), Tick(30, 2, 6)],
    hurts=[Hurt(LINE, "down", 100, 105)],
)


def ledger(*records: Mapping[str, Any], but: Sequence[int] = ()) -> Facts:
    """The facts with these records, and without those of some tasks."""
    left = [one for one in KEPT.ledger if one["task"] not in but]
    return replace(KEPT, ledger=sorted([*left, *records], key=lambda one: one["at"]))


def changed(id_: int, **fields: Any) -> Facts:
    """The facts, a task with these fields."""
    return replace(KEPT, tasks={**KEPT.tasks, id_: KEPT.tasks[id_]._replace(**fields)})


def without(id_: int) -> Facts:
    """The facts, a task less."""
    return replace(KEPT, tasks={key: one for key, one in KEPT.tasks.items() if key != id_})


def fired(at: int, *instead: Fire) -> Facts:
    """The facts, with these fires for the one at that place."""
    return replace(KEPT, fires=[*FIRES[:at], *instead, *FIRES[at + 1 :]])


def ticked(*ticks: tuple[int, int]) -> Facts:
    """The facts, with ticks of these attempts and numbers."""
    return replace(KEPT, ticks=[Tick(30, attempt, number) for attempt, number in ticks])


def test_nothing_is_found_where_every_policy_was_kept() -> None:
    assert judge(KEPT) == {name: [] for name in CLASSES}


WRONG = {
    "an instant without a fate": ("lost", fired(1, FIRES[1]._replace(instants=1))),
    "the first instant without a fate": ("lost", fired(6)),
    "the last instant without a fate": (
        "lost", replace(KEPT, schedules=[Schedule("allow", 0, 6)]),
    ),
    "an instant with two fates": ("duplicated", fired(1, FIRES[1]._replace(instants=3))),
    "a schedule that never fired": ("lost", replace(KEPT, fires=FIRES[:6])),
    "a task of a schedule that is in no fire": (
        "duplicated", replace(KEPT, tasks={**KEPT.tasks, 7: TASKS[0]._replace(id=7)}),
    ),
    "a fire without its task": ("lost", without(1)),
    "an instant that was left out before it was late": (
        "unexpected", fired(1, FIRES[1]._replace(decided=3.5)),
    ),
    "an instant that was skipped for nobody": (
        "unexpected", changed(3, until=1.5),
    ),
    "an instant that was skipped though the schedule queues": (
        "unexpected", fired(6, Fire("queue", 2, "skipped", 1, None, 2.1)),
    ),
    "an instant before its time": ("unexpected", fired(0, FIRES[0]._replace(decided=0.9))),
    "an instant that was not skipped": ("breached", changed(3, until=4.0)),
    "two tasks of a schedule at once": (
        "breached", ledger(*ran(3, 1.2, 3.4), *ran(4, 3.2, 3.5), but=[3, 4]),
    ),
    "tasks of a schedule in another order": (
        "breached", ledger(*ran(5, 6, 7), but=[5]),
    ),
    "more at once than the limit": ("breached", ledger(*ran(13, 1.6, 1.8), but=[13])),
    "a start long after the loss of what it needs": (
        "breached", ledger(*ran(20, 101 + LOST_SECONDS, 110, 3, page=0)),
    ),
    "a run that went on after the loss": ("breached", ledger(*ran(20, 99, 104, 3, page=0))),
    "a stop without a loss": (
        "unexpected", ledger(*ran(20, 109, 110, 3, page=0, stopped=True)),
    ),
    "a stop that is told as a failure": (
        "burnt", replace(KEPT, attempts=[Attempt(20, 1, "failure", 1)]),
    ),
    "a tick of an older holder": ("stale", ticked((1, 1), (2, 2), (1, 3))),
    "a tick twice": ("duplicated", ticked((1, 1), (2, 1))),
    "a tick that a holder left out": ("lost", ticked((1, 1), (1, 2), (1, 4))),
    "two ticks that one takeover has lost": ("lost", ticked((1, 2), (2, 9))),
    "an update that was not done": ("lost", changed(40, result=("u:1", 0))),
    "an update of another key": ("unexpected", changed(40, result=("k:1", 0))),
    "one that was appended and came first": (
        "breached", ledger(*ran(51, 8, 9), but=[51]),
    ),
    "a link that ended otherwise than the one before": (
        "unexpected", changed(63, state="completed", kind=None),
    ),
    "a link that ran after a failure": ("breached", ledger(*ran(63, 16, 17))),
    "a link that began too early": ("breached", ledger(*ran(61, 10.5, 13), but=[61])),
    "a link that read another end": (
        "unexpected", ledger(record("inputs", 64, 14, inputs=[["completed", 3]])),
    ),
    "one that expired too early": ("unexpected", changed(71, until=5.4)),
    "one that expired though it had begun": ("unexpected", ledger(*ran(71, 5, 6))),
    "one that began after it had expired": ("breached", ledger(*ran(70, 8, 9), but=[70])),
    "one that was due to expire and failed": ("unexpected", changed(70, state="failed", kind="x")),
    "one that began before its deadline without what it needs": (
        "breached", ledger(*ran(72, 5, 7), but=[72]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_each_broken_promise_is_found_in_its_class(name: str) -> None:
    expected, facts = WRONG[name]
    found = judge(facts)
    assert found[expected], found


def test_what_a_hurt_process_still_does_is_nobodys_fault() -> None:
    two = ledger(*ran(3, 1.2, 3.4), *ran(4, 3.2, 3.5, 2), but=[3, 4])
    assert judge(two)["breached"]
    assert not judge(replace(two, hurts=[Hurt("m1", "frozen", 2, 3.3)]))["breached"]
    lost = ledger(record("start", 61, 11.5) | {"member": "m9"})
    assert not judge(lost)["breached"]
    unknown = ledger(*ran(71, 4, 5))
    assert judge(unknown)["unexpected"]
    assert not judge(replace(unknown, hurts=[Hurt("m1", "killed", 5, inf)]))["unexpected"]


def test_ticks_of_more_than_a_minute_ago_may_be_left_out() -> None:
    away = [record("start", 30, 91, 3), record("tick", 30, 91, 3, number=65)]
    assert len(judge(replace(ledger(*away), ticks=[*KEPT.ticks, Tick(30, 3, 65)]))["lost"]) == 0
    early = [away[0], away[1] | {"number": 70}]
    assert len(judge(replace(ledger(*early), ticks=[*KEPT.ticks, Tick(30, 3, 70)]))["lost"]) == 1


def test_an_update_that_came_just_before_the_run_may_be_too_late() -> None:
    late = ledger(*ran(40, 7, 8), but=[40])
    result = KEPT.tasks[40]._replace(result=("u:1", 0))
    assert not judge(replace(late, tasks={**KEPT.tasks, 40: result}))["lost"]
