"""The questions of doctor: what each answers, and the one repair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from perdure.errors import ConfigurationError
from perdure.store import operations
from perdure.store.database import Database, SyncSession
from perdure.store.faults import translated
from perdure.store.views import WorkerState

Durability: TypeAlias = Literal["replicated", "single", "async-replicated", "unsafe"]

ROWS_MOST: Final = 1_000
"""Misplaced tasks that one look answers to people."""
SECONDS_MOST: Final = 600.0
"""Doctor reads a whole range of ids, which may take longer than any statement of a worker."""


class Server(NamedTuple):
    """The server's settings and state; ages in transactions, `notify_usage` from 0 to 1.

    `synchronous`: commits wait for a standby. `sees_all`: this login sees the sessions of others.
    """

    version: str
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    synchronous: bool
    standbys: int
    autovacuum: bool
    freeze_age_max: int
    xid_age: int
    mxid_age: int
    connections_most: int
    connections_reserved: int
    connections_used: int
    notify_usage: float
    isolation: str
    login_isolation: str | None
    login: str
    sees_all: bool

    @property
    def durability(self) -> Durability:
        """What a crash of the server or a failover may lose; see the guarantees."""
        if not (self.fsync and self.full_page_writes) or self.synchronous_commit == "off":
            return "unsafe"
        if self.synchronous and self.synchronous_commit in ("on", "remote_apply"):
            return "replicated"
        return "async-replicated" if self.standbys else "single"


class Holder(NamedTuple):
    """Who keeps dead rows from being removed: for how many transactions, and seconds if known."""

    kind: str
    who: str
    xids: int
    seconds: float | None


LANE_GONE = "a lane that is gone"
"""Where a ready task is whose lane no worker can ask for."""


class Misplaced(NamedTuple):
    """A task in no place (empty), in several, in `LANE_GONE`, or in one and not in the ledger."""

    task_id: int
    places: list[str]


class Orphan(NamedTuple):
    """A row beside the ledger whose owner is gone, and the tasks that it names."""

    kind: str
    owner: str
    tasks: list[int]


class Unserved(NamedTuple):
    """Tasks of a lane that no live worker takes, counted up to 1,000."""

    queue: str
    name: str
    requires: list[str]
    tasks: int
    oldest: datetime
    why: str


class AilingSchedule(NamedTuple):
    """A schedule that something is wrong with."""

    key: str
    name: str
    state: str
    why: str


class Ranges(NamedTuple):
    """The range of ids in use, and how many are ready beyond it."""

    number: int
    ahead: int


class Inspector:
    """Asks one question each; NotPermitted for one that the login may not ask.

    `pooled`: whether a pooler in transaction mode stands in between.
    """

    def __init__(self, session: SyncSession, *, pooled: bool) -> None:
        self.pooled = pooled
        self._session = session

    def server(self) -> Server:
        """The server's settings and state."""
        with translated():
            return Server(*self._session.run("inspect_server", {})[0])

    def holders(self) -> list[Holder]:
        """Who holds the oldest snapshots, oldest first."""
        with translated():
            return [Holder(*row) for row in self._session.run("inspect_holders", {})]

    def misplaced(self, at_most: int = ROWS_MOST) -> list[Misplaced]:
        """Tasks that are not in exactly one place, where anything is live."""
        params = {"at_most": at_most}
        with translated():
            return [Misplaced(*row) for row in self._session.run("inspect_misplaced", params)]

    def orphans(self) -> list[Orphan]:
        """Rows that nothing will ever clean up."""
        with translated():
            return [Orphan(*row) for row in self._session.run("inspect_orphans", {})]

    def unserved(self) -> list[Unserved]:
        """Lanes with tasks that no live worker takes."""
        with translated():
            return [Unserved(*row) for row in self._session.run("inspect_unserved", {})]

    def schedules(self) -> list[AilingSchedule]:
        """Schedules that are broken, or that no live worker serves or declares."""
        with translated():
            return [AilingSchedule(*row) for row in self._session.run("inspect_schedules", {})]

    def ranges(self) -> Ranges:
        """Ranges of ids."""
        with translated():
            return Ranges(*self._session.run("inspect_ranges", {})[0])

    def workers(self) -> list[WorkerState]:
        """Every worker process that has a row."""
        with translated():
            return operations.worker_states().read(self._session.run("worker_states", {}))

    def repair(self, ids: Sequence[int]) -> list[int]:
        """Give these tasks one place; the ids of those that were moved. It is audited."""
        with translated():
            return list(self._session.run("repair", {"ids": list(ids)})[0][0])


async def require_durability(database: Database, *, unsafe_allowed: bool) -> Durability:
    """The durability class of the server, read once at a worker's start.

    Raises:
        ConfigurationError: it is `unsafe`, and that was not allowed.
    """
    with translated():
        session = await database.session(application="perdure start")
        try:
            server = Server(*(await session.run("inspect_server", {}))[0])
        finally:
            await session.close()
    if server.durability == "unsafe" and not unsafe_allowed:
        raise ConfigurationError(
            "the server may lose what it has acknowledged: fsync, full_page_writes or "
            "synchronous_commit is off; switch them on, or accept the loss with "
            "persistence.allow_unsafe_durability = true"
        )
    return server.durability


@contextmanager
def inspecting(database: Database) -> Iterator[Inspector]:
    """A session for questions that may take their time; each is a transaction of its own.

    Raises:
        DatabaseUnavailable, NotPermitted, DatabaseError: it could not be opened.
    """
    database.statement_seconds = max(database.statement_seconds, SECONDS_MOST)
    # Without the planner's switches of a worker: these questions read whole tables.
    session = SyncSession(database, database.connect_sync(application="perdure doctor"))
    try:
        yield Inspector(session, pooled=database.pooled)
    finally:
        session.close()
