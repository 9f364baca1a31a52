"""The judge: what clients were told and handlers did, against what the database says at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.faults.history import Operation
from tests.faults.service import PAGES

CLASSES: Final = (
    "lost", "unexpected", "duplicated", "stale", "misplaced", "stuck", "replayed", "breached",
    "burnt", "leaked", "late", "secret",
)  # fmt: skip
"""In the order of the report; each is a number of findings, and every finding is a failure."""
SHOWN: Final = 5


class Task(NamedTuple):
    """A row of `tasks`, with its end if there is one."""

    id: int
    name: str
    operation: str
    number: int
    unique_key: str | None
    state: str | None
    kind: str | None
    attempt: int | None


class Attempt(NamedTuple):
    """A run that did not end its task."""

    task_id: int
    attempt: int
    kind: str
    worker_id: int | None


class Effect(NamedTuple):
    """A row that a handler wrote in a fenced transaction, in the order of writing."""

    task_id: int
    attempt: int
    page: int | None = None


@dataclass
class Facts:
    """Everything the oracle judges by.

    Attributes:
        ledger: what handlers noted, in the order of writing.
        whole: workers (ids) that no fault has killed, frozen or cut off.
        frozen: processes (pids) that were stopped and went on later.
        samples: what the watcher found wrong while the faults went on, by class.
        left: what is left after the drain, in words.
        poisoned: tasks that kill whoever runs them.
    """

    operations: Sequence[Operation]
    ledger: Sequence[Mapping[str, Any]]
    tasks: Mapping[int, Task]
    attempts: Sequence[Attempt]
    effects: Sequence[Effect]
    pages: Sequence[Effect]
    whole: set[int]
    frozen: set[int] = field(default_factory=set)
    poisoned: set[int] = field(default_factory=set)
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left: Sequence[str] = ()
    late: Sequence[str] = ()
    secrets: Sequence[str] = ()


def judge(facts: Facts) -> dict[str, list[str]]:
    """The findings of each class, in words; all empty: every promise was kept."""
    found: dict[str, list[str]] = {name: [] for name in CLASSES}
    _enqueues(facts, found)
    _ends(facts, found)
    _effects(facts, found)
    _stale(facts, found)
    _checkpoints(facts, found)
    _counters(facts, found)
    for name, samples in facts.samples.items():
        found[name] += samples
    found["leaked"] += facts.left
    found["late"] += facts.late
    found["secret"] += facts.secrets
    return found


def shown(found: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """The first findings of each class, a line each."""
    for name, findings in found.items():
        for finding in findings[:SHOWN]:
            yield f"{name}: {finding}"
        if len(findings) > SHOWN:
            yield f"{name}: and {len(findings) - SHOWN} more"


def _enqueues(facts: Facts, found: dict[str, list[str]]) -> None:
    """P1, P2: an acknowledged enqueue is there, whole, once; a refused one is not there at all."""
    made: dict[str, Counter[int]] = defaultdict(Counter)
    for task in facts.tasks.values():
        made[task.operation][task.number] += 1
    for operation in facts.operations:
        numbers = made.pop(operation.id, Counter())
        found["duplicated"] += [
            f"{operation.id} made its task {number} {times} times"
            for number, times in numbers.items() if times > 1
        ]  # fmt: skip
        found["lost"] += [
            f"{operation.id} was told of task {id_}, which is not there"
            for id_, _ in operation.answers if id_ not in facts.tasks
        ]  # fmt: skip
        _whole(operation, len(numbers), found)
    found["unexpected"] += [
        f"nobody has asked for the {len(numbers)} tasks of {name}" for name, numbers in made.items()
    ]


def _whole(operation: Operation, made: int, found: dict[str, list[str]]) -> None:
    """An operation makes all its tasks or none, and which of the two its client was told."""
    asked = operation.tasks
    if operation.key is not None:
        asked = sum(answer != "kept" for _, answer in operation.answers)
    told = f"{operation.id} ({operation.told}) made {made} of {asked} tasks"
    if (operation.told == "ok" and made < asked) or (
        operation.told == "unknown" and operation.tasks and made not in {0, operation.tasks}
    ):
        found["lost"].append(told)
    if operation.told == "fail" and made:
        found["unexpected"].append(told)


def _ends(facts: Facts, found: dict[str, list[str]]) -> None:
    """P4, P9: everything ends, and as what it is."""
    for task in facts.tasks.values():
        expected: tuple[str, ...] = ("completed",)
        if task.name == "poison":
            expected = ("failed",)
        elif task.unique_key is not None:
            expected = ("completed", "cancelled")  # It may have been replaced.
        if task.state is None:
            found["stuck"].append(f"task {task.id} ({task.name}) has not ended")
        elif task.state not in expected:
            how = f"{task.state}, {task.kind}"
            found["unexpected"].append(f"task {task.id} ({task.name}) has ended {how}")


def _effects(facts: Facts, found: dict[str, list[str]]) -> None:
    """P6: the effects of exactly one run."""
    times = Counter(effect.task_id for effect in facts.effects)
    pages: dict[int, Counter[int]] = defaultdict(Counter)
    for page in facts.pages:
        pages[page.task_id][page.page or 0] += 1
    for task_id in (times.keys() | pages.keys()) - facts.tasks.keys():
        found["unexpected"].append(f"an effect of task {task_id}, which is not there")
    for task in facts.tasks.values():
        if task.name == "effect":
            _exactly(task, times[task.id], 1, "effects", found)
        elif task.name == "pages":
            _exactly(task, len(pages[task.id]), PAGES, "pages", found)
            if twice := sorted(page for page, n in pages[task.id].items() if n > 1):
                found["duplicated"].append(f"task {task.id} has pages {twice} more than once")


def _exactly(task: Task, had: int, wanted: int, what: str, found: dict[str, list[str]]) -> None:
    if had > wanted:
        found["duplicated"].append(f"task {task.id} has {had} {what}")
    if task.state == "completed" and had < wanted:
        found["lost"].append(f"task {task.id} has ended with {had} of {wanted} {what}")


def _stale(facts: Facts, found: dict[str, list[str]]) -> None:
    """P5: what was written was written by the run that held the task then."""
    newest: dict[int, int] = {}
    for each in facts.pages:
        if each.attempt < newest.get(each.task_id, 0):
            found["stale"].append(
                f"task {each.task_id}: run {each.attempt} wrote page {each.page} after run "
                f"{newest[each.task_id]}"
            )
        newest[each.task_id] = max(each.attempt, newest.get(each.task_id, 0))
    for effect in facts.effects:
        task = facts.tasks.get(effect.task_id)
        if task is not None and task.attempt is not None and effect.attempt != task.attempt:
            found["stale"].append(
                f"task {effect.task_id}: the effect is of run {effect.attempt}, the end of run "
                f"{task.attempt}"
            )


def _checkpoints(facts: Facts, found: dict[str, list[str]]) -> None:
    """P7: a run begins no earlier than the last acknowledged checkpoint; a done step is not redone.

    Only what was noted before a start counts against it. A process that was frozen may note the
    beginnings of a run long after another has taken the task over: those count for nothing.
    """
    saved: dict[int, tuple[int, int]] = {}
    done: dict[tuple[int, int], int] = {}
    for record in facts.ledger:
        task_id, attempt = record["task"], record.get("attempt", 0)
        is_late = record["pid"] in facts.frozen
        match record["what"]:
            case "saved":
                saved[task_id] = max((record["page"], attempt), saved.get(task_id, (0, 0)))
            case "start" if task_id in saved and "page" in record:
                page, by = saved[task_id]
                if record["page"] < page and not (is_late and attempt <= by):
                    found["replayed"].append(
                        f"task {task_id}: run {attempt} began at page {record['page']}, "
                        f"{page} was saved by run {by}"
                    )
            case "stepped":
                done.setdefault((task_id, record["step"]), attempt)
            case "body" if (task_id, record["step"]) in done:
                if not (is_late and attempt <= done[task_id, record["step"]]):
                    found["replayed"].append(f"task {task_id}: step {record['step']} ran again")


def _counters(facts: Facts, found: dict[str, list[str]]) -> None:
    """P8, P9: failures are what handlers raised, crashes are of workers that were hurt."""
    raised = Counter(r["task"] for r in facts.ledger if r["what"] == "raised")
    failures: Counter[int] = Counter()
    for attempt in facts.attempts:
        if attempt.kind == "failure":
            failures[attempt.task_id] += 1
        is_own = attempt.task_id in facts.poisoned
        if attempt.kind == "crash" and not is_own and attempt.worker_id in facts.whole:
            found["burnt"].append(
                f"task {attempt.task_id}: run {attempt.attempt} is called a crash of worker "
                f"{attempt.worker_id}, which nothing has hurt"
            )
    for task_id, count in failures.items():
        if count > raised[task_id]:
            found["burnt"].append(
                f"task {task_id} has {count} failures, its handler raised {raised[task_id]} times"
            )
