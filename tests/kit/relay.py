"""Workers of which one after the other dies: deaths are reported as a supervisor would."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.databases import Database
from tests.kit.fleet import SLACK, Fleet, Process, until

QUICK_BEATS = {"execution__beat_interval": "0.2s"}


def make_tables(database: Database) -> None:
    """What handlers of the tests write into; no constraint keeps a duplicate from being seen."""
    database.execute("create table effects (task_id bigint)")
    database.execute("create table pages (task_id bigint, page int)")


def enqueue(database: Database, name: str, count: int = 1, **metadata: object) -> list[int]:
    """Enqueue so many tasks of one name by a plain INSERT; their ids."""
    rows = database.rows(
        "insert into perdure.tasks (name, metadata) select %s, %s::jsonb"
        " from generate_series(1, %s::int) returning id",
        (name, json.dumps(metadata), count),
    )
    return [id_ for (id_,) in rows]


def note_claims(database: Database) -> None:
    """Note what is claimed: who prefetches gives back what has waited for a slot for a second."""
    database.execute("""
        create table claims (tasks int);
        create function note_claim() returns trigger language plpgsql as $$
            begin insert into public.claims values (cardinality(new.task_ids)); return null; end $$;
        create trigger noted after insert on perdure.leases
            for each row execute function note_claim()""")


def claimed(database: Database) -> int:
    """How many tasks were claimed since `note_claims`, or since `claims` was emptied."""
    return int(database.value("select coalesce(sum(tasks), 0) from claims"))


def ended(database: Database, count: int) -> bool:
    """Whether so many tasks have ended."""
    return bool(database.value("select count(*) from perdure.outcomes") >= count)


def all_work(fleet: Fleet, workers: Iterable[Process], since: float, within: float) -> list[int]:
    """Enqueue until each of the workers has begun a run since then, within the bound; the ids."""
    wanted, ids = {worker.pid for worker in workers}, list[int]()

    def work() -> bool:
        ids.extend(enqueue(fleet.database, "short", 20))
        records = fleet.ledger.records("start")
        return wanted <= {record["pid"] for record in records if record["at"] > since}

    until(work, timeout=within + SLACK)
    return ids


def begun(fleet: Fleet, task_id: int, times: int) -> bool:
    """Whether so many runs of the task have begun."""
    return len(fleet.ledger.records("start", task_id)) >= times


def counters(database: Database, task_id: int) -> tuple[object, ...]:
    """State, attempt, failures, interruptions, crashes."""
    return database.rows(
        "select state, attempt, failures, interruptions, crashes from perdure.task(%s::bigint)",
        (task_id,),
    )[0]


def report(database: Database, dead: Process) -> None:
    """Say that a process is dead, as a supervisor does for its child."""
    database.execute(
        "update perdure.workers set lease_seconds = 0 where host = %s and pid = %s",
        (socket.gethostname(), dead.pid),
    )


def registered(database: Database, process: Process) -> bool:
    """Whether the process has made itself known, and has begun to beat."""
    return bool(
        database.value("select count(*) from perdure.workers where pid = %s", (process.pid,))
    )


@contextmanager
def opened_gate(fleet: Fleet) -> Iterator[None]:
    """Let the gated tasks go on, for the life of the block."""
    gate = Path(f"{fleet.ledger.path}.go")
    gate.touch()
    try:
        yield
    finally:
        gate.unlink()
