"""Connections that die at a request, at its reply or inside it: applied or not, nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from tests.faults.writes import PAGES
from tests.kit.databases import Database, Server, new_database
from tests.kit.fleet import Fleet, Process, until
from tests.kit.gate import lose
from tests.kit.proxy import Proxy, Where, proxied
from tests.kit.relay import enqueue

from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import NewTask
from perdure.errors import DatabaseUnavailable, UnknownOutcome

EVERYWHERE: tuple[Where, ...] = ("request", "reply", "inside")
SLOTS = 8


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
    "promote": Case(b'"perdure".promote(', "suspends", runs=2),
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


@pytest.fixture(scope="module")
def scene(
    server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("unknown")
    with (
        new_database(server, template) as database,
        proxied(database.dsn) as proxy,
        Fleet(database, "tests.faults.writes:service", folder) as fleet,
    ):
        database.execute("create table effects (task_id bigint)")
        database.execute("create table pages (task_id bigint, page int)")
        worker = fleet.start(
            dsn=proxy.dsn, execution__concurrency=str(SLOTS), execution__prefetch=str(SLOTS)
        )
        until(lambda: database.value("select count(*) from perdure.workers") == 1)
        (born,) = database.rows("select id from perdure.workers")
        yield Scene(database, fleet, proxy, worker)
        assert database.rows("select id from perdure.workers") == [born]
        database.check()


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_worker_that_is_not_told_what_became_of_its_request_loses_and_repeats_nothing(
    scene: Scene, case: Case, where: Where
) -> None:
    cuts = scene.proxy.cuts
    crashes = scene.database.value("select count(*) from perdure.attempts where kind = 'crash'")
    scene.proxy.cut(case.words, case.times, where=where)
    ids = enqueue(scene.database, case.name, case.tasks, n=case.n)
    until(lambda: scene.proxy.cuts == cuts + case.times)
    until(lambda: scene.ended(ids))
    if case.runs is not None:
        assert {task: len(scene.starts(task)) for task in ids} == dict.fromkeys(ids, case.runs)
    if case.name == "parent":
        until(scene.all_ended)
        children = "select count(*) from perdure.tasks where name = 'short' and id > %s"
        assert scene.database.value(children, (max(ids),)) == len(ids)
    scene.check(ids)
    after = scene.database.value("select count(*) from perdure.attempts where kind = 'crash'")
    assert after == crashes


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_recovery_whose_reply_is_lost_is_a_recovery(scene: Scene, where: Where) -> None:
    cuts = scene.proxy.cuts
    scene.proxy.cut(b'"perdure".recover(', where=where)
    with scene.database.connection.transaction():
        (task,) = enqueue(scene.database, "short")
        lose(scene.database, task)
    until(lambda: scene.proxy.cuts == cuts + 1)
    until(lambda: scene.ended([task]))
    assert len(scene.starts(task)) == 1
    assert scene.database.rows(
        "select attempt, crashes from perdure.task(%s::bigint)", (task,)
    ) == [(2, 1)]
    scene.check([task])


def one(client: SyncTaskClient) -> object:
    return client.enqueue("short", {"n": 1}, tags=["client"])


def many(client: SyncTaskClient) -> object:
    return client.enqueue_many([NewTask("short", {"n": 1}, tags=["client"]) for _ in range(7)])


def copied(client: SyncTaskClient) -> object:
    return client.copy("short", [{"n": 1}] * 7, tags=["client"])


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize(
    ("words", "call", "count"),
    [
        (b"enqueue", one, 1),
        (b"enqueue_many", many, 7),
        (b"COMMIT", many, 7),
        (b"copy ", copied, 7),
        (b"COMMIT", copied, 7),
    ],
)
def test_a_producer_is_told_the_truth_or_that_nobody_knows(
    scene: Scene, words: bytes, call: Callable[[SyncTaskClient], Any], count: int, where: Where
) -> None:
    ours = "select id from perdure.tasks where tags = '{client}' and id > %s"
    newest = scene.database.value("select coalesce(max(id), 0) from perdure.tasks")
    answer: object = None
    with proxied(scene.database.dsn) as proxy, SyncTaskClient(proxy.dsn) as client:
        proxy.cut(words, where=where)
        try:
            answer = call(client)
        except (UnknownOutcome, DatabaseUnavailable) as error:
            answer = error
        assert proxy.cuts == 1
    ids = [id_ for (id_,) in scene.database.rows(ours, (newest,))]
    if isinstance(answer, UnknownOutcome):
        assert len(ids) == (0 if where == "request" else count)
    else:
        assert len(ids) == (0 if isinstance(answer, DatabaseUnavailable) else count)
    until(lambda: scene.ended(ids))
    scene.check(ids)
    assert {len(scene.starts(task)) for task in ids} <= {1}


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_lease_of_its_own_that_nobody_is_told_of_keeps_no_task(
    scene: Scene, where: Where
) -> None:
    cuts = scene.proxy.cuts
    scene.proxy.cut(b'"perdure".separate(', 3, where=where)
    with scene.database.connection.transaction():
        # Of one claim: else the task has its lease for itself already.
        neighbours = enqueue(scene.database, "short", 3, n=300)
        (task,) = enqueue(scene.database, "effect")
    until(lambda: scene.proxy.cuts == cuts + 3)
    until(lambda: scene.ended([*neighbours, task]))
    scene.check([*neighbours, task])
