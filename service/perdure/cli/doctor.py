"""The command doctor: every check judges one answer, and says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from perdure.cli.given import Given
from perdure.cli.opening import dsn_of, load_settings
from perdure.cli.output import Output, moment
from perdure.client.opening import open_database
from perdure.errors import DatabaseError, NotPermitted, PerdureError, SchemaMismatch
from perdure.run.worker import FIXED_CONNECTIONS
from perdure.settings import Settings
from perdure.store.inspect import LANE_GONE, Inspector, Misplaced, Server, inspecting

Verdict: TypeAlias = Literal["ok", "warning", "problem", "unknown"]

HOLDER_SECONDS: Final = 300.0
HOLDER_XIDS: Final = 1_000_000
XID_AGE_PROBLEM: Final = 1_600_000_000
"""Where PostgreSQL itself stops being polite (vacuum_failsafe_age)."""
NOTIFY_USAGE: Final = 0.5
CONNECTIONS_SHARE: Final = 0.9
RANGES_AHEAD: Final = 2
SHOWN_MOST: Final = 5
LOOK_MOST: Final = 100_000
"""Misplaced tasks of one look before a repair: it reads whole tables."""
REPAIR_MOST: Final = 10_000
"""Tasks of one transaction of a repair."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found; `rows` holds the answers that led to it."""

    check: str
    verdict: Verdict
    text: str
    remedy: str | None = None
    rows: Sequence[Any] = field(default=())


Check: TypeAlias = Callable[[Inspector, Settings], Finding]


def doctor(given: Given, *, strict: bool, repair: bool, as_json: bool) -> int:
    """Make all checks and print what they found.

    Raises:
        PerdureError: something is wrong, and `strict` was asked for.
        SchemaMismatch: there is no schema that this program may run on.
    """
    settings = load_settings(given).settings
    dsn_of(settings)
    database = open_database(settings=settings)
    asyncio.run(database.check_version())
    with inspecting(database) as inspector:
        repaired = _repair(inspector) if repair else []
        findings = [_made(name, check, inspector, settings) for name, check in CHECKS.items()]
    wrong = [finding for finding in findings if finding.verdict in ("warning", "problem")]
    output = Output(as_json=as_json)
    if as_json:
        shown = [{**_as_dict(finding)} for finding in findings]
        output.document({"healthy": not wrong, "repaired": repaired, "findings": shown})
    else:
        _print(output, findings, repaired)
    if strict and wrong:
        names = ", ".join(finding.check for finding in wrong)
        raise PerdureError(f"{len(wrong)} of {len(findings)} checks found something: {names}")
    return 0


def check_durability(inspector: Inspector, settings: Settings) -> Finding:
    """What a crash or a failover may lose."""
    server = inspector.server()
    name = "durability"
    text = {
        "replicated": "replicated: neither a crash nor a failover loses anything",
        "single": "single: a crash of the server loses nothing; there is no standby",
        "async-replicated": "async-replicated: a failover may lose the last moments",
        "unsafe": "unsafe: a crash of the server may lose the last moments, or all",
    }[server.durability]
    if server.durability != "unsafe":
        return Finding(name, "ok", text)
    off = [
        setting
        for setting, wrong in (
            ("fsync = on", not server.fsync),
            ("full_page_writes = on", not server.full_page_writes),
            ("synchronous_commit = on", server.synchronous_commit == "off"),
        )
        if wrong
    ]
    allowed = settings.persistence.allow_unsafe_durability
    remedy = f"set {', '.join(off)} in postgresql.conf"
    return Finding(name, "warning" if allowed else "problem", text, remedy)


def check_places(inspector: Inspector, _settings: Settings) -> Finding:
    """Every task is in exactly one place."""
    found = inspector.misplaced()
    name = "misplaced tasks"
    if not found:
        return Finding(name, "ok", "every task is in exactly one place")
    remedy = "`perdure doctor --repair` gives them their places" if _reparable(found) else None
    return Finding(name, "problem", _listed(found, _misplaced), remedy, found)


def check_orphans(inspector: Inspector, _settings: Settings) -> Finding:
    """Nothing is left beside the ledger; a lease without a worker is the worst of it."""
    found = inspector.orphans()
    if not found:
        return Finding("orphans", "ok", "every lease has a worker, every key and edge its task")
    text = _listed(found, lambda row: f"{row.kind} of {row.owner}, task {row.tasks[0]}")
    worst: Verdict = "problem" if any(row.kind == "lease" for row in found) else "warning"
    return Finding("orphans", worst, text, "this is a fault of Perdure: please report it", found)


def check_unserved(inspector: Inspector, _settings: Settings) -> Finding:
    """Every task is taken by somebody."""
    found = inspector.unserved()
    if not found:
        return Finding("unserved tasks", "ok", "some live worker takes every ready task")
    text = _listed(
        found,
        lambda row: (
            f"{row.tasks} of {row.name} in {row.queue} since {moment(row.oldest)}: {row.why}"
        ),
    )
    remedy = "start workers that register them, serve their queue and satisfy what they require"
    return Finding("unserved tasks", "warning", text, remedy, found)


def check_schedules(inspector: Inspector, _settings: Settings) -> Finding:
    """Every schedule can be evaluated, and somebody runs what it makes."""
    found = inspector.schedules()
    if not found:
        return Finding("schedules", "ok", "every schedule fires, and some live worker serves it")
    text = _listed(found, lambda row: f"{row.key}: {row.why}")
    remedy = "put it anew, start workers that know its task, or `perdure schedules delete` it"
    return Finding("schedules", "warning", text, remedy, found)


def check_workers(inspector: Inspector, _settings: Settings) -> Finding:
    """Some worker lives, none is dead or has something to say."""
    found = inspector.workers()
    if not found:
        remedy = "start one: `perdure worker -A MODULE:SERVICE`; tasks wait until then"
        return Finding("workers", "warning", "none runs", remedy)
    dead = [worker for worker in found if not worker.alive]
    ailing = [worker for worker in found if worker.alive and worker.problem]
    if dead:
        text = _listed(dead, lambda row: f"{row.name} is silent since {moment(row.heartbeat_at)}")
        remedy = "the next worker that beats takes its tasks back: start one"
        return Finding("workers", "warning", text, remedy, [row.name for row in dead])
    if ailing:
        text = _listed(ailing, lambda row: f"{row.name}: {row.problem}")
        return Finding("workers", "warning", text, None, [row.name for row in ailing])
    return Finding("workers", "ok", f"{len(found)} alive")


def check_holders(inspector: Inspector, _settings: Settings) -> Finding:
    """No old snapshot keeps dead rows in front of every claim."""
    name = "old snapshots"
    found = inspector.holders()
    old = [h for h in found if h.xids > HOLDER_XIDS or (h.seconds or 0.0) > HOLDER_SECONDS]
    server = inspector.server()
    if not old and not server.sees_all:
        text = "the server hides the sessions of others from this login"
        remedy = f"a superuser runs `grant pg_read_all_stats to {server.login}`"
        return Finding(name, "unknown", text, remedy)
    if not old:
        return Finding(name, "ok", "nobody keeps dead rows from being removed")

    def say(holder: Any) -> str:
        age = "" if holder.seconds is None else f", {holder.seconds:.0f} s"
        return f"{holder.kind} {holder.who}: {holder.xids} transactions{age}"

    remedy = "end the session or transaction, or drop the slot; claims are slower until then"
    return Finding(name, "warning", _listed(old, say), remedy, old)


def check_vacuum(inspector: Inspector, _settings: Settings) -> Finding:
    """Transaction ids do not run out, and dead rows are removed."""
    server = inspector.server()
    age = max(server.xid_age, server.mxid_age)
    text = f"oldest transaction id {server.xid_age}, multixact {server.mxid_age} old"
    if age > XID_AGE_PROBLEM:
        return Finding("vacuum", "problem", text, "run `vacuum freeze` in this database now")
    if not server.autovacuum:
        return Finding(
            "vacuum", "problem", f"autovacuum is off; {text}",
            "set autovacuum = on and track_counts = on in postgresql.conf",
        )  # fmt: skip
    if age > 2 * server.freeze_age_max:
        return Finding("vacuum", "warning", text, "find out what keeps autovacuum from freezing")
    return Finding("vacuum", "ok", f"autovacuum is on; {text}")


def check_connections(inspector: Inspector, settings: Settings) -> Finding:
    """All live workers together fit into max_connections."""
    server = inspector.server()
    live = sum(worker.alive for worker in inspector.workers())
    return connections(server, live, FIXED_CONNECTIONS + settings.persistence.pool_max_size)


def connections(server: Server, live: int, each: int) -> Finding:
    """`live` workers may open `each` connections; `each` is what the settings here say."""
    free_for_all = server.connections_most - server.connections_reserved
    text = (
        f"{server.connections_used} of {free_for_all} in use; workers alive: {live}, may open "
        f"{live * each} ({each} each)"
    )
    remedy = "raise max_connections, lower persistence.pool_max_size, or put a pooler in between"
    if live * each > free_for_all:
        return Finding("connections", "problem", text, remedy)
    if server.connections_used > CONNECTIONS_SHARE * free_for_all:
        return Finding("connections", "warning", text, remedy)
    return Finding("connections", "ok", text)


def check_notifications(inspector: Inspector, _settings: Settings) -> Finding:
    """The queue of notifications, which all databases of the server share, is not full."""
    usage = inspector.server().notify_usage
    text = f"the queue of notifications is {usage:.0%} full"
    if usage < NOTIFY_USAGE:
        return Finding("notifications", "ok", text)
    remedy = "end the session that listens in an open transaction: a full queue fails every COMMIT"
    return Finding("notifications", "problem", text, remedy)


def check_ranges(inspector: Inspector, _settings: Settings) -> Finding:
    """Ranges of ids are made long ahead."""
    number, ahead = inspector.ranges()
    text = f"range {number} is in use, {ahead} are ready beyond it"
    if ahead >= RANGES_AHEAD:
        return Finding("ranges of ids", "ok", text)
    remedy = "a live worker makes them: start one; tasks go to the default partition until then"
    return Finding("ranges of ids", "warning" if ahead else "problem", text, remedy)


def check_isolation(inspector: Inspector, _settings: Settings) -> Finding:
    """Sessions read what is committed: producers under SERIALIZABLE meet errors 40001."""
    server = inspector.server()
    text = f"this session has {server.isolation}"
    if inspector.pooled:
        text += "; a pooler stands in between"
    own = server.login_isolation
    if server.isolation == "read committed" and own in (None, "read committed"):
        return Finding("isolation", "ok", text)
    if own not in (None, "read committed"):
        text += f"; sessions of its own that {server.login} opens begin with {own}"
    remedy = f"make read committed the default of {server.login}: `perdure grant` prints how"
    return Finding("isolation", "warning", text, remedy)


CHECKS: Final[dict[str, Check]] = {
    "durability": check_durability,
    "misplaced tasks": check_places,
    "orphans": check_orphans,
    "unserved tasks": check_unserved,
    "schedules": check_schedules,
    "workers": check_workers,
    "old snapshots": check_holders,
    "vacuum": check_vacuum,
    "connections": check_connections,
    "notifications": check_notifications,
    "ranges of ids": check_ranges,
    "isolation": check_isolation,
}


def _made(name: str, check: Check, inspector: Inspector, settings: Settings) -> Finding:
    """The check, or why it could not be made: one that this login may not ask hides no other."""
    try:
        return check(inspector, settings)
    except (NotPermitted, SchemaMismatch):
        text = "this login may not ask: use that of a worker, or the schema's owner"
        return Finding(name, "unknown", text)
    except DatabaseError as error:
        return Finding(name, "unknown", str(error))


def _repair(inspector: Inspector) -> list[int]:
    """Give all tasks one place whose places leave no doubt: each look reads whole tables."""
    repaired: set[int] = set()
    while wrong := _reparable(inspector.misplaced(LOOK_MOST)):
        before = len(repaired)
        for first in range(0, len(wrong), REPAIR_MOST):
            repaired.update(inspector.repair(wrong[first : first + REPAIR_MOST]))
        if len(repaired) == before:
            break
    return sorted(repaired)


def _reparable(found: Sequence[Misplaced]) -> list[int]:
    """Those that have no place, or may be taken out of one: nothing is lost with that.

    Not what is in ready alone, but not in the ledger: there is nothing to run.
    """
    return [
        row.task_id
        for row in found
        if not row.places
        or LANE_GONE in row.places
        or {"outcomes", "waiting"} <= {*row.places}
        or ("ready" in row.places and len(row.places) > 1)
    ]


def _misplaced(row: Misplaced) -> str:
    if len(row.places) == 1 and row.places != [LANE_GONE]:
        return f"task {row.task_id} in {row.places[0]}, but not in the ledger"
    return f"task {row.task_id} in {' and '.join(row.places) or 'no place'}"


def _listed(rows: Sequence[Any], say: Callable[[Any], str]) -> str:
    text = "; ".join(say(row) for row in rows[:SHOWN_MOST])
    more = len(rows) - SHOWN_MOST
    return f"{text}; and {more} more" if more > 0 else text


def _print(output: Output, findings: Sequence[Finding], repaired: Sequence[int]) -> None:
    if repaired:
        output.line(f"repaired {len(repaired)} tasks: {', '.join(map(str, repaired[:SHOWN_MOST]))}")
    output.table(
        ("verdict", "check", "found"),
        [(finding.verdict, finding.check, finding.text) for finding in findings],
        empty="nothing was checked",
    )
    remedies = [(finding.check, finding.remedy) for finding in findings if finding.remedy]
    if remedies:
        output.line("")
    for check, remedy in remedies:
        output.line(f"{check}: {remedy}")


def _as_dict(finding: Finding) -> dict[str, object]:
    rows = [row._asdict() if hasattr(row, "_asdict") else row for row in finding.rows]
    return {
        "check": finding.check, "verdict": finding.verdict, "text": finding.text,
        "remedy": finding.remedy, "rows": rows,
    }  # fmt: skip
