"""The page on limits shows excerpts of an example, and that does what the page says."""

from __future__ import annotations

from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

LIMITS = ROOT / "examples/limits"
PAGE = ROOT / "docs/howto/limits.md"


def test_the_block_of_the_page_is_an_excerpt_of_the_example() -> None:
    example = (LIMITS / "service.py").read_text("utf-8")
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    assert [first for first, *_ in shown] == ["# examples/limits/service.py"]
    assert all(rest in example for *_, rest in shown)


def test_exports_of_a_tenant_wait_for_each_other_and_old_refreshes_give_way(
    database: Database,
) -> None:
    def burst() -> None:
        run(["perdure", "worker", "-A", "service:service", "--burst"], dsn=database.dsn, cwd=LIMITS)

    burst()
    insert, states = blocks(PAGE, "sql")[0].split(";")[:2]
    database.execute(insert)
    assert database.rows(states)[-1] == ("blocked", "2 of 2 instances busy")
    for page in ("home", "home", "help", "home"):
        database.execute(
            "select perdure.enqueue('page.refresh', jsonb_build_object('page', %s::text))", [page]
        )
    burst()
    found = "select id, state, reason from perdure.task_states order by id"
    assert database.rows(found) == [
        *[(n, "completed", None) for n in (1, 2, 3)],
        *[(n, "cancelled", "replaced") for n in (4, 5)],
        *[(n, "completed", None) for n in (6, 7)],
    ]
    database.check_drained()
