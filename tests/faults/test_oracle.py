"""The judge itself: for each class there are facts in which it finds something."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from tests.faults.actions import ACTIONS, CUTS, Kill
from tests.faults.evidence import POISONED, SERVER, Attempt, Effect, Facts, Hurt, Task
from tests.faults.facts import recovered
from tests.faults.history import Operation
from tests.faults.oracle import CLASSES, DEATHS, judge
from tests.faults.service import PAGES

from perdure.store.database import statements


def noted(what: str, task: int, attempt: int, **more: Any) -> dict[str, Any]:
    """A record of run n, which is on member n, at 10 n."""
    return {"what": what, "task": task, "attempt": attempt, "member": f"m{attempt}",
            "at": 10.0 * attempt, **more}  # fmt: skip


def ran(task: int, attempt: int, at: float, until: float) -> list[dict[str, Any]]:
    """A run from start to end."""
    return [noted("start", task, attempt, at=at), noted("end", task, attempt, at=until)]


def deadly(attempt: int) -> list[dict[str, Any]]:
    """A run of the poison, which dies of it."""
    return [noted(what, 8, attempt, member=f"p{attempt}") for what in ("start", "poison")]


def task(number: int, name: str, operation: str, key: str | None = None) -> Task:
    """One that its second run has completed."""
    return Task(number, name, operation, 0, key, "completed", None, 2, (operation, 0))


def whole() -> Facts:
    """Tasks of all kinds that matter, each interrupted once; nothing is wrong."""
    ok: Any = {"told": "ok"}
    operations = [
        Operation("a:1", "enqueue", "effect", 0.0, 1, **ok, answers=[(1, "created")]),
        Operation("a:2", "many", "pages", 0.0, 1, **ok, answers=[(2, "created")]),
        Operation("a:3", "insert", "steps", 0.0, 1, told="unknown"),
        Operation("a:4", "own", "short", 0.0, 2, told="fail"),
        Operation("a:5", "keyed", "keyed", 0.0, 1, "k", "keep", **ok, answers=[(5, "created")]),
        Operation("a:6", "keyed", "keyed", 1.0, 1, "k", "keep", **ok, answers=[(5, "kept")]),
        Operation("a:7", "keyed", "keyed", 2.0, 1, "k", "replace", **ok, answers=[(7, "replaced")]),
        Operation("a:8", "poison", "poison", 0.0, 1, **ok, answers=[(8, "created")]),
        Operation("a:9", "proceed", "", 0.0, 0, "a:3/0", None, "ok", "kept"),
    ]
    tasks = [
        task(1, "effect", "a:1"), task(2, "pages", "a:2"), task(3, "steps", "a:3"),
        task(5, "keyed", "a:5", "k")._replace(state="cancelled", result=(None, None)),
        task(7, "keyed", "a:7", "k"),
        task(8, "poison", "a:8")._replace(state="failed", kind="crash", result=(None, None)),
    ]  # fmt: skip
    ledger = [
        noted("start", 1, 1), noted("raised", 1, 1), noted("start", 1, 2),
        noted("start", 2, 1, page=0), noted("saved", 2, 1, page=2),
        noted("start", 2, 2, page=2), noted("saved", 2, 2, page=PAGES), noted("end", 2, 2),
        noted("start", 3, 1), noted("body", 3, 1, step=0), noted("stepped", 3, 1, step=0),
        noted("start", 3, 2), noted("body", 3, 2, step=1), noted("end", 3, 2),
        *ran(5, 1, 10, 11), *ran(7, 2, 12, 13),
        *(record for n in range(1, DEATHS + 1) for record in deadly(n)),
    ]  # fmt: skip
    return Facts(
        operations=operations,
        ledger=ledger,
        tasks={one.id: one for one in tasks},
        attempts=[Attempt(1, 1, "failure", 7), Attempt(2, 1, "crash", 8)],
        effects=[Effect(1, 2)],
        pages=[Effect(2, 1 + (page > 1), page) for page in range(PAGES)],
        hurts=[Hurt("m1", "killed", 15, inf), Hurt("m2", POISONED, 20, inf)],
        members={7: "m7", 8: "m1"},
    )


FACTS = whole()


def having(*more: Task) -> dict[int, Task]:
    """The tasks, and others or the same in another state."""
    return {**FACTS.tasks, **{one.id: one for one in more}}


def changed(number: int, **fields: Any) -> dict[int, Task]:
    """The tasks, one of them with these fields."""
    return having(FACTS.tasks[number]._replace(**fields))


def without(number: int) -> dict[int, Task]:
    return {id_: row for id_, row in FACTS.tasks.items() if id_ != number}


def ledger(*more: dict[str, Any]) -> Facts:
    """The facts, with more records in the ledger."""
    return replace(FACTS, ledger=[*FACTS.ledger, *more])


def asked(at: int, **fields: Any) -> Facts:
    """The facts, with an operation that has these fields."""
    operations = list(FACTS.operations)
    operations[at - 1] = replace(operations[at - 1], **fields)
    return replace(FACTS, operations=operations)


def crashed(number: int, attempt: int, since: float | None = None) -> Facts:
    """The facts, with a crash more of the worker that is killed at 15; the run was never noted."""
    crash = Attempt(number, attempt, "crash", 8, since)
    return replace(FACTS, attempts=[*FACTS.attempts, crash])


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert judge(whole()) == {name: [] for name in CLASSES}


WRONG = {
    "an acknowledged task is not there": ("lost", replace(FACTS, tasks=without(2))),
    "a refused task is there": (
        "unexpected", replace(FACTS, tasks=having(task(4, "short", "a:4"))),
    ),
    "a task that nobody asked for": (
        "unexpected", replace(FACTS, tasks=having(task(4, "short", "b:9"))),
    ),
    "a task that was answered kept and is there": (
        "unexpected", replace(FACTS, tasks=having(task(6, "keyed", "a:6", "k"))),
    ),
    "more tasks than were asked for": (
        "unexpected",
        replace(FACTS, tasks=having(task(4, "effect", "a:1")._replace(number=1))),
    ),
    "half of an unknown operation": ("lost", asked(3, tasks=2)),
    "a task twice": ("duplicated", replace(FACTS, tasks=having(task(4, "steps", "a:3")))),
    "an effect twice": ("duplicated", replace(FACTS, effects=[Effect(1, 2), Effect(1, 2)])),
    "an end without its effect": ("lost", replace(FACTS, effects=[])),
    "an effect of another run than the end": ("stale", replace(FACTS, effects=[Effect(1, 1)])),
    "a page twice": ("duplicated", replace(FACTS, pages=[*FACTS.pages, Effect(2, 2, 4)])),
    "a page of an older run after one of a newer": (
        "stale", replace(FACTS, pages=[*FACTS.pages[:4], Effect(2, 1, 4)]),
    ),
    "a task that has not ended": ("stuck", replace(FACTS, tasks=changed(1, state=None))),
    "a task that ended as what it is not": (
        "unexpected", replace(FACTS, tasks=changed(1, state="failed")),
    ),
    "a task that has ended without a run": ("unexpected", replace(FACTS, ledger=[])),
    "a task that has ended by a run that never did": (
        "unexpected", replace(FACTS, tasks=changed(3, attempt=1)),
    ),
    "the result of another task": (
        "unexpected", replace(FACTS, tasks=changed(3, result=("a:2", 0))),
    ),
    "a cancel that nobody asked for": (
        "unexpected", replace(FACTS, tasks=changed(7, state="cancelled")),
    ),
    "a signal that met two": ("unexpected", asked(9, answer="ambiguous")),
    "a run that began before what was saved": (
        "replayed", ledger(noted("start", 2, 3, page=1, member="m7")),
    ),
    "a step that was done again": ("replayed", ledger(noted("body", 3, 3, step=0, member="m7"))),
    "a crash of a worker that lives": (
        "burnt", replace(FACTS, hurts=[Hurt("m7", "killed", 15, inf)]),
    ),
    "a crash of a worker that was hurt for a moment": (
        "burnt", replace(FACTS, hurts=[Hurt("m1", "swallowed", 15, 15.5)]),
    ),
    "a crash of a worker whose connection was cut": (
        "burnt", replace(FACTS, hurts=[Hurt("m1", "cut", 12, 15)]),
    ),
    "a crash of a worker that was stopped after a cut": (
        "burnt",
        replace(FACTS, hurts=[Hurt("m1", "cut", 13, 13)], stops=[Hurt("m1", "stopped", 14, 18)]),
    ),
    "a crash of a worker while the server was away": (
        "burnt", replace(FACTS, hurts=[Hurt(SERVER, "away", 11, 18)]),
    ),
    "a crash of a worker that was stopped without a server long after": (
        "burnt",
        replace(
            FACTS, hurts=[Hurt(SERVER, "away", 40, 45)], stops=[Hurt("m1", "stopped", 40, 44)]
        ),
    ),
    "a crash of a worker that was stopped, and of the server long before": (
        "burnt",
        replace(FACTS, hurts=[Hurt(SERVER, "away", 1, 5)], stops=[Hurt("m1", "stopped", 7, 12)]),
    ),
    "a crash of a worker that died after it was counted": (
        "burnt", replace(FACTS, attempts=[Attempt(2, 1, "crash", 8, None, 14)]),
    ),
    "a crash of a task that its worker merely held": (
        "burnt", crashed(3, 5),
    ),
    "a crash of a task whose start was saved long before its worker died": (
        "burnt", crashed(3, 5, since=13),
    ),
    "a crash of a poison by a run that did not die": (
        "burnt", crashed(8, DEATHS + 1),
    ),
    "a crash of a worker that was hurt before": (
        "burnt", replace(FACTS, hurts=[Hurt("m1", "frozen", 1, 5)]),
    ),
    "a crash of a worker that nobody has seen": (
        "burnt", replace(FACTS, attempts=[Attempt(3, 5, "crash", 99)]),
    ),
    "a failure that no handler raised": (
        "burnt", replace(FACTS, attempts=[*FACTS.attempts, Attempt(2, 2, "failure", 7)]),
    ),
    "a failure of another run than the one that raised": (
        "burnt", replace(FACTS, attempts=[Attempt(1, 2, "failure", 7)]),
    ),
    "a poison that kills too many": (
        "unexpected", ledger(*deadly(4)),
    ),
    "a poison that is not told as one": (
        "unexpected", replace(FACTS, tasks=changed(8, kind="exhausted")),
    ),
    "two of one key at once": ("breached", ledger(*ran(5, 3, 12.5, 12.8))),
    "what the watcher saw": ("misplaced", replace(FACTS, samples={"misplaced": ["a row"]})),
    "what was left": ("leaked", replace(FACTS, left=["a lease"])),
    "what took too long": ("late", replace(FACTS, late=["9 s"])),
    "what was told": ("secret", replace(FACTS, secrets=["a log"])),
}  # fmt: skip


def test_there_is_a_wrong_for_each_class() -> None:
    assert {found for found, _ in WRONG.values()} == set(CLASSES)


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_is_found_in_its_class(name: str) -> None:
    expected, facts = WRONG[name]
    found = judge(facts)
    assert found[expected], found


def test_what_a_thawed_process_notes_late_counts_for_nothing() -> None:
    late = [noted("start", 2, 1, page=0, at=29), noted("body", 3, 1, step=0, at=29)]
    thawed = replace(ledger(*late), hurts=[*FACTS.hurts, Hurt("m1", "frozen", 12, 28)])
    assert not any(judge(thawed).values())
    long_ago = replace(thawed, hurts=[Hurt("m1", "frozen", 12, 20)])
    assert len(judge(long_ago)["replayed"]) == 2


def test_a_repeated_enqueue_may_be_told_that_its_own_task_is_kept() -> None:
    own = asked(7, answers=[(7, "kept")])
    assert not any(judge(own).values())


def test_a_poison_may_kill_one_more_while_nobody_can_say_that_it_has() -> None:
    more = ledger(*deadly(4))
    away = replace(more, hurts=[*FACTS.hurts, Hurt(SERVER, "away", 38, 41)])
    assert not judge(away)["unexpected"]


def test_a_run_whose_worker_was_stopped_without_a_server_may_count_as_a_crash() -> None:
    stopped = replace(FACTS, hurts=[], stops=[Hurt("m1", "stopped", 14, 18)])
    assert judge(stopped)["burnt"]
    away = replace(stopped, hurts=[Hurt(SERVER, "away", 15, 20)])
    assert not judge(away)["burnt"]


@pytest.mark.parametrize(
    "hurt",
    [
        Hurt("m1", "killed", 15, inf), Hurt("m1", POISONED, 15, inf), Hurt("m1", "frozen", 12, 15),
        Hurt("m1", "swallowed", 8, 11),
    ],
)  # fmt: skip
def test_a_run_whose_worker_died_or_looked_dead_may_count_as_a_crash(hurt: Hurt) -> None:
    assert not judge(replace(FACTS, hurts=[hurt]))["burnt"]


def test_a_run_whose_worker_died_just_as_its_start_was_saved_may_count_as_a_crash() -> None:
    assert not judge(crashed(3, 5, since=14.9))["burnt"]


def test_a_run_whose_child_had_not_come_to_its_handler_may_count_as_a_crash() -> None:
    held = crashed(3, 5)
    begun = noted("begun", 3, 5, at=14, member="m1")
    assert judge(held)["burnt"]
    assert not judge(replace(held, ledger=[*held.ledger, begun]))["burnt"]


def test_a_run_that_a_poison_has_ended_may_count_as_a_crash() -> None:
    poisoned = Attempt(8, DEATHS, "crash", 7)
    assert not judge(replace(FACTS, attempts=[poisoned]))["burnt"]


def test_a_zombie_of_a_key_may_still_compute() -> None:
    both = ledger(*ran(5, 3, 12.5, 12.8))
    assert not judge(replace(both, hurts=[*FACTS.hurts, Hurt("m3", "frozen", 9, 12)]))["breached"]


def test_every_request_that_a_fault_cuts_at_is_sent_by_somebody() -> None:
    shipped = "\n".join(text.decode() for text in statements("perdure").values())
    words = {word.decode() for kind in ("worker", "python") for word in CUTS[kind]}
    assert {word for word in words if word not in shipped} == {"COMMIT"}
    assert len(ACTIONS) > 12


def test_a_recovery_is_counted_from_the_death_of_the_worker_that_had_the_task() -> None:
    kills = [Kill("m1", 12.0, calm=True), Kill("m3", 29.0, calm=True)]
    ledger = [
        *(noted("start", 1, attempt) for attempt in (1, 2)),
        # Taken from a worker that is killed later.
        noted("start", 2, 3, at=20.0), noted("start", 2, 4, at=25.0),
    ]  # fmt: skip
    assert list(recovered(kills, ledger)) == [(kills[0], 8.0)]
