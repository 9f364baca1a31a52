"""The page on lifespans shows excerpts of a service that runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.e2e.programs import blocks
from tests.kit.commands import Commands
from tests.kit.databases import Database
from tests.kit.fleet import until
from tests.kit.house import ROOT

EXCHANGE = ROOT / "examples/exchange"
PAGE = ROOT / "docs/howto/lifespans.md"


def test_every_block_of_the_page_is_an_excerpt_of_the_service_that_runs() -> None:
    text = (EXCHANGE / "service.py").read_text("utf-8")
    shown = [block.partition("\n") for block in blocks(PAGE, "python")]
    assert [first for first, *_ in shown] == ["# examples/exchange/service.py"] * 3
    assert all(rest in text for *_, rest in shown)


def test_the_service_converts_while_one_process_keeps_the_rates(
    database: Database, tmp_path: Path
) -> None:
    for name, metadata in (("order.convert", {"what": "coffee"}), ("prices.names", {})):
        database.execute(
            "insert into perdure.tasks (name, metadata) values (%s, %s::jsonb)",
            (name, json.dumps(metadata)),
        )
    with Commands(database.dsn, tmp_path) as commands:
        worker = commands.start("worker", "-A", "service:service", cwd=EXCHANGE)
        until(lambda: database.value("select count(*) from perdure.outcomes") == 2)
        until(lambda: database.value("select to_regclass('rates') is not null"))
        until(lambda: database.value("select count(*) from rates") >= 2)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    results = database.rows("select result from perdure.outcomes order by task_id")
    assert results == [(5.0,), (["coffee"],)]
    state = database.rows("select name, state from perdure.task_states where queue = 'singletons'")
    assert state == [("singleton:rates", "pending")]
