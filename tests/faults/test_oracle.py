"""The judge itself: for each class there are facts in which it finds something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.faults.history import Operation
from tests.faults.oracle import CLASSES, Attempt, Effect, Facts, Task, judge
from tests.faults.service import PAGES

ENDED = ("completed", None, 2)


def noted(what: str, task: int, attempt: int, **more: Any) -> dict[str, Any]:
    return {"what": what, "task": task, "attempt": attempt, "pid": 100 + attempt, **more}


def whole() -> Facts:
    """Three tasks, one of each kind with effects, each interrupted once; nothing is wrong."""
    operations = [
        Operation("a:1", "enqueue", "effect", 0.0, 1, told="ok", answers=[(1, "created")]),
        Operation("a:2", "many", "pages", 0.0, 1, told="ok", answers=[(2, "created")]),
        Operation("a:3", "insert", "steps", 0.0, 1, told="unknown"),
        Operation("a:4", "own", "short", 0.0, 2, told="fail"),
        Operation("a:5", "keyed", "keyed", 0.0, 1, key="k", told="ok", answers=[(1, "kept")]),
    ]
    tasks = [
        Task(1, "effect", "a:1", 0, None, *ENDED),
        Task(2, "pages", "a:2", 0, None, *ENDED),
        Task(3, "steps", "a:3", 0, None, *ENDED),
    ]
    ledger = [
        noted("start", 2, 1, page=0), noted("saved", 2, 1, page=2),
        noted("start", 2, 2, page=2), noted("saved", 2, 2, page=PAGES),
        noted("body", 3, 1, step=0), noted("stepped", 3, 1, step=0),
        noted("start", 3, 2), noted("body", 3, 2, step=1), noted("raised", 1, 1),
    ]  # fmt: skip
    return Facts(
        operations=operations,
        ledger=ledger,
        tasks={task.id: task for task in tasks},
        attempts=[Attempt(1, 1, "failure", 7), Attempt(2, 1, "crash", 8)],
        effects=[Effect(1, 2)],
        pages=[Effect(2, 1 + (page > 1), page) for page in range(PAGES)],
        whole={7},
    )


FACTS = whole()


def with_task(name: str, operation: str) -> dict[int, Task]:
    """The tasks, and one more."""
    return {**FACTS.tasks, 4: Task(4, name, operation, 0, None, *ENDED)}


def changed(facts: Facts, **tasks: Any) -> dict[int, Task]:
    """The tasks, the first of them with these fields."""
    return {**facts.tasks, 1: facts.tasks[1]._replace(**tasks)}


def without(facts: Facts, task: int) -> dict[int, Task]:
    return {id_: row for id_, row in facts.tasks.items() if id_ != task}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert judge(whole()) == {name: [] for name in CLASSES}


WRONG = {
    "an acknowledged task is not there": (
        "lost", replace(FACTS, tasks=without(FACTS, 2), pages=[], ledger=[], attempts=[]),
    ),
    "a refused task is there": (
        "unexpected", replace(FACTS, tasks=with_task("short", "a:4")),
    ),
    "a task that nobody asked for": (
        "unexpected", replace(FACTS, tasks=with_task("short", "b:9")),
    ),
    "half of an unknown operation": (
        "lost", replace(FACTS, operations=[*FACTS.operations[:2],
            replace(FACTS.operations[2], tasks=2), *FACTS.operations[3:]]),
    ),
    "a task twice": (
        "duplicated", replace(FACTS, tasks=with_task("steps", "a:3")),
    ),
    "an effect twice": ("duplicated", replace(FACTS, effects=[Effect(1, 2), Effect(1, 2)])),
    "an end without its effect": ("lost", replace(FACTS, effects=[])),
    "an effect of another run than the end": ("stale", replace(FACTS, effects=[Effect(1, 1)])),
    "a page twice": ("duplicated", replace(FACTS, pages=[*FACTS.pages, Effect(2, 2, 4)])),
    "a page of an older run after one of a newer": (
        "stale", replace(FACTS, pages=[*FACTS.pages[:4], Effect(2, 1, 4)]),
    ),
    "a task that has not ended": ("stuck", replace(FACTS, tasks=changed(FACTS, state=None))),
    "a task that ended as what it is not": (
        "unexpected", replace(FACTS, tasks=changed(FACTS, state="failed")),
    ),
    "a run that began before what was saved": (
        "replayed", replace(FACTS, ledger=[*FACTS.ledger, noted("start", 2, 3, page=1)]),
    ),
    "a step that was done again": (
        "replayed", replace(FACTS, ledger=[*FACTS.ledger, noted("body", 3, 3, step=0)]),
    ),
    "a crash of a worker that lives": (
        "burnt", replace(FACTS, attempts=[Attempt(2, 1, "crash", 7)]),
    ),
    "a failure that no handler raised": (
        "burnt", replace(FACTS, attempts=[*FACTS.attempts, Attempt(2, 2, "failure", 7)]),
    ),
    "what the watcher saw": ("misplaced", replace(FACTS, samples={"misplaced": ["a row"]})),
    "what was left": ("leaked", replace(FACTS, left=["a lease"])),
    "what took too long": ("late", replace(FACTS, late=["9 s"])),
    "what was told": ("secret", replace(FACTS, secrets=["a log"])),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_is_found_in_its_class(name: str) -> None:
    expected, facts = WRONG[name]
    found = judge(facts)
    assert found[expected], found


def test_what_a_thawed_process_notes_late_counts_for_nothing() -> None:
    late = [noted("start", 2, 1, page=0), noted("body", 3, 1, step=0)]
    facts = replace(FACTS, ledger=[*FACTS.ledger, *late], frozen={101})
    assert not any(judge(facts).values())
    assert judge(replace(facts, frozen=set()))["replayed"]
