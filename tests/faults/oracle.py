"""The judge: what clients were told and handlers did, against what the database says at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from tests.faults.evidence import AFTERMATH_SECONDS, POISONED, SERVER, Attempt, Facts, Run, Task
from tests.faults.history import Operation
from tests.faults.judge_policies import is_updated, judge_policies, may_end_so
from tests.faults.policies import SINGLETON
from tests.faults.service import PAGES

CLASSES: Final = (
    "lost", "unexpected", "duplicated", "stale", "misplaced", "stuck", "replayed", "breached",
    "burnt", "leaked", "late", "secret",
)  # fmt: skip
"""In the order of the report; each is a number of findings, and every finding is a failure."""
SHOWN: Final = 5
START_SECONDS: Final = 1.0
"""How long the save of a start takes at most: some milliseconds to its commit and to the handler's
first line, and a round trip or two on the slowest way that `delay` makes, 0.3 s each."""
DEATHS: Final = 3
"""Processes that one poison task may kill: two workers and a child."""
HEARD: Final = frozenset({"proceeded", "kept"})
"""What a signal is told that will be obeyed."""


def judge(facts: Facts) -> dict[str, list[str]]:
    """The findings of each class, in words; all empty: every promise was kept."""
    found: dict[str, list[str]] = {name: [] for name in CLASSES}
    _enqueues(facts, found)
    _ends(facts, found)
    _signals(facts, found)
    _effects(facts, found)
    _stale(facts, found)
    _checkpoints(facts, found)
    _counters(facts, found)
    _poison(facts, found)
    _keys(facts, found)
    judge_policies(facts, found)
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
        if task.schedule is None and task.name != SINGLETON:
            made[task.operation][task.number] += 1
    maker = {task.id: task.operation for task in facts.tasks.values()}
    for operation in facts.operations:
        numbers = made.pop(operation.id, Counter())
        found["duplicated"] += [
            f"{operation.id} made its task {number} {times} times"
            for number, times in numbers.items() if times > 1
        ]  # fmt: skip
        found["unexpected"] += [
            f"{operation.id} asked for {operation.tasks} tasks and made number {number}"
            for number in numbers if number >= operation.tasks
        ]  # fmt: skip
        found["lost"] += [
            f"{operation.id} was told of task {id_}, which is not there"
            for id_, _ in operation.answers if id_ not in facts.tasks
        ]  # fmt: skip
        # A repeated enqueue whose first reply was lost is told of what it has made itself.
        own = [
            id_ for id_, answer in operation.answers
            if answer != "kept" or maker.get(id_) == operation.id
        ]  # fmt: skip
        _whole(operation, len(numbers), len(own), found)
    found["unexpected"] += [
        f"nobody has asked for the {len(numbers)} tasks of {name}" for name, numbers in made.items()
    ]


def _whole(operation: Operation, made: int, told_of: int, found: dict[str, list[str]]) -> None:
    """An operation makes all its tasks or none, and which of the two its client was told."""
    asked = operation.tasks if operation.policy is None else told_of
    told = f"{operation.id} ({operation.told}) made {made} of {asked} tasks"
    is_changed = operation.policy == "update"  # by a later one, which the task shows instead
    if (operation.told == "ok" and made < asked and not is_changed) or (
        operation.told == "unknown" and operation.tasks and made not in {0, operation.tasks}
    ):
        found["lost"].append(told)
    if (operation.told == "fail" and made) or (operation.told == "ok" and made > asked):
        found["unexpected"].append(told)


def _ends(facts: Facts, found: dict[str, list[str]]) -> None:
    """P4, P9: everything ends, as what it is, by a run of its own."""
    began = {operation.id: operation.at for operation in facts.operations}
    replaced: dict[str | None, float] = {}
    for operation in facts.operations:
        if operation.policy == "replace" and operation.told != "fail":
            replaced[operation.key] = max(operation.at, replaced.get(operation.key, 0))
    for task in facts.tasks.values():
        who = f"task {task.id} ({task.name})"
        wanted = "failed" if task.name == "poison" else "completed"
        is_replaced = replaced.get(task.unique_key, 0) > began.get(task.operation, 0)
        if task.state is None:
            found["stuck"].append(f"{who} has not ended")
        elif task.state != wanted and not (
            (task.state == "cancelled" and task.unique_key is not None and is_replaced)
            or may_end_so(task)
        ):
            found["unexpected"].append(f"{who} has ended {task.state}, {task.kind}")
        elif task.state == "completed":
            # The end of an `effect` is in the database before its handler can note it.
            runs = [
                run for run in facts.runs.get(task.id, ())
                if run.attempt == task.attempt and (run.ended == "end" or task.name == "effect")
            ]  # fmt: skip
            if not runs:
                found["unexpected"].append(f"{who} has ended without its run {task.attempt}")
            if task.result != (task.operation, task.number) and not is_updated(task):
                found["unexpected"].append(f"{who} has the result of {task.result}")


def _signals(facts: Facts, found: dict[str, list[str]]) -> None:
    """P4: a signal that was heard is obeyed; that shows as stuck, as nobody signals again."""
    found["unexpected"] += [
        f"{operation.id} signalled {operation.key} and was told {operation.answer}"
        for operation in facts.operations
        if operation.name == "proceed" and operation.told == "ok" and operation.answer not in HEARD
    ]


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

    Only what was noted before a start counts against it. A process that a fault has just let go may
    note the beginnings of a run long after another has taken the task over: they count for nothing.
    """
    saved: dict[int, tuple[int, int]] = {}
    done: dict[tuple[int, int], int] = {}
    for record in facts.ledger:
        task_id, attempt, at = record["task"], record["attempt"], record["at"]
        match record["what"]:
            case "saved":
                saved[task_id] = max((record["page"], attempt), saved.get(task_id, (0, 0)))
            case "start" if task_id in saved and "page" in record:
                page, by = saved[task_id]
                is_late = attempt <= by and facts.hurt(record["member"], at, at)
                if record["page"] < page and not is_late:
                    found["replayed"].append(
                        f"task {task_id}: run {attempt} began at page {record['page']}, "
                        f"{page} was saved by run {by}"
                    )
            case "stepped":
                done.setdefault((task_id, record["step"]), attempt)
            case "body" if (task_id, record["step"]) in done:
                by = done[task_id, record["step"]]
                if not (attempt <= by and facts.hurt(record["member"], at, at)):
                    found["replayed"].append(f"task {task_id}: step {record['step']} ran again")


def _counters(facts: Facts, found: dict[str, list[str]]) -> None:
    """P8, P9: failures are what handlers raised, crashes are of workers that were hurt."""
    raised = {
        (run.task_id, run.attempt)
        for runs in facts.runs.values() for run in runs if run.ended == "raised"
    }  # fmt: skip
    for attempt in facts.attempts:
        key = (attempt.task_id, attempt.attempt)
        if attempt.kind == "failure" and key not in raised:
            found["burnt"].append(f"task {key[0]}: nothing was raised in run {key[1]}, a failure")
        elif attempt.kind == "crash" and not _has_crashed(facts, attempt):
            found["burnt"].append(
                f"task {key[0]}: run {key[1]} is called a crash of worker {attempt.worker_id}, "
                "which nothing has hurt"
            )


def _has_crashed(facts: Facts, attempt: Attempt) -> bool:
    """Whether the run's worker was hurt while it ran, or until that was counted as a crash."""
    runs = facts.runs.get(attempt.task_id, [])
    known = [
        run for run in (*runs, *facts.begun.get(attempt.task_id, ()))
        if run.attempt == attempt.attempt
    ]  # fmt: skip
    if not known:
        return _died_at_start(facts, attempt)
    after = [run.since for run in runs if run.attempt > attempt.attempt]
    until = min((attempt.until, *after))
    return any(
        run.ended == "poison"
        or facts.looked_dead(run.member, run.since, until)
        or facts.stopped_in_trouble(run.member, run.since, until)
        for run in known
    )


def _died_at_start(facts: Facts, attempt: Attempt) -> bool:
    """Whether a run that nobody has noted was cut short just as its start had been saved.

    A task without a saved start has not begun: it was merely held, and must not be charged.
    """
    member = facts.members.get(attempt.worker_id or 0, "")
    since = attempt.since
    return since is not None and facts.looked_dead(member, since, since + START_SECONDS)


def _poison(facts: Facts, found: dict[str, list[str]]) -> None:
    """P9: what kills its process is quarantined after as many deaths as are promised."""
    for task in facts.tasks.values():
        deaths = [run for run in facts.runs.get(task.id, ()) if run.ended == "poison"]
        told = [run for run in deaths if not _is_unheard(facts, run)]
        if len(told) > DEATHS:
            found["unexpected"].append(f"task {task.id} has killed {len(told)} processes")
        if (task.name, task.state) == ("poison", "failed") and task.kind != "crash":
            found["unexpected"].append(f"the poison {task.id} has failed as {task.kind}")


def _is_unheard(facts: Facts, run: Run) -> bool:
    """Whether its worker could not tell of a child's death, or had told the child to stop."""
    return any(
        one.member in (run.member, SERVER) and one.how != POISONED
        and one.since - 2 * AFTERMATH_SECONDS <= run.since <= one.until + AFTERMATH_SECONDS
        for one in (*facts.hurts, *facts.stops)
    )  # fmt: skip


def _keys(facts: Facts, found: dict[str, list[str]]) -> None:
    """P10: of the tasks of one key, no two run at once, but for what a hurt process still does."""
    of_key: dict[str, list[Run]] = defaultdict(list)
    for task in facts.tasks.values():
        if task.unique_key is not None:
            of_key[task.unique_key] += facts.runs.get(task.id, ())
    for key, runs in of_key.items():
        ended = sorted((run for run in runs if run.until is not None), key=lambda run: run.since)
        for one, other in pairwise(ended):
            is_over = one.until is None or one.until <= other.since
            if one.task_id == other.task_id or is_over:
                continue
            if not any(facts.hurt(run.member, other.since, other.since) for run in (one, other)):
                found["breached"].append(f"tasks {one.task_id} and {other.task_id} ran for {key}")
