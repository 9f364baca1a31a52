"""The judge of what runs under policies: schedules, limits, constraints, chains, a singleton."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from tests.faults.evidence import LINE, Facts, Fire, Hurt, Run, Schedule, Task, Tick
from tests.faults.history import Operation
from tests.faults.policies import (
    AT_ONCE,
    FOLLOWS,
    LINED,
    SCHEDULES,
    SINGLETON,
    TICK_SECONDS,
    Scheduled,
)

MOMENT: Final = 0.001
"""Of seconds that have been computed from others."""
DECIDED_SECONDS: Final = 0.5
"""Between what a statement reads and what it writes of the time, at most."""
LOST_SECONDS: Final = 2.0
"""From the loss of a constraint to the stop of what runs: two questions of the probe, the grace of
a stop, and what a busy machine takes."""
READ_SECONDS: Final = 0.5
"""How far a worker's idea of the database's clock may be off: a round trip on a slow way."""
HELD_SECONDS: Final = 5.0
"""How long a task may be with a worker before it starts."""
EXPIRED_SECONDS: Final = 1.0
"""Between the last look at whether a task has expired and the first line of its handler."""
MADE_UP_SECONDS: Final = 59.0
"""A minute, but for what lies between the look at the clock and the note."""
Found = dict[str, list[str]]
End = tuple[str, str | None]
"""State and kind."""


def judge_policies(facts: Facts, found: Found) -> None:
    """Add the findings."""
    _schedules(facts, found)
    _limits(facts, found)
    _line(facts, found)
    _singleton(facts, found)
    _updates(facts, found)
    _appended(facts, found)
    _chains(facts, found)
    _lifetimes(facts, found)


def may_end_so(task: Task) -> bool:
    """Whether a policy of the task may end it otherwise than as completed."""
    return (
        task.name in {"link", "expiring"}
        or (task.state == "cancelled" and (task.name == SINGLETON or task.schedule == "cancel"))
    )  # fmt: skip


def is_updated(task: Task) -> bool:
    """Whether what a task was asked may have been changed since its run began."""
    return (task.unique_key or "").startswith("last-")


def _schedules(facts: Facts, found: Found) -> None:
    """Each instant is accounted for, once, as what its schedule allows."""
    of_key: dict[str, list[Fire]] = defaultdict(list)
    for fire in facts.fires:
        of_key[fire.schedule].append(fire)
    made = {task.id: task.schedule for task in facts.tasks.values() if task.schedule}
    named = [fire.task_id for fire in facts.fires if fire.task_id is not None]
    found["duplicated"] += [
        f"task {id_} of {made[id_]} is in no fire" for id_ in made.keys() - named
    ]
    found["lost"] += [f"task {id_} of a fire is not there" for id_ in set(named) - made.keys()]
    for schedule in facts.schedules:
        declared, fires = SCHEDULES[schedule.key], of_key[schedule.key]
        _instants(schedule, declared.seconds, fires, found)
        _fates(facts, declared, fires, found)
        if declared.overlap != "allow":
            _one_by_one(facts, schedule.key, declared, fires, found)


def _instants(schedule: Schedule, seconds: int, fires: Sequence[Fire], found: Found) -> None:
    """From the first after it was made to the one that is to come: none left out or double."""
    who = f"schedule {schedule.key}"
    if not fires or not 0 < fires[0].at - schedule.since <= seconds + MOMENT:
        found["lost"].append(f"{who} did not begin with its first instant: {fires[:1]}")
    following = [fire.at for fire in fires[1:]] + [schedule.following]
    for fire, after in zip(fires, following, strict=False):
        missing = (after - fire.at) / seconds - fire.instants
        if abs(missing) > MOMENT:
            name = "lost" if missing > 0 else "duplicated"
            found[name].append(f"{who}: {missing:+.3f} instants after {fire}")


def _fates(facts: Facts, declared: Scheduled, fires: Sequence[Fire], found: Found) -> None:
    """None is left out that need not be."""
    made = [fire for fire in fires if fire.task_id is not None]
    for fire in fires:
        is_known = fire.fate in declared.fates and (fire.fate == "fired") == (fire in made)
        is_late = fire.decided >= fire.at + fire.instants * declared.seconds - MOMENT
        is_busy = any(
            one.decided <= fire.decided and _until(facts, one) >= fire.decided - DECIDED_SECONDS
            for one in made
        )
        if (
            not is_known or fire.decided < fire.at - MOMENT
            or (fire.fate == "coalesced" and not is_late)
            or (fire.fate == "skipped" and not is_busy)
        ):  # fmt: skip
            found["unexpected"].append(f"an instant was not to be so: {fire}")


def _until(facts: Facts, fire: Fire) -> float:
    task = facts.tasks.get(fire.task_id or 0)
    return 0.0 if task is None else task.until


def _one_by_one(
    facts: Facts, key: str, declared: Scheduled, fires: Sequence[Fire], found: Found
) -> None:
    """Of one that does not overlap, no two tasks run at once, and each in its turn."""
    tasks = [fire.task_id for fire in fires if fire.task_id is not None]
    runs = [run for id_ in tasks for run in facts.runs.get(id_, ())]
    _at_most(facts, runs, 1, f"schedule {key}", found)
    for one, other in pairwise(fire for fire in fires if fire.task_id is not None):
        over = _until(facts, one)
        if declared.overlap == "skip" and over > other.decided + DECIDED_SECONDS:
            found["breached"].append(f"schedule {key} did not skip: {other}")
        if declared.overlap == "queue":
            _after(facts, one.task_id or 0, other.task_id or 0, found)


def _at_most(facts: Facts, runs: Iterable[Run], most: int, what: str, found: Found) -> None:
    """No more than so many at once, but for what a hurt process still does."""
    ended = [run for run in runs if run.until is not None]
    for run in ended:
        at = run.since
        beside = [
            one.task_id for one in ended
            if one.since <= at < (one.until or 0) and not facts.hurt(one.member, at, at)
        ]  # fmt: skip
        if len(beside) > most and not facts.hurt(run.member, at, at):
            found["breached"].append(f"tasks {beside} ran for {what}")


def _after(facts: Facts, one: int, other: int, found: Found) -> None:
    """All runs of one begin before the first of the other, but for what a hurt process begins."""
    runs = facts.runs.get(other, ())
    late = [
        run for run in facts.runs.get(one, ()) if runs and run.since > runs[0].since
        and not facts.hurt(run.member, run.since, run.since)
    ]  # fmt: skip
    if late:
        found["breached"].append(f"task {other} began before run {late[0].attempt} of task {one}")


def _limits(facts: Facts, found: Found) -> None:
    """Of the tasks of one number, no more run at once than may."""
    of_number: dict[int, list[Run]] = defaultdict(list)
    for task in facts.tasks.values():
        if task.name == "limited":
            of_number[task.number] += facts.runs.get(task.id, ())
    for number, runs in of_number.items():
        _at_most(facts, runs, AT_ONCE, f"number {number} of the limited", found)


def _line(facts: Facts, found: Found) -> None:
    """What needs the line neither starts nor goes on without it, and is stopped only for it."""
    down = [hurt for hurt in facts.hurts if hurt.member == LINE]
    reasons = {(one.task_id, one.attempt): one for one in facts.attempts}
    for record in facts.ledger:
        if record["what"] != "stopped" or record["reason"] != f"constraint:{LINED}":
            continue
        at, who = record["at"], f"task {record['task']}: run {record['attempt']}"
        since = at - LOST_SECONDS
        if not (_is_down(down, since, at) or facts.hurt(record["member"], since, at)):
            found["unexpected"].append(f"{who} was stopped for a line that was there")
        told = reasons.get((record["task"], record["attempt"]))
        if told and (told.kind, told.reason) not in {("interruption", record["reason"]), CRASHED}:
            found["burnt"].append(f"{who} was stopped for the line and is called {told}")
    for task in facts.tasks.values():
        for run in facts.runs.get(task.id, ()) if task.name == "lined" else ():
            for outage in down:
                _without(facts, run, outage, found)


CRASHED: Final = ("crash", None)


def _is_down(down: Iterable[Hurt], since: float, until: float) -> bool:
    return any(one.since <= until and since <= one.until for one in down)


def _without(facts: Facts, run: Run, outage: Hurt, found: Found) -> None:
    """A run beside an outage: it may end in the time that a stop takes."""
    from_then = outage.since + LOST_SECONDS
    who = f"task {run.task_id}: run {run.attempt}"
    if facts.hurt(run.member, outage.since, outage.until):
        return
    if from_then < run.since < outage.until:
        found["breached"].append(f"{who} began {run.since - outage.since:.2f} s after the loss")
    elif run.since < outage.since and run.until and from_then < run.until < outage.until:
        found["breached"].append(f"{who} went on for {run.until - outage.since:.2f} s")


def _singleton(facts: Facts, found: Found) -> None:
    """No instant twice, no holder after a newer one, and of each take-over at most one missing.

    Those of more than a minute ago are not made up for; the tick that was nearest to its instant
    says when they were.
    """
    begun = {(r["task"], r["number"]): r["at"] for r in facts.ledger if r["what"] == "tick"}
    origins: dict[int, float] = {}
    for (task_id, number), at in begun.items():
        origin = at - number * TICK_SECONDS
        origins[task_id] = min(origin, origins.get(task_id, origin))
    last: dict[int, Tick] = {}
    for tick in facts.ticks:
        before = last.get(tick.task_id, Tick(tick.task_id, tick.attempt, tick.number - 1))
        last[tick.task_id] = tick
        since = begun.get((tick.task_id, tick.number), 0.0) - MADE_UP_SECONDS
        missing = [
            number for number in range(before.number + 1, tick.number)
            if (tick.task_id, number) not in begun
            and origins[tick.task_id] + number * TICK_SECONDS > since
        ]  # fmt: skip
        if tick.attempt < before.attempt:
            found["stale"].append(f"{tick} after {before}")
        if tick.number <= before.number:
            found["duplicated"].append(f"{tick} after {before}")
        if len(missing) > tick.attempt - before.attempt:
            found["lost"].append(f"nobody began the ticks {missing} before {tick}")


def _updates(facts: Facts, found: Found) -> None:
    """A task whose key updates is there once for all of them; it does what it was last asked."""
    of_task: dict[int, list[Operation]] = defaultdict(list)
    for operation in facts.operations:
        if operation.policy == "update":
            for id_, _ in operation.answers:
                of_task[id_].append(operation)
    by_id = {operation.id: operation for operation in facts.operations}
    for task in filter(is_updated, facts.tasks.values()):
        result = by_id.get(task.result[0] or "")
        runs = [run for run in facts.runs.get(task.id, ()) if run.attempt == task.attempt]
        if task.state != "completed" or not runs:
            continue
        if result is None or result.key != task.unique_key:
            found["unexpected"].append(f"task {task.id} has the result of {task.result}")
            continue
        newer = [
            one.id for one in of_task[task.id]
            if one.until < runs[-1].since - HELD_SECONDS and result.until < one.at
        ]  # fmt: skip
        if newer:
            found["lost"].append(f"task {task.id} has done {result.id}, not {newer[-1]}")


def _appended(facts: Facts, found: Found) -> None:
    """Who is appended runs after all whose enqueue had been answered before."""
    of_key: dict[str | None, list[tuple[Operation, int]]] = defaultdict(list)
    for operation in sorted(facts.operations, key=lambda one: one.at):
        for id_, answer in operation.answers if operation.key else ():
            if answer == "appended":
                for before, earlier in of_key[operation.key]:
                    if before.until < operation.at and earlier < id_:
                        _after(facts, earlier, id_, found)
            of_key[operation.key].append((operation, id_))


def _chains(facts: Facts, found: Found) -> None:
    """A link ends as the rules say, runs after what it follows, and reads what that came to."""
    links: dict[str, dict[int, Task]] = defaultdict(dict)
    for task in facts.tasks.values():
        if task.name == "link":
            links[task.operation][task.number] = task
    fails = {one.id: one.fails for one in facts.operations}
    told = {(r["task"], r["attempt"]): r["inputs"] for r in facts.ledger if r["what"] == "inputs"}
    for operation, chain in links.items():
        ends: dict[int, End] = {}
        # What is not whole is found where enqueues are judged.
        for number, task in sorted(chain.items()) if len(chain) == len(FOLLOWS) else ():
            who = f"task {task.id}: number {number} of {operation}"
            ends[number] = _end_of(number, ends, fails.get(operation, -1))
            if task.state and (task.state, task.kind) != ends[number]:
                found["unexpected"].append(f"{who} has ended {task.state}, {task.kind}")
            runs = facts.runs.get(task.id, ())
            if task.kind == "dependency" and runs:
                found["breached"].append(f"{who} has run, and was not to")
            before = [chain[n] for n in FOLLOWS[number]]
            if runs and not all(_has_ended(facts, one, runs[0].since) for one in before):
                found["breached"].append(f"{who} began before the end of what it follows")
            read = [[ends[n][0], None if ends[n][1] else n] for n in FOLLOWS[number]]
            if any(told.get((run.task_id, run.attempt), read) != read for run in runs):
                found["unexpected"].append(f"{who} did not read {read}")


def _has_ended(facts: Facts, task: Task, at: float) -> bool:
    """Whether a task was over then: by its run, or without any.

    One that was cut off before anything said that it had started has left its number to the next.
    """
    runs = [run for run in facts.runs.get(task.id, ()) if run.attempt == task.attempt]
    return not runs or any((run.until or math.inf) <= at for run in runs)


def _end_of(number: int, ends: Mapping[int, End], fails: int) -> End:
    for parent, rule in FOLLOWS[number].items():
        if rule != "run" and ends[parent][0] != "completed":
            return ("cancelled" if rule == "cancel" else ends[parent][0]), "dependency"
    return ("failed", "given_up") if number == fails else ("completed", None)


def _lifetimes(facts: Facts, found: Found) -> None:
    """Who has not begun expires, at its time; who needs what nobody has waits for its deadline."""
    for task in facts.tasks.values():
        runs = [
            run for run in facts.runs.get(task.id, ())
            if not facts.hurt(run.member, run.since, run.since)
        ]  # fmt: skip
        who = f"task {task.id} ({task.name})"
        if task.name == "overdue" and runs and runs[0].since < (task.deadline or 0) - READ_SECONDS:
            found["breached"].append(f"{who} began before its deadline")
        if task.name != "expiring" or task.expires is None:
            continue
        if (task.state, task.kind) not in {
            ("completed", None),
            ("failed", "expired"),
            (None, None),
        }:
            found["unexpected"].append(f"{who} has ended {task.state}, {task.kind}")
        elif task.kind == "expired" and task.until < task.expires - READ_SECONDS:
            found["unexpected"].append(f"{who} has expired before its time")
        elif task.kind == "expired" and any(not _is_unknown(facts, run, task) for run in runs):
            found["unexpected"].append(f"{who} has expired, and had begun")
        elif task.kind is None and runs and runs[0].since > task.expires + EXPIRED_SECONDS:
            found["breached"].append(f"{who} began after it had expired")


def _is_unknown(facts: Facts, run: Run, task: Task) -> bool:
    """Whether its worker may have died before anything said that it had started."""
    return facts.looked_dead(run.member, run.since, task.until) or facts.stopped_in_trouble(
        run.member, run.since, task.until
    )
