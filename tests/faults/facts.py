"""Gathers what the oracle judges by: from the database, from the files, from the processes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.faults.actions import Kill, World
from tests.faults.history import read
from tests.faults.oracle import Attempt, Effect, Facts, Task
from tests.faults.watch import Watcher
from tests.invariants import ALWAYS, AT_THE_END
from tests.kit.databases import Database
from tests.kit.fleet import until

CRASH_SECONDS: Final = 2.8
"""B1 with the times of these tests: max(D, 2 H) + H + 1.5 P + S."""
SLACK_SECONDS: Final = 0.5
COPIED: Final = "CONTEXT:  COPY "
ATTEMPTS: Final = "select task_id, attempt, kind, worker_id from perdure.attempts"
TASKS: Final = """
    select t.id, t.name, t.metadata ->> 'op', coalesce((t.metadata ->> 'i')::int, 0), t.unique_key,
        o.state, o.kind, o.attempt
    from perdure.tasks as t left join perdure.outcomes as o on o.task_id = t.id
    """


def gather(
    database: Database, world: World, watcher: Watcher, secrets: tuple[str, ...]
) -> tuple[Facts, list[float]]:
    """The facts, and the seconds from each death of a worker to the next start of what it held."""
    ledger = [json.loads(line) for line in world.crew.ledger.read_text().splitlines()]
    poisonous = {record["pid"] for record in ledger if record["what"] == "poison"}
    members = [member for member in world.crew.members if member.name == "worker"]
    hurt = {
        member.process.pid
        for member in members
        if member.killed_at is not None or member.frozen or member.cut_off
    } | poisonous
    tasks = [Task(*row) for row in database.rows(TASKS)]
    recovery = list(recovered(world.kills, ledger))
    facts = Facts(
        operations=list(read(world.crew.histories)),
        ledger=ledger,
        tasks={task.id: task for task in tasks},
        attempts=[Attempt(*row) for row in database.rows(ATTEMPTS)],
        effects=[
            Effect(*row)
            for row in database.rows("select task_id, attempt from effects order by id")
        ],
        pages=[
            Effect(*row)
            for row in database.rows("select task_id, attempt, page from pages order by id")
        ],
        whole={worker for worker, pid in watcher.pids.items() if pid not in hurt},
        frozen={member.process.pid for member in members if member.frozen},
        poisoned={task.id for task in tasks if task.name == "poison"},
        samples=watcher.samples,
        left=[*leftovers(database), *world.crew.surprises],
        late=[
            f"a task of worker {kill.pid} went on after {seconds:.1f} s"
            for kill, seconds in recovery
            if kill.calm and seconds > CRASH_SECONDS + SLACK_SECONDS
        ],
        secrets=list(told(world, (*secrets, *watcher.leases))),
    )
    return facts, [seconds for _, seconds in recovery]


def recovered(
    kills: Sequence[Kill], ledger: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Kill, float]]:
    """For each task that a killed worker was at: the seconds until it went on elsewhere."""
    of_task: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in ledger:
        of_task[record["task"]].append(record)
    by_pid = {kill.pid: kill for kill in kills}
    for records in of_task.values():
        running: Mapping[str, Any] | None = None
        for record in records:
            if record["what"] == "start":
                kill = by_pid.get(running["pid"]) if running else None
                if kill is not None and record["pid"] != kill.pid:
                    yield kill, record["at"] - kill.at
                running = record
            elif record["what"] in ("end", "raised"):
                running = None


def leftovers(database: Database) -> Iterator[str]:
    """What should not be there when all has ended and all workers are gone."""
    sessions = (
        "select application_name, state from pg_stat_activity where datname = current_database()"
        " and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    try:
        until(lambda: not database.rows(sessions), timeout=10)
    except AssertionError:
        yield f"sessions: {database.rows(sessions)}"
    for name, rows in database.violations((*ALWAYS, *AT_THE_END)).items():
        yield f"{name}: {rows}"
    for pid, line in processes():
        yield f"process {pid} is still there: {line}"


def processes() -> Iterator[tuple[int, str]]:
    """Workers and their children that nobody has ended."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "tests.faults.service" in line:
            yield int(path.parent.name), line


def told(world: World, secrets: Sequence[str]) -> Iterator[str]:
    """The secrets that stand in a log of a worker, a producer or the server."""
    logs = [member.log for member in world.crew.members]
    texts = [(log.name, log.read_text(errors="replace")) for log in logs]
    # PostgreSQL itself prints the line of a COPY that was broken off.
    server = "\n".join(line for line in world.server.log.splitlines() if COPIED not in line)
    for where, text in [*texts, ("the server's log", server)]:
        for secret in secrets:
            if secret in text:
                yield f"{secret} in {where}"
