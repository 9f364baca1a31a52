"""The report of one run as a page in Markdown: every number, losses included, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.faults.peers.adapter import (
    CONCURRENCY,
    LEASE_SECONDS,
    LONG_PAUSE,
    RETRIES,
    SHORT_PAUSE,
)
from tests.faults.peers.judge import DRAIN_SECONDS
from tests.faults.peers.scene import BATCHES, EVERY_SECONDS, SHORT_PER_BATCH, STEPS
from tests.faults.peers.workers import COUNT, RESTARTS_MOST

TASKS = BATCHES * (SHORT_PER_BATCH + 1)
HEAD = f"""# The same faults for peers

Made by `python -m tests.faults.peers --table docs/peers-under-faults.md` from one run, losses
included. {{machine}}
PostgreSQL is as it comes, with `fsync` and `synchronous_commit` on. One run says what
can happen, not how often; its seconds come from two cores that others kept busy, too,
where a process needs seconds to start.

```sh
uv run --group bench python -m tests.faults.peers
```

**The load**, the same for all: {TASKS} tasks, enqueued in {BATCHES} batches, one
every {EVERY_SECONDS:g} s. {BATCHES * SHORT_PER_BATCH} of them insert one row into a table without
any unique constraint, `effects`, and take {2000 * SHORT_PAUSE:g} ms; {BATCHES} insert {STEPS} rows,
{1000 * LONG_PAUSE:g} ms apart. {COUNT} workers with {CONCURRENCY} tasks at a time each, under a
supervisor that starts again what has ended, {RESTARTS_MOST} times in all. {RETRIES} retries.
Leases, heartbeats and the like are {LEASE_SECONDS:g} s where they can be set.

**Effects.** With Perdure a row and the checkpoint, and at last the end of the task, are one
transaction: `context.transaction()`. The others have no transaction with their completion: their
handlers use a connection of their own, one commit for each row. Awa keeps the number of finished
steps as its progress; the others start from the first step again.

**Judged from outside**, when nothing is left to do, or {DRAIN_SECONDS:g} s after the fault is over.
*Lost*: a task with rows missing that nobody will run again. *Too many*: rows of effects beyond one
for each step. *Stuck*: a task that has not ended. *Given up*: a task that the system calls failed.
*Recovery*: seconds from the fault to the next start of a run that it broke off, and how many of
these there were. What a system does not promise is marked so; its words are at the end.
"""

NOTES = {
    "cut": "The peers write their effects before, in transactions of their own.",
    "poison": """Lost, stuck and given up are innocent tasks. When a supervisor
has nothing left to start, what is there is stuck. Whether it ended is asked at the bound.""",
}


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    machine = report["machine"]
    told = (
        f"{machine['system']}, {machine['cores']} cores, python {machine['python']},"
        f" postgresql {machine['postgresql']}."
    )
    parts = [HEAD.replace("{machine}", told)]
    for name, says in report["faults"].items():
        rows = [row for row in report["rows"] if row["fault"] == name]
        parts.append(f"\n## {name}\n\n{says[0].upper()}{says[1:]}.\n{NOTES.get(name, '')}".rstrip())
        parts.append("\n\n" + _table(rows, report["systems"], _columns(name)))
    parts.append("\n## Versions, settings, promises\n")
    for name, system in report["systems"].items():
        parts.append(_system(name, system))
    return "".join(parts)


Cell = Callable[[Mapping[str, Any], Mapping[str, Any]], object]


def _promised(value: object, system: Mapping[str, Any], outcome: str) -> str:
    return f"{value} (not promised)" if outcome in system["not_promised"] else str(value)


def _recovery(row: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    if not row["recovered"]:
        return "-"
    return f"{row['recovery_p50']:.1f} / {row['recovery_max']:.1f} ({row['recovered']})"


def _back(row: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    says = {
        "itself": "by itself",
        "restarted": "ended; its supervisor started another",
        "idle": "runs, takes nothing",
    }
    found = [says[each] for each in row["came_back"] or ()]
    return "; ".join(f"{found.count(each)} {each}" for each in dict.fromkeys(found))


def _columns(fault: str) -> dict[str, Cell]:
    columns: dict[str, Cell] = {
        "system": lambda row, _: row["system"],
        "lost": lambda row, _: row["lost"],
        "too many": lambda row, system: _promised(row["duplicated"], system, "duplicated"),
        "stuck": lambda row, _: row["stuck"],
        "given up": lambda row, _: row["failed"],
        "recovery, s, p50 / max": _recovery,
    }
    if fault == "restart":
        columns["workers came back"] = _back
    if fault == "poison":
        columns["workers killed"] = lambda row, system: _promised(
            row["poison_deaths"], system, "poison"
        )
        columns["runs of it"] = lambda row, _: row["poison_runs"]
        columns["it ended"] = lambda row, _: "as failed" if row["poison_ended"] else "no"
    if fault == "cut":
        columns["replies cut"] = lambda row, _: row["faults"]
    return columns


def _table(
    rows: Sequence[Mapping[str, Any]],
    systems: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, Cell],
) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (str(cell(row, systems[row["system"]])) for cell in columns.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _system(name: str, system: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{key} {value}" for key, value in system["versions"].items())
    settings = "; ".join(f"{key}: {value}" for key, value in system["settings"].items())
    lines = [f"\n**{name}** ({versions}). {settings}."]
    lines += [f"Not promised: {outcome}: {why}." for outcome, why in system["not_promised"].items()]
    return "\n".join(lines) + "\n"
