"""The page on handlers shows excerpts of files, and those do what the page says."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from tests.e2e.programs import PROGRAMS, blocks, environment, run
from tests.kit.databases import Database
from tests.kit.fleet import until
from tests.kit.house import ROOT

HANDLERS = ROOT / "examples/handlers"
PAGE = ROOT / "docs/howto/write-a-handler.md"
UNSAFE = {"PERDURE_PERSISTENCE__ALLOW_UNSAFE_DURABILITY": "true"}


def enqueue(database: Database, name: str, /, **metadata: object) -> int:
    """Enqueue a task by name; its id."""
    call = "select task_id from perdure.enqueue(%s::text, %s::jsonb)"
    return int(database.value(call, (name, json.dumps(metadata))))


@pytest.fixture(autouse=True)
def shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop of the examples keeps its tables in the test's database."""
    if "database" in request.fixturenames:
        monkeypatch.setenv("SHOP_DSN", request.getfixturevalue("database").dsn)


def burst(database: Database, module: str) -> None:
    """Run what is due, by the service of a module."""
    run(["perdure", "worker", "-A", f"{module}:service", "--burst"], dsn=database.dsn, cwd=HANDLERS)


def ended(database: Database, task: int) -> tuple[object, ...]:
    """State and result of a task, or what kind of error it has."""
    (row,) = database.rows(
        "select state, coalesce(result, error -> 'kind') from perdure.task(%s::bigint)", (task,)
    )
    return row


def test_every_block_of_the_page_is_an_excerpt_of_a_file_that_is_run() -> None:
    shown = blocks(PAGE, "python")
    assert shown
    for block in shown:
        first, _, rest = block.partition("\n")
        path = re.fullmatch(r"# (examples/handlers/\w+\.py)", first)
        assert path, f"{first!r} names no file"
        assert rest in (ROOT / path[1]).read_text("utf-8"), f"not in {path[1]}:\n{rest}"


def test_every_example_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    missing = [p.name for p in HANDLERS.glob("*.py") if f"examples/handlers/{p.name}" not in page]
    assert not missing


def test_handlers_are_functions_objects_and_factories_on_the_loop_in_threads_and_alone(
    database: Database,
) -> None:
    names = ("digest", "shrink", "render", "upload", "copy")
    tasks = [enqueue(database, f"picture.{name}", path="a.png") for name in names]
    burst(database, "kinds")
    (state, digest), *others = [ended(database, task) for task in tasks]
    assert state == "completed"
    assert isinstance(digest, dict)
    assert digest["path"] == "a.png"
    assert others == [
        ("completed", result)
        for result in ("a.png.small", "a.png.rendered", "shared/a.png", "one-for-each-run/a.png")
    ]
    defaults = database.rows("select queue, priority from perdure.task(%s::bigint)", (tasks[0],))
    assert defaults == [("pictures", 2)]
    database.check_drained()


def test_outcomes_lead_to_the_ends_that_the_page_names(database: Database) -> None:
    cards = ("good", "declined", "withdrawn", "broken", "busy")
    tasks = {card: enqueue(database, "card.charge", cents=5, card=card) for card in cards}
    burst(database, "outcomes")
    key = f"card.charge:{tasks['good']}"
    assert ended(database, tasks["good"]) == ("completed", {"cents": 5, "key": key})
    assert ended(database, tasks["declined"]) == ("failed", "given_up")
    assert ended(database, tasks["withdrawn"]) == ("cancelled", "handler")
    assert ended(database, tasks["broken"]) == ("failed", "given_up")
    told = "select count(*) from perdure.task_states where name = 'card.failed'"
    assert database.value(f"{told} and state = 'completed'") == 2

    busy = "select state, failures, due_at > now() + interval '80 s' from perdure.task(%s::bigint)"
    assert database.rows(busy, (tasks["busy"],)) == [("retrying", 1, True)]
    for _ in range(5):
        assert database.value("select perdure.retry(%s::bigint)", (tasks["busy"],)) == "hastened"
        burst(database, "outcomes")
    assert ended(database, tasks["busy"])[0] == "completed"
    database.check_drained()


def test_checkpoints_steps_and_transactions_leave_what_the_page_says(database: Database) -> None:
    for table, column in (("pages", "page"), ("shipped", "number"), ("closed", "number")):
        database.execute(f"create table {table} ({column} int)")
    imported = enqueue(database, "feed.import", pages=3)
    crawled = enqueue(database, "feed.crawl", pages=25)
    order = enqueue(database, "order.ship", number=7)
    closed = enqueue(database, "order.close", number=7)
    burst(database, "checkpoints")
    assert ended(database, imported) == ("completed", 3)
    assert ended(database, crawled) == ("completed", 25)
    label = f"label 7, bought as order.ship:{order}:label"
    assert ended(database, order) == ("completed", label)
    assert ended(database, closed) == ("completed", "closed")
    assert database.rows("select page from pages order by page") == [(0,), (1,), (2,)]
    assert database.rows("select number from shipped") == [(7,)]
    assert database.rows("select number from closed") == [(7,)]
    steps = database.value("select steps from perdure.task(%s::bigint)", (order,))
    assert steps == {"label": label, "mail": f"mailed as order.ship:{order}:mail"}
    database.check_drained()


@pytest.mark.parametrize(("approved", "result"), [(True, "paid"), (False, "refused")])
def test_a_suspended_task_goes_on_when_its_key_is_proceeded(
    database: Database, approved: bool, result: str
) -> None:
    task = enqueue(database, "invoice.approve", number=7)
    burst(database, "waiting")
    assert database.value("select state from perdure.task(%s::bigint)", (task,)) == "suspended"
    proceed = "select perdure.proceed_waiting('invoice:7', patch => %s::jsonb)"
    assert database.value(proceed, (json.dumps({"approved": approved}),)) == "proceeded"
    burst(database, "waiting")
    assert ended(database, task) == ("completed", result)


def test_a_suspended_task_goes_on_by_itself_when_its_time_is_over(database: Database) -> None:
    task = enqueue(database, "invoice.approve", number=7)
    burst(database, "waiting")
    database.execute("update perdure.waiting set due_at = now() - interval '1 s'")
    burst(database, "waiting")
    assert ended(database, task) == ("completed", "nobody cared")


PICTURES = 120
"""Some four seconds of an album: the worker is asked to stop somewhere in between."""


def test_a_run_that_is_stopped_goes_on_where_it_was(database: Database) -> None:
    task = enqueue(database, "album.scan", name="Oslo", pictures=PICTURES)
    worker = subprocess.Popen(
        [PROGRAMS / "perdure", "worker", "-A", "stopping:service"],
        cwd=HANDLERS,
        env=environment(database.dsn),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: database.value("select count(*) > 0 from perdure.progress"))
        worker.terminate()
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.wait()
    counted = "select failures, interruptions, run_at is null from perdure.task(%s::bigint)"
    assert database.rows(counted, (task,)) == [(0, 1, True)]
    burst(database, "stopping")
    assert ended(database, task) == ("completed", PICTURES)
    progress = database.value("select progress from perdure.task(%s::bigint)", (task,))
    assert progress == {"done": PICTURES, "total": PICTURES, "message": "pictures"}
    children = "select count(*), count(distinct metadata) from perdure.tasks where name = %s::text"
    assert database.rows(children, ("picture.scan",)) == [(PICTURES, PICTURES)]
    database.check_drained()


def test_a_program_can_be_producer_and_worker_at_once(database: Database) -> None:
    code = """
import asyncio, os, stopping
print(asyncio.run(stopping.enqueue_and_run(os.environ["DSN"])))
"""
    said = run(["python", "-c", code], cwd=HANDLERS, more={"DSN": database.dsn, **UNSAFE})
    assert said.splitlines()[-1] == "3"
    names = "select count(*) from perdure.tasks where unique_key = 'album:Oslo'"
    assert database.value(names) == 1


def test_a_checkpoint_of_the_old_version_is_upgraded(database: Database) -> None:
    old = """
        select task_id from perdure.enqueue(
            'copy_table', %s::jsonb, execution_metadata => %s::jsonb)
    """
    task = database.value(old, ('{"rows": 250}', '{"page": 2}'))
    burst(database, "versions")
    assert ended(database, task) == ("completed", 50)


def test_handlers_are_tested_without_a_database() -> None:
    pytest_here = ["python", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    said = run([*pytest_here, "test_handlers.py"], cwd=HANDLERS)
    assert " passed" in said
