"""with_max_instances while workers are killed: never more at once, and all come to their end."""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, Process, until
from tests.kit.ledger import Ledger
from tests.kit.limited_service import AT_ONCE

TENANTS = ("a", "b", "c", "d", "e")
INSERT = """
    insert into perdure.tasks (name, metadata)
    select 'visit', jsonb_build_object('tenant', ('{a,b,c,d,e}'::text[])[n %% 5 + 1])
    from generate_series(1, %s::int) as n
"""


def most_at_once(ledger: Ledger, killed_at: dict[int, float]) -> Counter[str]:
    """How many runs of each tenant were on at once, by what they have noted themselves.

    A run that was killed with its process is on until that was dead.
    """
    changes: list[tuple[float, int, str]] = []
    on: dict[tuple[int, int], str] = {}
    for record in ledger:
        run, step = (record["pid"], record["task"]), 1 if record["what"] == "begin" else -1
        changes.append((record["at"], step, record["tenant"]))
        if step > 0:
            on[run] = record["tenant"]
        else:
            del on[run]
    changes += [(killed_at[pid], -1, tenant) for (pid, _), tenant in on.items()]
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for _, step, tenant in sorted(changes):
        now[tenant] += step
        most[tenant] = max(most[tenant], now[tenant])
    return most


@pytest.mark.conformance("C77")
def test_four_workers_that_are_killed_at_random_keep_to_the_limit_and_end_all(
    database: Database, tmp_path: Path
) -> None:
    rng = random.Random(77)
    ended = "select count(*) from perdure.outcomes where state = 'completed'"
    killed_at: dict[int, float] = {}
    with Fleet(database, "tests.kit.limited_service:service", tmp_path) as fleet:

        def reached(count: int) -> bool:
            return int(database.value(ended)) >= count

        def at_work(workers: list[Process]) -> list[Process]:
            pids = {record["pid"] for record in fleet.ledger.records("begin")}
            return [worker for worker in workers if worker.pid in pids]

        def start() -> Process:
            # A killed run is no reason to run the task in a child, whose death nobody here sees.
            return fleet.start(execution__isolate_after="9")

        database.execute(INSERT, [100])
        workers = [start() for _ in range(4)]
        until(lambda: len(fleet.ledger.records("begin")) > 10)
        for _ in range(100):
            database.execute(
                "insert into perdure.tasks (name, metadata)"
                " values ('visit', jsonb_build_object('tenant', %s::text))", [rng.choice(TENANTS)],
            )  # fmt: skip
        for count in (30, 70, 110):
            until(partial(reached, count))
            until(lambda: at_work(workers))
            victim = rng.choice(at_work(workers))
            workers.remove(victim)
            victim.kill()
            killed_at[victim.pid] = time.monotonic()
            workers.append(start())
        until(lambda: database.value(ended) == 200)
        most = most_at_once(fleet.ledger, killed_at)
    assert killed_at.keys() <= {record["pid"] for record in fleet.ledger}
    assert most == dict.fromkeys(TENANTS, AT_ONCE)


def test_the_judge_of_the_limit_finds_one_too_many(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    records: list[dict[str, Any]] = [
        {"what": what, "task": task, "pid": pid, "at": at, "tenant": "a"}
        for what, task, pid, at in (
            ("begin", 1, 7, 0.0), ("begin", 2, 8, 1.0), ("end", 2, 8, 2.0), ("begin", 3, 8, 3.0),
            ("begin", 4, 8, 4.0), ("end", 3, 8, 5.0), ("end", 4, 8, 6.0),
        )
    ]  # fmt: skip
    ledger.path.write_text("".join(f"{record}\n" for record in records).replace("'", '"'))
    assert most_at_once(ledger, {7: 3.5}) == {"a": 2}
    assert most_at_once(ledger, {7: 4.5}) == {"a": 3}
