"""Register, beat, recover, lanes, and the word that an idle enqueuer waits."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import perdure
from perdure.store.database import Session, SyncSession
from perdure.store.queue import array_literal
from perdure.tasks.places import LeaseId
from perdure.tasks.plan import Lane


class Letter(NamedTuple):
    """Mail for a task that this worker holds: kind is cancel, replaced or follower."""

    id: int
    task_id: int
    kind: str


class Beat(NamedTuple):
    """What a beat answers.

    alive: False: the worker's row is gone, it must register again under a new id.
    at: the database's clock, seconds of the epoch.
    lost: leases of those named that do not exist any more.
    letters: what tasks that it holds are told: cancels, followers; one of each kind.
    dead: some worker has not beaten within its lease.
    due_in: seconds until the next task in waiting is due (negative: it is), None: none has a time.
    unlaned, mail, upkeep: there is something in lane 0, mail at all, upkeep to do.
    paused: queue -> whether its running tasks are to be stopped as well.
    lanes: changes when lanes have been made.
    lease: the shortest lease of any worker, in seconds.
    openings: somebody waits for an instance that may be free.
    bounds: queue -> how many of its tasks each worker process may run.
    fire_in: seconds until a schedule is to be looked at, None: there is none.
    constraints: those declared for the whole cluster: name -> whether it holds.
    draining: somebody wants this worker to take no more tasks.
    """

    alive: bool
    at: float
    lost: tuple[LeaseId, ...]
    letters: tuple[Letter, ...]
    dead: bool
    due_in: float | None
    unlaned: bool
    mail: bool
    paused: Mapping[str, bool]
    lanes: int
    upkeep: bool
    lease: float
    fire_in: float | None
    openings: bool
    bounds: Mapping[str, int]
    constraints: Mapping[str, bool]
    draining: bool


class Recovered(NamedTuple):
    """A dead worker whose tasks went back: how many, and how many of them had started."""

    worker_id: int
    worker: str
    tasks: int
    started: int


class Registration(NamedTuple):
    """A worker process, as others see it. lease_seconds: how long it lives without a beat.

    names: of the tasks that it runs. schedules: the keys of those that its program declares.
    """

    id: int
    name: str
    host: str
    pid: int
    version: str
    lease_seconds: float
    queues: tuple[str, ...]
    names: tuple[str, ...]
    schedules: tuple[str, ...]
    slots: int
    draining: bool = False

    @classmethod
    def of_this_process(
        cls,
        *,
        lease_seconds: float,
        queues: tuple[str, ...],
        names: tuple[str, ...],
        slots: int,
        schedules: tuple[str, ...] = (),
        draining: bool = False,
    ) -> Registration:
        """A new worker; its id is random, so that after a failover none comes back under it."""
        host, pid = socket.gethostname(), os.getpid()
        return cls(
            id=secrets.randbits(62) + 1, name=f"{host}:{pid}", host=host, pid=pid,
            version=perdure.__version__, lease_seconds=lease_seconds, queues=queues, names=names,
            schedules=schedules, slots=slots, draining=draining,
        )  # fmt: skip


def register(session: SyncSession, registration: Registration) -> None:
    """Make a worker known; asking again changes nothing."""
    values: dict[str, Any] = registration._asdict()
    values["queues"] = list(registration.queues)
    values["names"] = list(registration.names)
    values["schedules"] = list(registration.schedules)
    session.run("register", values)


def resize(session: SyncSession, worker: int, slots: int) -> None:
    """Let others see how many tasks the worker runs at the same time from now on."""
    session.run("resize", {"worker": worker, "slots": slots})


def register_types(session: SyncSession, types: Sequence[Mapping[str, object]]) -> None:
    """Record what a worker serves: names, queues, priorities, requires, descriptions, schemas."""
    session.run("register_types", {"types": json.dumps(list(types))})


def deregister(session: SyncSession, worker: int) -> None:
    """Take a worker's row away at its clean end.

    By way of recovery, which locks the row before it reads the leases: a claim that is still under
    way then keeps the row, and its tasks are recovered later.
    """
    session.run("deregister", {"worker": worker})
    recover(session, reported_only=True)


def report_dead(session: SyncSession, host: str, pid: int) -> None:
    """Say that the worker process `pid` of `host` has died, so that recovery does not wait."""
    session.run("report_dead", {"host": host, "pid": pid})


def beat(
    session: SyncSession,
    worker: int,
    *,
    running: Iterable[int],
    lease_seconds: float,
    held: Iterable[LeaseId],
    problem: str | None,
    looks_in: float | None = None,
    satisfied: Iterable[str] = (),
) -> Beat:
    """Say "I live" with the tasks that run, and hear what there is to know.

    looks_in: in how many seconds this worker beats again, if nothing is due before; None: unknown.
    satisfied: the constraints that hold for it.
    """
    rows = session.run(
        "beat",
        {
            "worker": worker,
            "running": array_literal(running),
            "lease_seconds": lease_seconds,
            "held": array_literal(held),
            "problem": problem,
            "looks_in": looks_in,
            "satisfied": sorted(satisfied),
        },
    )
    (
        alive, at, lost, letters, dead, due_in, unlaned, mail, paused, lanes, upkeep, lease,
        fire_in, openings, bounds, constraints, draining,
    ) = rows[0]  # fmt: skip
    return Beat(
        alive=alive, at=at, lost=tuple(map(str, lost)),
        letters=tuple(Letter(**letter) for letter in letters or ()),
        dead=dead, due_in=due_in, unlaned=unlaned, mail=mail, paused=paused or {}, lanes=lanes,
        upkeep=upkeep, lease=lease or lease_seconds, fire_in=fire_in,
        openings=openings, bounds=bounds or {}, constraints=constraints or {},
        draining=bool(draining),
    )  # fmt: skip


def recover(session: SyncSession, *, reported_only: bool = False) -> list[Recovered]:
    """Put the tasks of dead workers back; `reported_only`: of those whose death was reported."""
    return [Recovered(*row) for row in session.run("recover", {"reported_only": reported_only})]


async def lanes(session: Session, names: Sequence[str]) -> list[Lane]:
    """The lanes of these names."""
    rows = await session.run("lanes", {"names": list(names)})
    return [
        Lane(id_, queue, name, tuple(requires), limited)
        for id_, queue, name, requires, limited in rows
    ]


async def await_work(session: Session, queues: Sequence[str], seconds: float) -> str:
    """Open the gate of NOTIFY for these queues, for so many seconds; until when, as text."""
    rows = await session.run("await_work", {"queues": list(queues), "seconds": seconds})
    return str(rows[0][0])


async def stop_awaiting(session: Session, queues: Sequence[str], until: str) -> None:
    """Close the gate where it is open until then."""
    await session.count("stop_awaiting", {"queues": list(queues), "until": until})
