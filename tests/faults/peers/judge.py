"""Plays one fault against one system and says what came of it, as seen from outside."""

from __future__ import annotations

import select
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.peers.adapter import DEADLY, POISON, System
from tests.faults.peers.cutter import cutting
from tests.faults.peers.scene import BATCHES, EVERY_SECONDS, Loss, Scene
from tests.faults.peers.strikes import Fault
from tests.faults.peers.workers import Workers
from tests.kit.databases import Server, new_database
from tests.kit.fleet import came
from tests.kit.ledger import VARIABLE, Ledger

DRAIN_SECONDS = 60.0
SETTLE_SECONDS = 3.0
"""After the drain: a worker that was taken for dead still writes what it can."""
MISSING_SECONDS = 15.0
"""The same when a task is nowhere and its rows are missing."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    lost: tasks that are not complete and that nobody will run any more. duplicated: rows of effects
    too many. stuck: not ended within the bound. failed: given up, complete or not; all without the
    poison. recovery: seconds from the fault to the next start of a run that it broke off.
    """

    system: str
    fault: str
    tasks: int
    in_the_middle: int
    faults: int
    lost: int
    duplicated: int
    stuck: int
    failed: int
    recovered: int
    recovery_p50: float | None
    recovery_max: float | None
    poison_runs: int
    poison_deaths: int
    poison_ended: bool | None
    came_back: list[str] | None
    restarts: int
    drain_seconds: float

    def as_json(self) -> dict[str, Any]:
        """One line of the report."""
        return asdict(self)


def play(
    system: System, fault: Fault, server: Server, folder: Path, batches: int = BATCHES
) -> Outcome:
    """Load, fault, heal, drain, judge, in a database of its own."""
    with new_database(server) as database, ExitStack() as stack:
        system.prepare(database.dsn)
        database.execute("create table effects (n int, step int)")
        database.close()
        ledger = Ledger(folder / f"{system.name}-{fault.name}.jsonl")
        cutter = stack.enter_context(cutting(database.dsn, system.finishing))
        given = {
            **system.environment,
            "PERDURE_DSN": cutter.dsn if fault.name == "cut" else database.dsn,
            VARIABLE: str(ledger.path),
        }
        output = folder / f"{system.name}-{fault.name}.txt"
        for kept in (ledger.path, output):
            kept.unlink(missing_ok=True)
        workers = stack.enter_context(Workers(system.command, given, output))
        scene = Scene(system, server, database.dsn, workers, ledger, cutter)
        pids = [each.pid for each in workers.alive]
        if not scene.warm_up(*pids, since=0.0) or workers.exits:
            raise RuntimeError(f"{system.name} does not work: {output.read_text()[-2000:]}")
        _load(scene, fault, batches)
        drained = _drain(scene, poisoned=fault.name == "poison")
        came_back = _came_back(scene) if scene.answered else None
        return _judge(scene, fault, drained, came_back)


def _load(scene: Scene, fault: Fault, batches: int) -> None:
    began = time.monotonic()
    for batch in range(batches):
        due = began + batch * EVERY_SECONDS
        select.select([], [], [], max(0.0, due - time.monotonic()))
        fault.strike(scene, batch)
        scene.enqueue_batch(batch)
    fault.heal(scene)


def _drain(scene: Scene, *, poisoned: bool) -> float:
    """Wait until nothing has been left for a while, nobody works any more, or the bound; seconds.

    A task that is nowhere may only be out of sight, on its way: then the while is longer.
    """
    began = quiet = time.monotonic()

    def over() -> bool:
        nonlocal quiet
        if scene.left():
            quiet = time.monotonic()
            return scene.workers.given_up
        expected = set(scene.asked) | ({POISON} if poisoned else set())
        missing = expected - complete(scene, effects_of(scene)) - scene.failed()
        return time.monotonic() - quiet > (MISSING_SECONDS if missing else SETTLE_SECONDS)

    came(over, DRAIN_SECONDS, every=0.2)
    return quiet - began


def effects_of(scene: Scene) -> dict[int, dict[int, int]]:
    """The rows of each task and step."""
    written: dict[int, dict[int, int]] = defaultdict(dict)
    for n, step, count in scene.sql("select n, step, count(*) from effects group by n, step"):
        written[n][step] = count
    return written


def complete(scene: Scene, written: Mapping[int, Mapping[int, int]]) -> set[int]:
    """The judged tasks with a row for each of their steps."""
    return {n for n, steps in scene.asked.items() if set(written.get(n, ())) == set(range(steps))}


def _came_back(scene: Scene) -> list[str]:
    """For each worker that ran at the crash: whether the same process took tasks again."""
    answered = scene.answered or 0.0
    scene.warm_up(*scene.before, since=answered)
    begun = {each["pid"] for each in scene.ledger.records("start") if each["at"] > answered}
    alive = {each.pid for each in scene.workers.alive}
    return [
        "itself" if pid in begun else "idle" if pid in alive else "restarted"
        for pid in scene.before
    ]


def _judge(
    scene: Scene, fault: Fault, drain_seconds: float, came_back: list[str] | None
) -> Outcome:
    written = effects_of(scene)
    left, failed = scene.left(), scene.failed()
    recoveries = recovery_seconds(scene.ledger.records("start"), scene.losses + deaths(scene))
    poisoned = fault.name == "poison"
    return Outcome(
        system=scene.system.name,
        fault=fault.name,
        tasks=len(scene.asked),
        in_the_middle=scene.in_the_middle,
        faults=len(scene.losses) if not poisoned else len(deaths(scene)),
        lost=len(scene.asked.keys() - complete(scene, written) - left),
        duplicated=sum(
            count - 1 for n in scene.asked for count in written.get(n, {}).values() if count > 1
        ),
        stuck=len(left - {POISON}),
        failed=len(failed - {POISON}),
        recovered=len(recoveries),
        recovery_p50=round(statistics.median(recoveries), 2) if recoveries else None,
        recovery_max=round(max(recoveries), 2) if recoveries else None,
        poison_runs=len(scene.ledger.records("poison")),
        poison_deaths=len(deaths(scene)),
        poison_ended=POISON not in left if poisoned else None,
        came_back=came_back,
        restarts=scene.workers.restarts,
        drain_seconds=round(drain_seconds, 1),
    )


def deaths(scene: Scene) -> list[Loss]:
    """The workers that the poison has killed."""
    return [Loss(each.at, each.pid) for each in scene.workers.exits if each.code == DEADLY]


def recovery_seconds(starts: Sequence[dict[str, Any]], losses: Sequence[Loss]) -> list[float]:
    """From the last loss between two starts of a task, in the first's process, to the second."""
    by_task: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for start in sorted(starts, key=lambda each: each["at"]):
        by_task[start["task"]].append(start)
    found = []
    for runs in by_task.values():
        for first, second in pairwise(runs):
            between = [
                loss.at
                for loss in losses
                if first["at"] < loss.at < second["at"] and loss.pid in {None, first["pid"]}
            ]
            if between:
                found.append(second["at"] - max(between))
    return found
