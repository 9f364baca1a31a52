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
from typing import Any, Final, TypeAlias

import psycopg
from tests.faults.chance import Chance
from tests.faults.evidence import LINE, SERVER, Hurt
from tests.faults.fleet import STOP_SECONDS, Crew, wait_for
from tests.faults.history import History
from tests.faults.watch import Watcher
from tests.kit.proxy import Where

from perdure.embedded import EmbeddedServer

CUTS: Final = {
    "worker": (
        b'into "perdure".leases', b'"perdure".beat(', b'into "perdure".outcomes',
        b'"perdure".settle(', b'"perdure".promote(', b"as m (save, n)", b'"perdure".fence(',
        b'"perdure".separate(', b'"perdure".checkpoint(', b'"perdure".complete(', b"COMMIT",
    ),
    "python": (
        b'"perdure".enqueue(', b'"perdure".enqueue_many(', b'copy "perdure".tasks',
        b'"perdure".proceed_waiting(', b"COMMIT",
    ),
    "sql": (
        b"into perdure.tasks", b"perdure.enqueue(", b"copy perdure.tasks",
        b"perdure.proceed_waiting(", b"COMMIT",
    ),
}  # fmt: skip
"""Words of the requests whose connection is cut, by who sends them."""
WHERE: Final[tuple[Where, ...]] = ("request", "reply", "inside")
CLOCKS: Final = (0, 0, 3_600, -3_600)
CUT_SECONDS: Final = 3.0
"""How long such a request is waited for; not every one of them comes so often."""


@dataclass
class Kill:
    """A worker that was killed: when, and whether nothing else was wrong in those seconds."""

    member: str
    at: float
    calm: bool


@dataclass
class World:
    """What the faults work upon.

    Attributes:
        restarts: when the server accepted connections again, monotonic.
    """

    server: EmbeddedServer
    dsn: str
    crew: Crew
    history: History
    watcher: Watcher
    kills: list[Kill] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The server is started and stopped by one fault at a time."""
    line: threading.Lock = field(default_factory=threading.Lock)
    """So is the line."""

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the fault's own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection


def kill(world: World, chance: Chance, *, calm: bool = False) -> bool:
    """SIGKILL a worker; another takes its place at once."""
    with world.crew.chosen("worker", chance) as member:
        if member is None:
            return False
        world.kills.append(Kill(member.name, time.monotonic(), calm))
        world.crew.kill(member)
        world.crew.worker(chance.one(CLOCKS, "clock"))
        return True


def freeze(world: World, chance: Chance) -> bool:
    """SIGSTOP a worker until it is taken for dead, then let it go on."""
    with world.crew.chosen("worker", chance) as member:
        if member is None:
            return False
        with world.crew.hurting(member, "frozen"):
            member.process.signal(signal.SIGSTOP)
            wait_for(time.monotonic() + chance.between(2.5, 5, "seconds"))
            member.process.signal(signal.SIGCONT)
        return True


def term(world: World, chance: Chance) -> bool:
    """SIGTERM a worker; it has to end in time, and another takes its place."""
    with world.crew.chosen("worker", chance) as member:
        if member is None:
            return False
        world.crew.worker(chance.one(CLOCKS, "clock"))
        world.crew.stop(member, STOP_SECONDS)
        return True


def roll(world: World, chance: Chance) -> bool:
    """A deploy: all workers, one after the other."""
    ended = [term(world, chance.of(n)) for n in range(len(world.crew.alive("worker")))]
    return any(ended)


def crash(world: World, chance: Chance) -> bool:
    """Crash the server, and start it again, now and then after longer than any lease."""
    with world.lock:
        since = time.monotonic()
        world.server._end("immediate")
        if chance.real("long") < 0.2:
            wait_for(time.monotonic() + 6.5)
        world.server.start()
        world.restarts.append(time.monotonic())
        world.crew.hurts.append(Hurt(SERVER, "away", since, world.restarts[-1]))
        return True


def kill_backend(world: World, chance: Chance) -> bool:
    """SIGKILL one process of the server, which then restarts all of them."""
    with world.connection() as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend'"
            " and pid <> pg_backend_pid() order by pid"
        ).fetchall()
        if rows:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.one(rows, "pid")[0], signal.SIGKILL)
        return bool(rows)


def terminate(world: World, chance: Chance) -> bool:
    """End sessions, each with the probability of a half, three times."""
    for turn in range(3):
        with world.connection() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where"
                " backend_type = 'client backend' and pid <> pg_backend_pid() and pid %% 2 = %s",
                (turn % 2,),
            )
        wait_for(time.monotonic() + chance.between(0.05, 0.5, turn))
    return True


def cancel(world: World, chance: Chance) -> bool:
    """Cancel whatever statement is at work, for a second."""
    ended = time.monotonic() + chance.between(0.3, 1, "seconds")
    while time.monotonic() < ended:
        with world.connection() as connection:
            connection.execute(
                "select pg_cancel_backend(pid) from pg_stat_activity where"
                " backend_type = 'client backend' and pid <> pg_backend_pid() and state = 'active'"
            )
        wait_for(time.monotonic() + 0.02)
    return True


def cut(world: World, chance: Chance) -> bool:
    """Cut the connections of a worker or a producer at requests of one kind, or their replies."""
    kind = chance.one(("worker", "worker", "python", "sql"), "kind")
    with world.crew.chosen(kind, chance) as member:
        if member is None:
            return False
        before, times = member.proxy.cuts, chance.whole(1, 3, "times")
        words, where = chance.one(CUTS[kind], "words"), chance.one(WHERE, "where")
        ends = time.monotonic() + CUT_SECONDS

        def noted() -> None:
            at = time.monotonic()
            world.crew.hurts.append(Hurt(member.name, "cut", at, at))

        member.proxy.cut(words, times, where=where, then=noted)
        while member.proxy.cuts < before + times and time.monotonic() < ends:
            wait_for(time.monotonic() + 0.05)
        member.proxy.cut(None, 0, then=noted)  # A reply that is to be cut may still be to come.
        return member.proxy.cuts > before


def swallow(world: World, chance: Chance) -> bool:
    """A black hole between a worker and the server, for less or more than a lease."""
    with world.crew.chosen("worker", chance) as member:
        if member is None:
            return False
        with world.crew.hurting(member, "swallowed"):
            member.proxy.swallow(new=True)
            wait_for(time.monotonic() + chance.between(0.5, 5, "seconds"))
            member.proxy.pass_on()
        return True


def delay(world: World, chance: Chance) -> bool:
    """A slow way to the server, far below what a beat may take."""
    with world.crew.chosen(chance.one(("worker", "python"), "kind"), chance) as member:
        if member is None:
            return False
        member.proxy.delay = chance.between(0.01, 0.15, "delay")
        wait_for(time.monotonic() + chance.between(2, 5, "seconds"))
        member.proxy.delay = 0
        return True


def pin(world: World, chance: Chance) -> bool:
    """A snapshot that is held, so that nothing dead can be removed."""
    with world.connection() as connection:
        connection.execute("begin isolation level repeatable read")
        connection.execute("select count(*) from perdure.ready")
        wait_for(time.monotonic() + chance.between(2, 8, "seconds"))
        return True


def lock(world: World, chance: Chance) -> bool:
    """Somebody else's transaction holds rows of ready and of leases."""
    with world.connection() as connection, connection.transaction():
        connection.execute("select from perdure.ready limit 50 for update skip locked")
        connection.execute("select from perdure.leases limit 5 for update skip locked")
        wait_for(time.monotonic() + chance.between(0.2, 1, "seconds"))
        return True


def notify(world: World, chance: Chance) -> bool:
    """Notifications that nobody meant, by the thousand."""
    with world.connection() as connection:
        for _ in range(chance.whole(5, 20, "times")):
            connection.execute(
                "select pg_notify('perdure_' || left(md5('perdure'), 16), n::text)"
                " from generate_series(1, 500) as n"
            )
        return True


def poison(world: World, _chance: Chance) -> bool:
    """A task that kills whichever process runs it."""
    _ask(world, "poison", 1)
    return True


def lose_line(world: World, chance: Chance) -> bool:
    """What some tasks require is lost, for all workers, as some run; it comes back."""
    with world.line:
        _ask(world, "lined", 4)
        wait_for(time.monotonic() + 0.7)
        since = time.monotonic()
        world.crew.line.touch()
        wait_for(since + chance.between(3.5, 5, "seconds"))
        world.crew.line.unlink()
        world.crew.hurts.append(Hurt(LINE, "down", since, time.monotonic()))
        return True


def _ask(world: World, name: str, tasks: int) -> None:
    """Enqueue so many, as a client does."""
    operation = world.history.invoke(name, kind=name, tasks=tasks)
    try:
        with psycopg.connect(world.dsn, autocommit=True) as connection:
            rows = connection.execute(
                "insert into perdure.tasks (name, metadata) select %s::text,"
                " jsonb_build_object('op', %s::text, 'i', i)"
                " from generate_series(0, %s::int - 1) as i returning id",
                (name, operation, tasks),
            ).fetchall()
    except psycopg.OperationalError as error:
        world.history.answer(operation, "unknown", error=type(error).__name__)
    else:
        world.history.answer(operation, "ok", answers=[(row[0], "created") for row in rows])


def lose_producer(world: World, chance: Chance) -> bool:
    """SIGKILL a producer in the middle of what it does; another takes its place."""
    kind = chance.one(("python", "sql"), "kind")
    with world.crew.chosen(kind, chance) as member:
        if member is None:
            return False
        world.crew.kill(member)
        world.crew.producer(kind)
        return True


Action: TypeAlias = Callable[[World, Chance], bool]
"""Does it, and says whether it could be done."""
ACTIONS: Final[dict[Action, int]] = {
    kill: 16, freeze: 8, term: 8, roll: 2, crash: 6, kill_backend: 4, terminate: 6, cancel: 4,
    cut: 16, swallow: 8, delay: 5, pin: 3, lock: 4, notify: 2, poison: 3, lose_producer: 4,
    lose_line: 6,
}  # fmt: skip
"""Every fault, and how often it is chosen."""
