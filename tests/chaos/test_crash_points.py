"""A worker that dies as its request is sent, or has been applied: at each kind of request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.faults.requests import CASES, OPTIONS, Case, Scene, played
from tests.kit.databases import Server
from tests.kit.fleet import until
from tests.kit.proxy import Where
from tests.kit.relay import enqueue, registered

ONCE = {name: case for name, case in CASES.items() if case.times == 1}
FIRST: tuple[Where, ...] = ("request", "reply")


@pytest.fixture(scope="module")
def scene(
    server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Who has taken the place of one that has died is the next to die."""
    with played(server, template, tmp_path_factory.mktemp("crashes")) as made:
        yield made


# Not applied, it is as if the worker had died a moment earlier: that is played for half of them.
@pytest.mark.parametrize(
    ("case", "where"),
    [
        pytest.param(case, where, id=f"{name}, {where}")
        for number, (name, case) in enumerate(ONCE.items())
        for where in FIRST[number % 2 :]
    ],
)
def test_a_worker_that_dies_at_any_of_its_requests_loses_and_repeats_nothing(
    scene: Scene, case: Case, where: Where
) -> None:
    scene.proxy.cut(case.words, where=where, then=scene.worker.kill)
    ids = enqueue(scene.database, case.name, case.tasks, n=case.n)
    until(lambda: not scene.worker.alive)
    dead = scene.worker
    scene.worker = scene.fleet.start(dsn=scene.proxy.dsn, **OPTIONS)
    until(lambda: scene.ended(ids))
    if case.name == "parent":
        until(scene.all_ended)
    until(lambda: not registered(scene.database, dead))
    scene.check(ids)
    crashes = (
        "select from perdure.attempts where kind = 'crash' group by task_id having count(*) > 1"
    )
    assert not scene.database.rows(crashes)
    assert not scene.database.rows("select from perdure.attempts where kind = 'interruption'")
