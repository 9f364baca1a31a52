"""The page on chains shows excerpts of an example, and that does what the page says."""

from __future__ import annotations

import sys

from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

CHAINS = ROOT / "examples/chains"
PAGE = ROOT / "docs/howto/chain-tasks.md"
ENDS = "select state, coalesce(result::text, error ->> 'message') from perdure.task(%s)"


def perdure(database: Database, *words: str) -> str:
    return run(["perdure", *words], dsn=database.dsn, cwd=CHAINS)


def month(database: Database, *texts: str) -> list[int]:
    """Enqueue a month and do what can be done."""
    words = run([sys.executable, "invoices.py", *texts], dsn=database.dsn, cwd=CHAINS)
    perdure(database, "worker", "-A", "invoices:service", "--burst")
    return [int(word) for word in words.split()]


def test_every_block_of_the_page_is_an_excerpt_of_the_example() -> None:
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    example = (CHAINS / "invoices.py").read_text("utf-8")
    assert [first for first, *_ in shown] == ["# examples/chains/invoices.py"] * 2
    assert all(rest in example for *_, rest in shown)


def test_a_month_is_added_up_and_one_that_failed_is_mended(database: Database) -> None:
    *_, report, tidy = month(database, "1 2", "3", "4 5")
    assert database.rows(ENDS, [report]) == [("completed", '{"euros": 115}')]
    assert database.rows(ENDS, [tidy]) == [("completed", '"the report has completed"')]
    _, page, report, tidy = month(database, "six")
    assert database.rows(ENDS, [report]) == [("failed", f"task {page} failed")]
    assert database.rows(ENDS, [tidy]) == [("completed", '"the report has failed"')]
    database.execute('update perdure.tasks set metadata = \'{"text": "6"}\' where id = %s', [page])
    assert perdure(database, "retry", str(page), "--with-dependents") == f"task {page} retried\n"
    shown = perdure(database, "list", "--state", "blocked")
    assert f"task {page}" in shown
    perdure(database, "worker", "-A", "invoices:service", "--burst")
    assert database.rows(ENDS, [report]) == [("completed", '{"euros": 106}')]
    for statement in filter(str.strip, blocks(PAGE, "sql")[0].split(";")):
        database.execute(statement)
    perdure(database, "enqueue", "invoices.tidy", "--after", f"{report}", "--after", f"{page}:run")
    perdure(database, "worker", "-A", "invoices:service", "--burst")
    ended = "select count(*) from perdure.outcomes where state = 'failed' and kind = 'exhausted'"
    assert database.value(ended) == 2  # no report among their inputs: KeyError
    database.check_drained()
