"""The page on schedules shows excerpts of an example, and that does what the page says."""

from __future__ import annotations

import json
import shlex
from datetime import UTC

import pytest
from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

from perdure.cli.main import main

REPORTS = ROOT / "examples/reports"
PAGE = ROOT / "docs/howto/schedules.md"


def perdure(database: Database, *words: str) -> str:
    return run(["perdure", *words], dsn=database.dsn, cwd=REPORTS)


def test_every_block_of_the_page_is_an_excerpt_of_a_file_that_is_run() -> None:
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    names = [first.removeprefix("# examples/reports/") for first, *_ in shown]
    assert names == ["reports.py", "operate.py"]
    for name, (*_, rest) in zip(names, shown, strict=True):
        assert rest in (REPORTS / name).read_text("utf-8")


def test_what_is_declared_is_put_and_fires_for_its_instant(database: Database) -> None:
    perdure(database, "worker", "-A", "reports:service", "--burst")
    states = json.loads(perdure(database, "schedules", "list", "--json"))
    assert [(state["key"], state["declared"]) for state in states] == [
        ("cleanup", True), ("reports.audit", True), ("reports.north", True),
    ]  # fmt: skip
    # As if its time had come: the task is of that instant.
    (instant,) = database.rows(
        "update perdure.schedules set look_at = now(), override_at = now() - interval '1 hour'"
        " where key = 'reports.north' returning override_at"
    )
    by_hand = database.value("select task_id from perdure.run_schedule('reports.audit')")
    perdure(database, "worker", "-A", "reports:service", "--burst")
    results = database.rows(
        "select (perdure.task(id)).result, schedule_key, queue from perdure.tasks order by id"
    )
    day = instant[0].astimezone(UTC).date()
    assert (f"north of {day}", "reports.north", "reports") in results
    assert json.loads(perdure(database, "wait", str(by_hand)))[:7] == "all of "
    database.check_drained()


def test_the_program_of_the_page_puts_looks_and_changes(database: Database) -> None:
    said = run(["python", "operate.py"], dsn=database.dsn, cwd=REPORTS).splitlines()
    assert said[0] == "created"
    assert said[1] == "reports.south active None 0"
    assert len(said) == 2 + 5 + 1
    assert database.rows("select key from perdure.schedules") == []
    assert database.value("select count(*) from perdure.tasks") == 1


def test_the_commands_of_the_page_do_as_it_says(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPORTS)
    monkeypatch.setenv("PERDURE_DSN", database.dsn)

    def said(line: str) -> str:
        program, *words = shlex.split(line, comments=True)
        assert program == "perdure"
        assert main(words) == 0
        return capsys.readouterr().out

    listed, put, *rest = blocks(PAGE, "sh")[0].splitlines()
    assert said(listed) == "there is no schedule\n"
    assert said(f"{put} --dry-run").startswith("schedule reports.west would be created\n")
    assert said(put) == "schedule reports.west created\n"
    assert all(map(said, rest))
    assert database.rows("select state from perdure.schedules") == [("paused",)]
