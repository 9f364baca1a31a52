"""The examples run as a reader runs them: a service file, a database, the command line."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from textwrap import indent

from tests.e2e.programs import PROGRAMS, blocks, environment, run
from tests.kit.databases import Database
from tests.kit.fleet import until
from tests.kit.house import ROOT

CATALOGUE = ROOT / "examples/catalogue"
PAGES = ROOT / "examples/pages"
IDLE_KILOBYTES = 70 * 1024


def without_docstring(text: str) -> str:
    """The code in one form, whatever the formatting, comments and docstring of the module."""
    tree = ast.parse(text)
    if ast.get_docstring(tree):
        del tree.body[0]
    return ast.unparse(tree)


def test_the_readmes_service_is_the_example_that_runs_below() -> None:
    (shown,) = (b for b in blocks(ROOT / "README.md", "python") if "builder.build()" in b)
    assert "# examples/pages/service.py\n" in shown
    assert without_docstring(shown) == without_docstring((PAGES / "service.py").read_text("utf-8"))


def test_the_readmes_service_imports_every_page_once(database: Database) -> None:
    database.execute(
        "insert into perdure.tasks (name, metadata) values ('catalogue.import', '{\"pages\": 10}')"
    )
    run(["perdure", "worker", "-A", "service:service", "--burst"], dsn=database.dsn, cwd=PAGES)
    assert database.rows("select state, result from perdure.task(1)") == [
        ("completed", {"rows": 10})
    ]
    assert database.rows("select page from catalogue order by page") == [(n,) for n in range(10)]
    database.check_drained()


def test_the_readmes_client_gets_its_result_from_the_readmes_service(database: Database) -> None:
    (shown,) = (b for b in blocks(ROOT / "README.md", "python") if "TaskClient()" in b)
    program = (
        "import asyncio\nfrom perdure import TaskClient\n"
        "from service import ImportRequest, catalogue_import, service\n"
        f"async def main():\n{indent(shown, '    ')}    print(report)\n"
        "async def both():\n    async with service.worker():\n        await main()\n"
        "asyncio.run(both())\n"
    )
    assert "rows=10" in run(["python", "-c", program], dsn=database.dsn, cwd=PAGES)
    key = "select unique_key from perdure.tasks where unique_key is not null"
    assert database.rows(key) == [("catalogue:8",)]


def test_the_catalogue_goes_through_a_worker_from_the_command_line(database: Database) -> None:
    def perdure(*words: str) -> str:
        return run(["perdure", *words], dsn=database.dsn, cwd=CATALOGUE)

    for name, metadata in (
        ("catalogue.import", {"pages": 3}),
        ("report.build", {"pages": 2}),
        ("catalogue.import", {"pages": -1}),
    ):
        assert "created" in perdure("enqueue", name, "--metadata", json.dumps(metadata))
    perdure("worker", "-A", "service:service", "--burst")

    assert json.loads(perdure("wait", "1", "--json"))["result"] == {"rows": 3}
    assert json.loads(perdure("show", "2", "--json"))["state"] == "completed"
    failed = json.loads(perdure("show", "3", "--json"))
    assert failed["state"] == "failed"
    assert failed["error"]["error"] == {"reason": "pages must be 0 or more"}
    assert database.value("select count(*) from catalogue where task_id = 1") == 3
    database.check_drained()


def test_an_idle_worker_is_small_and_ends_at_once_when_it_is_asked_to(database: Database) -> None:
    worker = subprocess.Popen(
        [PROGRAMS / "perdure", "worker", "-A", "service:service"],
        cwd=CATALOGUE,
        env=environment(database.dsn),
        stderr=subprocess.DEVNULL,
    )
    try:
        health = [str(PROGRAMS / "perdure"), "health"]
        # Its row is there before its first beat, and that before what a probe looks at.
        until(lambda: database.value("select count(*) from perdure.workers"))
        until(lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0)
        status = Path(f"/proc/{worker.pid}/status").read_text("utf-8")
        worker.terminate()
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.wait()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    assert int(kilobytes) < IDLE_KILOBYTES
    assert database.value("select count(*) from perdure.workers") == 0
