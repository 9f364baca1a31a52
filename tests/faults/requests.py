"""Each kind of request that a worker sends, the tasks that send it, and what must hold after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.faults.writes import PAGES
from tests.kit.databases import Database, Server, new_database
from tests.kit.fleet import Fleet, Process, until
from tests.kit.proxy import Proxy, proxied
from tests.kit.relay import make_tables

SLOTS = 8
OPTIONS = {"execution__concurrency": str(SLOTS), "execution__prefetch": str(SLOTS)}


class Case(NamedTuple):
    """Which request is cut, how often, and the tasks whose runs send it.

    runs: how many each of them takes; None: as many as its handler was broken off.
    """

    words: bytes
    name: str
    tasks: int = 5
    times: int = 1
    n: int = 0
    runs: int | None = None


CASES = {
    "claim": Case(b'into "perdure".leases', "short", 20, runs=1),
    "several claims": Case(b'into "perdure".leases', "short", 100, times=3, runs=1),
    "beat": Case(b'"perdure".beat(', "short", runs=1),
    "several beats": Case(b'"perdure".beat(', "short", times=2, runs=1),
    "finish_plain": Case(b'into "perdure".outcomes', "short", 20, runs=1),
    "settle": Case(b'"perdure".settle(', "again", runs=2),
    # Its delay is counted by the server: one that suspends until a time may find that it has come.
    "promote": Case(b'"perdure".promote(', "again", runs=2),
    "hand_back": Case(b'"perdure".hand_back(', "short", 2 * SLOTS, n=1_300, runs=1),
    "save": Case(b"as m (save, n)", "saves", runs=1),
    "fence": Case(b'"perdure".fence(', "pages"),
    "separate": Case(b'"perdure".separate(', "effect", runs=1),
    "checkpoint(on)": Case(b'"perdure".checkpoint(', "pages"),
    "its commit": Case(b"COMMIT", "pages"),
    "complete(on)": Case(b'"perdure".complete(', "effect"),
    "its end": Case(b"COMMIT", "effect"),
    "the end on a handler's own connection": Case(b"COMMIT", "own"),
    "the end with a child": Case(b"COMMIT", "parent"),
}


@dataclass
class Scene:
    """A worker whose every connection passes the proxy."""

    database: Database
    fleet: Fleet
    proxy: Proxy
    worker: Process

    def ended(self, ids: list[int]) -> bool:
        """Whether all of them have ended."""
        text = "select count(*) from perdure.outcomes where task_id = any (%s)"
        return bool(self.database.value(text, (ids,)) == len(ids))

    def all_ended(self) -> bool:
        """Whether every task there is has ended, their children included."""
        text = "select from perdure.task_states where state not in ('completed', 'failed')"
        return not self.database.rows(text)

    def starts(self, task: int) -> list[int]:
        """The pages that its runs have begun at."""
        return [record["page"] for record in self.fleet.ledger.records("start", task)]

    def check(self, ids: list[int]) -> None:
        """Each has completed once, with its effects once, and nothing is left."""
        rows = self.database.rows(
            "select t.id, t.name, t.state,"
            "   (select count(*) from effects as e where e.task_id = t.id),"
            "   array(select page from pages as p where p.task_id = t.id order by page)"
            " from perdure.task_states as t where t.id = any (%s)",
            (ids,),
        )
        for task, name, state, effects, pages in rows:
            assert (task, state) == (task, "completed")
            assert effects == (name in ("effect", "own", "parent"))
            assert pages == (list(range(PAGES)) if name == "pages" else [])
            self.check_checkpoints(task)
        assert len(rows) == len(ids)
        until(self.all_ended)
        until(lambda: not self.database.rows("select from perdure.leases"))
        self.database.check_drained()
        assert self.worker.alive

    def check_checkpoints(self, task: int) -> None:
        """No run has begun before a page that had been acknowledged."""
        saved = 0
        for record in self.fleet.ledger.records(task_id=task):
            if record["what"] == "saved":
                saved = record["page"]
            elif record["what"] == "start":
                assert record["page"] >= saved


@contextmanager
def played(server: Server, template: str, folder: Path) -> Iterator[Scene]:
    """A database of its own, and a worker that has made itself known."""
    with (
        new_database(server, template) as database,
        proxied(database.dsn) as proxy,
        Fleet(database, "tests.faults.writes:service", folder) as fleet,
    ):
        make_tables(database)
        worker = fleet.start(dsn=proxy.dsn, **OPTIONS)
        until(lambda: database.value("select count(*) from perdure.workers") == 1)
        yield Scene(database, fleet, proxy, worker)
        database.check()
