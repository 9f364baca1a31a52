"""The page on state machines shows excerpts of an example, and that does what the page says."""

from __future__ import annotations

import json

from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

ORDERS = ROOT / "examples/orders"
PAGE = ROOT / "docs/howto/state-machines.md"


def perdure(database: Database, *words: str) -> str:
    return run(["perdure", *words], dsn=database.dsn, cwd=ORDERS)


def burst(database: Database) -> None:
    perdure(database, "worker", "-A", "service:service", "--burst")


def test_every_block_of_the_page_is_an_excerpt_of_the_example() -> None:
    example = (ORDERS / "service.py").read_text("utf-8")
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    assert [first for first, *_ in shown] == ["# examples/orders/service.py"] * 2
    assert all(rest in example for *_, rest in shown)


def test_an_order_waits_for_its_payment_and_is_shipped_once(database: Database) -> None:
    enqueue, proceed = blocks(PAGE, "sql")[0].split(";")[:2]
    database.execute(enqueue)
    database.execute("select perdure.enqueue('order.fulfil', '{\"number\": 8}')")
    burst(database)
    states = "select state, waiting_for from perdure.task_states order by id"
    assert [state for state, _ in database.rows(states)] == ["suspended", "suspended"]
    assert database.value(proceed) == "proceeded"
    database.execute("update perdure.waiting set due_at = now() - interval '1 s'")
    burst(database)
    assert database.rows("select state, result, error -> 'error' from perdure.task(1)") == [
        ("completed", "parcel 7", None)
    ]
    assert database.rows("select state, error -> 'error' from perdure.task(2)") == [
        ("cancelled", "nobody has paid payment:8")
    ]
    assert database.rows("select parcel from shipped") == [("parcel 7",)]
    shown = json.loads(perdure(database, "show", "1", "--json"))
    assert shown["steps"]["states passed"] == [
        [1, "Placed"], [1, "AwaitingPayment"], [2, "Paid"], [2, "Packed"],
    ]  # fmt: skip
    assert "run 2: Paid, Packed" in perdure(database, "show", "1")
    database.check_drained()
