"""The faults of the storm: what is done, to whom, for how long; each undoes what it has done."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from tests.faults.chance import Chance
from tests.faults.fleet import GRACE_SECONDS, Crew, Member, wait_for
from tests.faults.history import History
from tests.kit.proxy import Where

from perdure.embedded import EmbeddedServer

CUTS: Final = (
    b"COMMIT", b"insert into perdure.leases", b"insert into perdure.outcomes", b"perdure.settle",
    b"perdure.beat", b"perdure.place", b"perdure.complete", b"insert into perdure.progress",
    b"perdure.enqueue", b"insert into perdure.tasks", b"copy perdure.tasks",
)  # fmt: skip
"""Words of the requests whose connection is cut."""
WHERE: Final[tuple[Where, ...]] = ("request", "reply", "inside")
CLOCKS: Final = (0, 0, 3_600, -3_600)


@dataclass
class Kill:
    """A worker that was killed: when, and whether nothing else was wrong in those seconds."""

    pid: int
    at: float
    calm: bool


@dataclass
class World:
    """What the faults work upon."""

    server: EmbeddedServer
    dsn: str
    crew: Crew
    history: History
    kills: list[Kill] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The server is started and stopped by one fault at a time."""

    @contextmanager
    def chosen(self, kind: str, chance: Chance) -> Iterator[Member | None]:
        """A member that nothing else happens to meanwhile; None if there is none to spare."""
        free = self.crew.alive(kind)
        if not free:
            yield None
            return
        member = chance.one(free, "member")
        member.busy = True
        try:
            yield member
        finally:
            member.busy = False

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the fault's own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection


def kill(world: World, chance: Chance) -> None:
    """SIGKILL a worker; another takes its place at once."""
    with world.chosen("worker", chance) as member:
        if member is None:
            return
        member.killed_at = time.monotonic()
        member.process.kill()
        world.crew.leave(member)
        world.kills.append(Kill(member.process.pid, member.killed_at, calm=True))
        world.crew.worker(chance.one(CLOCKS, "clock"))


def freeze(world: World, chance: Chance) -> None:
    """SIGSTOP a worker until it is taken for dead, then let it go on."""
    with world.chosen("worker", chance) as member:
        if member is None:
            return
        member.frozen = True
        member.process.signal(signal.SIGSTOP)
        wait_for(time.monotonic() + chance.between(2.5, 5, "seconds"))
        member.process.signal(signal.SIGCONT)


def term(world: World, chance: Chance) -> None:
    """SIGTERM a worker; it has to end in time, and another takes its place."""
    with world.chosen("worker", chance) as member:
        if member is None:
            return
        world.crew.worker(chance.one(CLOCKS, "clock"))
        world.crew.stop(member, GRACE_SECONDS + 1)


def roll(world: World, chance: Chance) -> None:
    """A deploy: all workers, one after the other."""
    for number in range(len(world.crew.alive("worker"))):
        term(world, chance.of(number))


def crash(world: World, chance: Chance) -> None:
    """Crash the server, and start it again, now and then after longer than any lease."""
    with world.lock:
        world.server._end("immediate")
        if chance.real("long") < 0.2:
            wait_for(time.monotonic() + 6.5)
        world.server.start()


def kill_backend(world: World, chance: Chance) -> None:
    """SIGKILL one process of the server, which then restarts all of them."""
    with world.connection() as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend'"
            " and pid <> pg_backend_pid() order by pid"
        ).fetchall()
        if rows:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.one(rows, "pid")[0], signal.SIGKILL)


def terminate(world: World, chance: Chance) -> None:
    """End sessions, each with the probability of a half, three times."""
    for turn in range(3):
        with world.connection() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where"
                " backend_type = 'client backend' and pid <> pg_backend_pid() and pid %% 2 = %s",
                (turn % 2,),
            )
        wait_for(time.monotonic() + chance.between(0.05, 0.5, turn))


def cancel(world: World, chance: Chance) -> None:
    """Cancel whatever statement is at work, for a second."""
    ended = time.monotonic() + chance.between(0.3, 1, "seconds")
    while time.monotonic() < ended:
        with world.connection() as connection:
            connection.execute(
                "select pg_cancel_backend(pid) from pg_stat_activity where"
                " backend_type = 'client backend' and pid <> pg_backend_pid() and state = 'active'"
            )
        wait_for(time.monotonic() + 0.02)


def cut(world: World, chance: Chance) -> None:
    """Cut the connections of a worker or a producer at requests of one kind, or their replies."""
    with world.chosen(chance.one(("worker", "worker", "python", "sql"), "kind"), chance) as member:
        if member is None:
            return
        where = chance.one(WHERE, "where")
        member.proxy.cut(chance.one(CUTS, "words"), chance.whole(1, 3, "times"), where=where)
        wait_for(time.monotonic() + chance.between(0.5, 2, "seconds"))
        member.proxy.cut(None, 0)


def swallow(world: World, chance: Chance) -> None:
    """A black hole between a worker and the server, for less or more than a lease."""
    with world.chosen("worker", chance) as member:
        if member is None:
            return
        member.cut_off = True
        member.proxy.swallow(new=True)
        wait_for(time.monotonic() + chance.between(0.5, 5, "seconds"))
        member.proxy.pass_on()


def delay(world: World, chance: Chance) -> None:
    """A slow way to the server, far below what a beat may take."""
    with world.chosen(chance.one(("worker", "python"), "kind"), chance) as member:
        if member is None:
            return
        member.proxy.delay = chance.between(0.01, 0.15, "delay")
        wait_for(time.monotonic() + chance.between(2, 5, "seconds"))
        member.proxy.delay = 0


def pin(world: World, chance: Chance) -> None:
    """A snapshot that is held, so that nothing dead can be removed."""
    with world.connection() as connection:
        connection.execute("begin isolation level repeatable read")
        connection.execute("select count(*) from perdure.ready")
        wait_for(time.monotonic() + chance.between(3, 15, "seconds"))


def lock(world: World, chance: Chance) -> None:
    """Somebody else's transaction holds rows of ready and of leases."""
    with world.connection() as connection, connection.transaction():
        connection.execute("select from perdure.ready limit 50 for update skip locked")
        connection.execute("select from perdure.leases limit 5 for update skip locked")
        wait_for(time.monotonic() + chance.between(0.2, 1, "seconds"))


def notify(world: World, chance: Chance) -> None:
    """Notifications that nobody meant, by the thousand."""
    with world.connection() as connection:
        for _ in range(chance.whole(5, 20, "times")):
            connection.execute(
                "select pg_notify('perdure_' || left(md5('perdure'), 16), n::text)"
                " from generate_series(1, 500) as n"
            )


def poison(world: World, chance: Chance) -> None:
    """A task that kills whichever process runs it."""
    operation = world.history.invoke("poison", kind="poison", tasks=1)
    try:
        with psycopg.connect(world.dsn, autocommit=True) as connection:
            rows = connection.execute(
                "insert into perdure.tasks (name, metadata) values ('poison',"
                " jsonb_build_object('op', %s::text)) returning id",
                (operation,),
            ).fetchall()
    except psycopg.OperationalError as error:
        world.history.answer(operation, "unknown", error=type(error).__name__)
    else:
        world.history.answer(operation, "ok", answers=[(row[0], "created") for row in rows])
    _ = chance


def lose_producer(world: World, chance: Chance) -> None:
    """SIGKILL a producer in the middle of what it does; another takes its place."""
    kind = chance.one(("python", "sql"), "kind")
    with world.chosen(kind, chance) as member:
        if member is None:
            return
        member.process.kill()
        world.crew.leave(member)
        world.crew.producer(kind)


Action = Callable[[World, Chance], None]
ACTIONS: Final[dict[Action, int]] = {
    kill: 16, freeze: 8, term: 8, roll: 2, crash: 6, kill_backend: 4, terminate: 6, cancel: 4,
    cut: 16, swallow: 8, delay: 5, pin: 3, lock: 4, notify: 2, poison: 3, lose_producer: 4,
}  # fmt: skip
"""Every fault, and how often it is chosen."""
