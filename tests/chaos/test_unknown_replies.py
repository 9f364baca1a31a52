"""Connections that die at a request, at its reply or inside it: applied or not, nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.faults.requests import CASES, Case, Scene, played
from tests.kit.databases import Server
from tests.kit.fleet import until
from tests.kit.gate import lose
from tests.kit.proxy import Where, proxied
from tests.kit.relay import enqueue

from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import NewTask
from perdure.errors import DatabaseUnavailable, UnknownOutcome

EVERYWHERE: tuple[Where, ...] = ("request", "reply", "inside")


@pytest.fixture(scope="module")
def scene(
    server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with played(server, template, tmp_path_factory.mktemp("unknown")) as made:
        (born,) = made.database.rows("select id from perdure.workers")
        yield made
        assert made.database.rows("select id from perdure.workers") == [born]


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
