"""Gathers what the oracle judges by: from the database, from the files, from the processes."""

from __future__ import annotations

import json
import math
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.faults.actions import Kill, World
from tests.faults.evidence import (
    POISONED,
    Attempt,
    Effect,
    Facts,
    Fire,
    Hurt,
    Schedule,
    Task,
    Tick,
)
from tests.faults.history import Operation, read
from tests.faults.watch import Watcher, told_in
from tests.invariants import ALWAYS, AT_THE_END
from tests.kit.databases import Database
from tests.kit.fleet import B1, B4, SLACK, until

FIRES: Final = """
    select schedule_key, extract(epoch from fire_at)::float8 + %(to_monotonic)s::float8, fate,
        count, task_id, extract(epoch from decided_at)::float8 + %(to_monotonic)s::float8
    from perdure.fires order by schedule_key, fire_at
    """
SCHEDULES: Final = """
    select key, extract(epoch from created_at)::float8 + %(to_monotonic)s::float8,
        extract(epoch from next_fire_at)::float8 + %(to_monotonic)s::float8
    from perdure.schedules
    """
BUSY: Final = 40
"""As many enqueues are work for every worker."""
COPIED: Final = "CONTEXT:  COPY "
ATTEMPTS: Final = """
    select task_id, attempt, kind, worker_id,
        extract(epoch from started_at)::float8 + %(to_monotonic)s::float8,
        extract(epoch from ended_at)::float8 + %(to_monotonic)s::float8, reason
    from perdure.attempts
    """
TASKS: Final = """
    select t.id, t.name, t.metadata ->> 'op', coalesce((t.metadata ->> 'i')::int, 0), t.unique_key,
        o.state, o.kind, o.attempt, o.result ->> 'op', (o.result ->> 'i')::int,
        coalesce(extract(epoch from o.finished_at)::float8, 'infinity') + %(to_monotonic)s::float8,
        extract(epoch from t.expires_at)::float8 + %(to_monotonic)s::float8,
        extract(epoch from t.deadline_at)::float8 + %(to_monotonic)s::float8, t.schedule_key
    from perdure.tasks as t left join perdure.outcomes as o on o.task_id = t.id
    """


def gather(
    database: Database, world: World, watcher: Watcher, secrets: tuple[str, ...]
) -> tuple[Facts, dict[str, list[float]]]:
    """The facts; and by fault the seconds until a task, or a worker, went on after it."""
    ledger = [json.loads(line) for line in world.crew.ledger.read_text().splitlines()]
    operations = list(read(world.crew.histories))
    names = {member.process.pid: member.name for member in world.crew.members}
    poisoned = [
        Hurt(record["member"], POISONED, record["at"], math.inf) for record in ledger
        if record["what"] == "poison" and record["pid"] in names
    ]  # fmt: skip
    # The database's clock, by which workers tell their starts, too, is that of this machine.
    clock = {"to_monotonic": time.monotonic() - time.time()}
    rows = database.rows(TASKS, clock)
    killed = list(recovered(world.kills, ledger))
    restarted = list(back(world, operations, ledger))
    facts = Facts(
        operations=operations,
        ledger=ledger,
        tasks={row[0]: Task._make([*row[:8], (row[8], row[9]), *row[10:]]) for row in rows},
        attempts=[Attempt(*row) for row in database.rows(ATTEMPTS, clock)],
        effects=[
            Effect(*row)
            for row in database.rows("select task_id, attempt from effects order by id")
        ],
        pages=[
            Effect(*row)
            for row in database.rows("select task_id, attempt, page from pages order by id")
        ],
        fires=[Fire(*row) for row in database.rows(FIRES, clock)],
        schedules=[Schedule(*row) for row in database.rows(SCHEDULES, clock)],
        ticks=[
            Tick(*row)
            for row in database.rows("select task_id, attempt, number from ticks order by id")
        ],
        hurts=[*world.crew.hurts, *poisoned],
        stops=world.crew.stops,
        members={worker: names[pid] for worker, pid in watcher.pids.items()},
        samples=watcher.samples,
        left=[*leftovers(database, world), *world.crew.surprises, *exits(world, watcher)],
        late=[
            *(
                f"a task of worker {kill.member} went on after {seconds:.1f} s"
                for kill, seconds in killed
                if kill.calm and seconds > B1 + SLACK
            ),
            *(
                f"worker {name} claimed {seconds:.1f} s after a restart of the server"
                for name, seconds in restarted
                if seconds > B4 + SLACK
            ),
        ],
        secrets=list(told(world, secrets, watcher.leases)),
    )
    return facts, {
        "killed": [seconds for _, seconds in killed],
        "restarted": [seconds for _, seconds in restarted],
    }


def recovered(
    kills: Sequence[Kill], ledger: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Kill, float]]:
    """For each task that a killed worker was at: the seconds until it went on elsewhere.

    It may have gone on elsewhere before, because the worker had lost its lease.
    """
    of_task: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in ledger:
        of_task[record["task"]].append(record)
    by_member = {kill.member: kill for kill in kills}
    for records in of_task.values():
        running: Mapping[str, Any] | None = None
        for record in records:
            if record["what"] == "start":
                kill = by_member.get(running["member"]) if running else None
                if kill and record["member"] != kill.member and record["at"] >= kill.at:
                    yield kill, record["at"] - kill.at
                running = record
            elif record["what"] in ("end", "raised", "stopped"):
                running = None


def back(
    world: World, operations: Sequence[Operation], ledger: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, float]]:
    """For each worker that nothing else has happened to: the seconds from a restart to its start.

    Where it starts nothing for longer than it may, and there is work: as long as that.
    """
    most = B4 + 2 * SLACK
    for at in world.restarts:
        ends = at + most
        asked = sum(at <= one.at <= ends and one.told == "ok" for one in operations)
        if asked < BUSY or any(at < other <= ends for other in world.restarts):
            continue
        starts: dict[str, float] = {}
        before: set[str] = set()
        for record in ledger:
            if record["what"] == "start" and record["at"] <= at:
                before.add(record["member"])
            elif record["what"] == "start" and record["at"] <= ends:
                starts.setdefault(record["member"], record["at"] - at)
        for member in world.crew.members:
            is_hurt = any(
                one.member == member.name and one.since <= ends and at <= one.until
                for one in world.crew.hurts
            )
            is_there = member.name in before and member.ended_at > ends
            if is_there and not is_hurt:
                yield member.name, starts.get(member.name, most)


def exits(world: World, watcher: Watcher) -> Iterator[str]:
    """A member that was told to stop ends with 0; at first it is but Python, and ends at once."""
    known = {*watcher.pids.values()}
    for member, code in world.crew.exits.items():
        is_young = member.process.pid not in known or member.kind != "worker"
        if code != 0 and not (code == -signal.SIGTERM and is_young):
            yield f"{member.log} ended with {code}"


def leftovers(database: Database, world: World) -> Iterator[str]:
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
    for row in database.rows("select id, pid, heartbeat_at from perdure.workers"):
        yield f"a worker that is gone is registered: {row}"
    for pid, line in world.crew.processes():
        yield f"process {pid} is still there: {line}"


def told(world: World, secrets: Sequence[str], leases: set[str]) -> Iterator[str]:
    """The secrets that stand in a log of a worker, a producer or the server."""
    logs = [member.log for member in world.crew.members]
    texts = [(log.name, log.read_text(errors="replace")) for log in logs]
    # PostgreSQL itself prints the line of a COPY that was broken off.
    server = "\n".join(line for line in world.server.log.splitlines() if COPIED not in line)
    for where, text in [*texts, ("the server's log", server)]:
        for secret in told_in(text, secrets, leases):
            yield f"{secret} in {where}"
