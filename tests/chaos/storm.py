"""The storm: producers, workers and a seeded mix of faults, then heal, drain, and judge.

`python -m tests.chaos.storm --minutes M --seed S [--json]`: its last line is a JSON object with the
number of tasks, faults and findings of each class; it ends with 1 if there is any finding, or a
fault that was not played. More than ten minutes are several segments, each with its own server,
drain and judgement, and with the next seed: a red one can be played again alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.actions import ACTIONS, Action, World, kill
from tests.faults.chance import Chance
from tests.faults.facts import gather
from tests.faults.fleet import STOP_SECONDS, Crew, wait_for
from tests.faults.history import History, read
from tests.faults.oracle import CLASSES, judge, shown
from tests.faults.policies import SINGLETON
from tests.faults.service import POISONED as EXIT_CODE
from tests.faults.telling import CANARY
from tests.faults.watch import Watcher
from tests.kit.databases import Database, new_database, own_server
from tests.kit.fleet import came, until

from perdure.store.migrate import migrate

SERVER: Final = {"fsync": "off", "synchronous_commit": "on", "max_connections": "200"}
"""The machine itself lives on: what was written is there after a crash of the server."""
TABLES: Final = (
    "create table effects (id bigserial, task_id bigint, attempt int, pid int)",
    "create table pages (id bigserial, task_id bigint, attempt int, page int)",
    "create table ticks (id bigserial, task_id bigint, attempt int, number bigint)",
)
WORKERS: Final = 4
START_SECONDS: Final = 120.0
"""Of all workers, on a busy machine: before that, faults would meet nobody."""
RATE: Final = 14.0
"""Operations of each producer in a second; an operation makes 3 tasks on average."""
DRAIN_SECONDS: Final = 90.0
SEGMENT_MINUTES: Final = 10.0
CALM: Final = """
    select (select count(*) from perdure.workers
            where heartbeat_at > clock_timestamp() - interval '0.8 s')::int,
        (select count(*) from perdure.tasks as t where t.name = 'poison' and not exists
            (select from perdure.outcomes as o where o.task_id = t.id))::int,
        (select count(*) from perdure.ready) < 30
    """
OPENING: Final = 4
"""Faults at once while each comes once."""
CALM_SECONDS: Final = 15.0
TICK_BOUND_SECONDS: Final = 10.0
"""Of the singleton, when there are no more faults: a tick, or a takeover and one."""
TASKS_LEAST: Final = 100
"""Else it was no storm."""
AWAY: Final = "DatabaseUnavailable: "
LAST_CHARACTERS: Final = 500


@dataclass
class Report:
    """What happened, and what the oracle says of it."""

    seed: int
    minutes: float
    tasks: int
    faults: Counter[str]
    findings: dict[str, list[str]]
    recovery: dict[str, list[float]]
    operations: Counter[str]
    samples: int

    @property
    def is_clean(self) -> bool:
        """Whether every class is empty, each fault was played, and tasks met them."""
        played = {action.__name__ for action in ACTIONS} <= self.faults.keys()
        return played and self.tasks >= TASKS_LEAST and not any(self.findings.values())

    @classmethod
    def of(cls, segments: Sequence[Report]) -> Report:
        """All segments as one."""
        first, *others = segments
        for one in others:
            first.minutes += one.minutes
            first.tasks += one.tasks
            first.faults += one.faults
            first.operations += one.operations
            first.samples += one.samples
            for name, found in one.findings.items():
                first.findings[name] += found
            for name, seconds in one.recovery.items():
                first.recovery[name] += seconds
        return first

    def as_json(self) -> dict[str, Any]:
        """The last line."""
        return {
            "tasks": self.tasks,
            "faults": self.faults.total(),
            "seed": self.seed,
            "minutes": self.minutes,
            **{name: len(self.findings[name]) for name in CLASSES},
            "recovery_seconds": summary(self.recovery["killed"]),
            "restart_seconds": summary(self.recovery["restarted"]),
            "by_fault": dict(sorted(self.faults.items())),
            "operations": dict(sorted(self.operations.items())),
            "samples": self.samples,
        }


def summary(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """The middle one, the longest, and how many there are."""
    ordered = sorted(seconds)
    return {
        "p50": round(ordered[len(ordered) // 2], 2) if ordered else None,
        "max": round(ordered[-1], 2) if ordered else None,
        "count": len(ordered),
    }


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def storm(minutes: float, seed: int, folder: Path) -> Report:
    """One segment: faults for so long, then heal, drain, judge."""
    chance = Chance(seed, "storm")
    with ExitStack() as stack:
        server = stack.enter_context(own_server(SERVER))
        database = stack.enter_context(new_database(server))
        migrate(database.dsn, schema_name=database.schema)
        for table in TABLES:
            database.execute(table)
        database.close()
        crew = Crew(database.dsn, folder, seed, RATE)
        stack.callback(crew.close)
        for _ in range(WORKERS):
            crew.worker()
        for how in ("python", "sql"):
            crew.producer(how)
        history = History(crew.histories / "storm.jsonl", "storm")
        password = database.dsn.split(":")[2].split("@")[0]
        watcher = Watcher(database.dsn, (password, CANARY))
        world = World(server, database.dsn, crew, history, watcher)
        until(lambda: len(watcher.pids) >= WORKERS, START_SECONDS)
        faults = trouble(world, chance, time.monotonic() + minutes * 60)
        say("heal")
        for how in ("python", "sql"):
            for member in crew.alive(how):
                crew.stop(member, 15)
        reconnected = Database(server, database.name)
        stack.callback(reconnected.close)
        quieten(reconnected, world)
        signalled = heard(crew)
        drain(reconnected, world, signalled)
        replace_the_dead(world)
        for member in crew.alive("worker"):
            crew.stop(member, STOP_SECONDS)
        end_singleton(reconnected)  # One that began late may have put it once more.
        watcher.close()
        facts, recovery = gather(reconnected, world, watcher, (password, CANARY))
        return Report(
            seed, minutes, len(facts.tasks), faults, judge(facts), recovery,
            Counter(operation.told for operation in facts.operations), watcher.seen,
        )  # fmt: skip


def trouble(world: World, chance: Chance, ends: float) -> Counter[str]:
    """Each fault once, then by chance until the time is over, one to three at once; last a kill.

    What has died by itself is replaced. A kill alone waits until nothing else is wrong.
    """
    done: Counter[str] = Counter()
    began = time.monotonic()
    wait_for(began + 2)
    opening = groups(chance.shuffled(list(ACTIONS), "opening"), OPENING)
    for number in itertools.count(1):
        turn = chance.of(number)
        if number <= len(opening):
            chosen = opening[number - 1]
        elif missed := [action for action in ACTIONS if not done[action.__name__]][:OPENING]:
            chosen = missed  # Another fault was in its way.
        elif time.monotonic() < ends:
            chosen = [
                turn.weighed(ACTIONS, "action", n)
                for n in range(turn.weighed({1: 6, 2: 3, 3: 1}, "together"))
            ]
        else:
            chosen = [kill]
        names = [action.__name__ for action in chosen]
        say(f"{time.monotonic() - began:7.1f} s  {number:4}  {', '.join(names)}")
        if chosen == [kill]:
            done["kill"] += kill(world, turn, calm=is_calm(world))
            wait_for(time.monotonic() + 6)
        else:
            done.update(together(world, turn, chosen))
            wait_for(time.monotonic() + turn.between(0.5, 3.5, "pause"))
        replace_the_dead(world)
        if chosen == [kill] and time.monotonic() >= ends:
            return done
    raise AssertionError("unreachable: time passes")


def groups(actions: Sequence[Action], size: int) -> list[list[Action]]:
    """They, so many at a time."""
    return [list(actions[at : at + size]) for at in range(0, len(actions), size)]


def is_calm(world: World) -> bool:
    """Wait until every worker beats, none is about to be poisoned, and little waits for a slot."""
    with suppress(psycopg.Error, AssertionError), world.connection() as connection:

        def calm() -> bool:
            found = connection.execute(CALM).fetchone()
            return found == (len(world.crew.alive("worker")), 0, True)

        until(calm, timeout=CALM_SECONDS)
        return True
    return False


def together(world: World, turn: Chance, chosen: Sequence[Action]) -> list[str]:
    """Do them at the same time, each in a thread; wait for all; the names of those done."""
    failed: list[BaseException] = []
    done: list[str] = []

    def do(action: Action, number: int) -> None:
        try:
            # Its own connection may be hit by another fault: then it is over.
            with suppress(psycopg.Error):
                if action(world, turn.of(number)):
                    done.append(action.__name__)
        except BaseException as error:  # noqa: BLE001  (a fault of the test itself: it is told below)
            failed.append(error)

    threads = [
        threading.Thread(target=do, args=(action, number)) for number, action in enumerate(chosen)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return done


def replace_the_dead(world: World) -> None:
    """Poison kills workers; nothing else may."""
    for member in world.crew.dead("worker"):
        # One that cannot begin without the server says so and ends: whoever runs it starts another.
        is_early = AWAY in member.log.read_text(errors="replace")[-LAST_CHARACTERS:]
        is_early = is_early and member.process.pid not in world.watcher.pids.values()
        if member.process.wait(1) != EXIT_CODE and not is_early:
            world.crew.surprises.append(f"a worker has died by itself: {member.log}")
        world.crew.leave(member)
        world.crew.worker()
    for how in ("python", "sql"):
        for member in world.crew.dead(how):
            world.crew.surprises.append(f"a producer has died by itself: {member.log}")
            world.crew.leave(member)
            world.crew.producer(how)


def heard(crew: Crew) -> list[str]:
    """The wait keys whose signal was acknowledged: nobody signals them again."""
    return [
        operation.key or "" for operation in read(crew.histories)
        if operation.name == "proceed" and operation.told == "ok"
    ]  # fmt: skip


def quieten(database: Database, world: World) -> None:
    """See the singleton tick once more; then let no schedule make another task."""
    ticks = "select count(*) from ticks"
    before = database.value(ticks)
    if not came(lambda: database.value(ticks) > before, TICK_BOUND_SECONDS):
        world.crew.surprises.append(f"no tick of {SINGLETON} in {TICK_BOUND_SECONDS} s")
    database.rows("select perdure.pause_schedule(key) from perdure.schedules")


def end_singleton(database: Database) -> None:
    """It does not end by itself."""
    database.rows(
        "select perdure.cancel(t.id) from perdure.tasks as t where t.name = %s and not exists"
        " (select from perdure.outcomes as o where o.task_id = t.id)",
        (SINGLETON,),
    )


def drain(database: Database, world: World, signalled: list[str]) -> None:
    """Signal what nobody has, until everything has ended and only the living are registered.

    A worker that begins puts the singleton again.
    """
    ends = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < ends:
        end_singleton(database)
        database.rows(
            "select perdure.proceed(task_id) from perdure.waiting"
            " where reason = 'suspended' and wait_key <> all (%s)",
            (signalled,),
        )
        left = database.value(
            "select count(*) from perdure.tasks as t where not exists"
            " (select from perdure.outcomes as o where o.task_id = t.id)"
        )
        workers = database.value("select count(*) from perdure.workers")
        say(f"drain: {left} tasks left, {workers} workers")
        if not left and workers == len(world.crew.alive("worker")):
            return
        replace_the_dead(world)
        wait_for(time.monotonic() + 0.5)


def main() -> int:
    """Run it, tell what was found, and keep the folder of a run that found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long there are faults")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is told")
    parser.add_argument("--json", action="store_true", help="nothing but JSON on standard output")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Whatever it has started is ended, too.
    seed = secrets.randbits(32) if given.seed is None else given.seed
    count = max(1, math.ceil(given.minutes / SEGMENT_MINUTES))
    report = Report.of([segment(given.minutes / count, seed + n) for n in range(count)])
    print(json.dumps(report.as_json()), flush=True)  # noqa: T201
    return 0 if report.is_clean else 1


def segment(minutes: float, seed: int) -> Report:
    """Run one and tell what was found; the folder of one that found something is kept."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-storm-"))
    say(f"seed {seed}, files in {folder}")
    report = storm(minutes, seed, folder)
    for line in shown(report.findings):
        say(line)
    if report.is_clean:
        shutil.rmtree(folder)
    else:
        say(f"the files are kept in {folder}")
    return report


if __name__ == "__main__":
    sys.exit(main())
