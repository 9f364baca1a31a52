"""The page on unique keys shows excerpts of an example, and that does what the page says."""

from __future__ import annotations

from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

SHOP = ROOT / "examples/shop"
PAGE = ROOT / "docs/howto/unique-keys.md"


def test_every_block_of_the_page_is_an_excerpt_of_a_file_that_is_run() -> None:
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    names = [first.removeprefix("# examples/shop/") for first, *_ in shown]
    assert names == [*["enqueue.py"] * 3, "shop.py", "enqueue.py"]
    for name, (*_, rest) in zip(names, shown, strict=True):
        assert rest in (SHOP / name).read_text("utf-8")


def test_the_program_of_the_page_enqueues_and_the_service_does_it(database: Database) -> None:
    said = run(["python", "enqueue.py"], dsn=database.dsn, cwd=SHOP).splitlines()
    assert said == [
        "1 created", "1 updated", "1 updated", "True", "False",
        "applied", "hastened", "1", "BulkCancelled(cancelled=3, requested=0)",
    ]  # fmt: skip
    run(["perdure", "worker", "-A", "shop:service", "--burst"], dsn=database.dsn, cwd=SHOP)
    tasks = database.rows(
        "select t.name, t.unique_key, t.metadata ->> 'price', s.state"
        " from perdure.tasks as t join perdure.task_states as s on s.id = t.id"
        " order by s.started_at"
    )
    assert ("mail.digest", "digest:7", None, "completed") in tasks
    assert [row[2] for row in tasks if row[0] == "product.price"] == ["100", "90", "80"]
    assert {row[3] for row in tasks} == {"completed"}
    database.check()
