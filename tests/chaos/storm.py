"""The storm: producers, workers and a seeded mix of faults, then heal, drain, and judge.

`python -m tests.chaos.storm --minutes M --seed S [--json]`: its last line is a JSON object with the
number of tasks, faults and findings of each class; it ends with 1 if there is any finding.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from tests.faults.actions import ACTIONS, Action, World
from tests.faults.chance import Chance
from tests.faults.facts import gather
from tests.faults.fleet import Crew, wait_for
from tests.faults.history import History
from tests.faults.oracle import CLASSES, judge, shown
from tests.faults.service import CANARY, POISONED
from tests.faults.watch import Watcher
from tests.kit.databases import Database, new_database

from perdure.embedded import EmbeddedServer
from perdure.store.migrate import migrate

SERVER: Final = {"fsync": "off", "synchronous_commit": "on", "max_connections": "200"}
"""The machine itself lives on: what was written is there after a crash of the server."""
TABLES: Final = (
    "create table effects (id bigserial, task_id bigint, attempt int, pid int)",
    "create table pages (id bigserial, task_id bigint, attempt int, page int)",
)
WORKERS: Final = 4
RATE: Final = 14.0
"""Operations of each producer in a second; an operation makes 3 tasks on average."""
DRAIN_SECONDS: Final = 90.0
AWAY: Final = "DatabaseUnavailable: could not connect"
LAST_CHARACTERS: Final = 500


@dataclass
class Report:
    """What happened, and what the oracle says of it."""

    seed: int
    minutes: float
    tasks: int
    faults: Counter[str]
    findings: dict[str, list[str]]
    recovery: list[float] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        """Whether every class is empty."""
        return not any(self.findings.values())

    def as_json(self) -> dict[str, Any]:
        """The last line."""
        ordered = sorted(self.recovery)
        return {
            "tasks": self.tasks,
            "faults": self.faults.total(),
            "seed": self.seed,
            "minutes": self.minutes,
            **{name: len(self.findings[name]) for name in CLASSES},
            "recovery_seconds": {
                "p50": round(ordered[len(ordered) // 2], 2) if ordered else None,
                "max": round(ordered[-1], 2) if ordered else None,
                "count": len(ordered),
            },
            "by_fault": dict(sorted(self.faults.items())),
            "operations": dict(sorted(self.operations.items())),
        }


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def storm(minutes: float, seed: int, folder: Path) -> Report:
    """One segment: faults for so long, then heal, drain, judge."""
    chance = Chance(seed, "storm")
    binaries = os.environ.get("PERDURE_TEST_BINARIES")
    with ExitStack() as stack:
        server = stack.enter_context(
            EmbeddedServer(settings=SERVER, binaries=Path(binaries) if binaries else None)
        )
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
        world = World(server, database.dsn, crew, history)
        password = database.dsn.split(":")[2].split("@")[0]
        watcher = Watcher(database.dsn, (password, CANARY))
        faults = trouble(world, chance, time.monotonic() + minutes * 60)
        say("heal")
        for how in ("python", "sql"):
            for member in crew.alive(how):
                crew.stop(member, 15)
        reconnected = Database(server, database.name)
        stack.callback(reconnected.close)
        drain(reconnected, world)
        for member in crew.alive("worker"):
            crew.stop(member, 4)
        watcher.close()
        facts, recovery = gather(reconnected, world, watcher, (password, CANARY))
        return Report(
            seed, minutes, len(facts.tasks), faults, judge(facts), recovery,
            Counter(operation.told for operation in facts.operations),
        )  # fmt: skip


def trouble(world: World, chance: Chance, ends: float) -> Counter[str]:
    """One to three faults at a time, and a pause; what has died by itself is replaced."""
    done: Counter[str] = Counter()
    began = time.monotonic()
    number = 0
    wait_for(time.monotonic() + 2)
    while time.monotonic() < ends:
        number += 1
        turn = chance.of(number)
        chosen = [
            turn.weighed(ACTIONS, "action", n)
            for n in range(turn.weighed({1: 6, 2: 3, 3: 1}, "together"))
        ]
        names = [action.__name__ for action in chosen]
        say(f"{time.monotonic() - began:7.1f} s  {number:4}  {', '.join(names)}")
        kills = len(world.kills)
        together(world, turn, chosen)
        done.update(names)
        is_alone = chosen[0].__name__ == "kill" and len(chosen) == 1
        pause = 6.0 if is_alone else turn.between(0.5, 3.5, "pause")
        wait_for(time.monotonic() + pause)
        for kill in world.kills[kills:]:
            kill.calm = is_alone
        replace_the_dead(world)
    return done


def together(world: World, turn: Chance, chosen: Sequence[Action]) -> None:
    """Do them at the same time, each in a thread; wait for all."""
    failed: list[BaseException] = []

    def do(action: Action, number: int) -> None:
        try:
            # Its own connection may be hit by another fault: then it is over.
            with suppress(psycopg.Error):
                action(world, turn.of(number))
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


def replace_the_dead(world: World) -> None:
    """Poison kills workers; nothing else may."""
    for member in world.crew.dead("worker"):
        # One that starts while the server is away says so and ends: whoever runs it starts another.
        is_early = AWAY in member.log.read_text(errors="replace")[-LAST_CHARACTERS:]
        if member.process.wait(1) != POISONED and not is_early:
            world.crew.surprises.append(f"a worker has died by itself: {member.log}")
        world.crew.leave(member)
        world.crew.worker()
    for how in ("python", "sql"):
        for member in world.crew.dead(how):
            world.crew.surprises.append(f"a producer has died by itself: {member.log}")
            world.crew.leave(member)
            world.crew.producer(how)


def drain(database: Database, world: World) -> None:
    """Signal whatever still waits for one, until everything has ended or the time is over."""
    ends = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < ends:
        database.rows(
            "select perdure.proceed(task_id) from perdure.waiting"
            " where reason = 'suspended' or wait_key is not null"
        )
        left = database.value(
            "select count(*) from perdure.tasks as t where not exists"
            " (select from perdure.outcomes as o where o.task_id = t.id)"
        )
        say(f"drain: {left} left")
        if not left:
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
    seed = secrets.randbits(32) if given.seed is None else given.seed
    os.environ.setdefault("PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY", "true")
    folder = Path(tempfile.mkdtemp(prefix="perdure-storm-"))
    say(f"seed {seed}, files in {folder}")
    report = storm(given.minutes, seed, folder)
    for line in shown(report.findings):
        say(line)
    print(json.dumps(report.as_json()), flush=True)  # noqa: T201
    if report.is_clean:
        shutil.rmtree(folder)
        return 0
    say(f"the files are kept in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
