"""What docs/howto/constraints.md shows runs: a service with probes, and what is said of them."""

from __future__ import annotations

import json

from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

PAGE = ROOT / "docs/howto/constraints.md"
PAYMENTS = ROOT / "examples/payments"


def test_the_pages_blocks_are_cut_out_of_the_example() -> None:
    for block in blocks(PAGE, "python"):
        name, _, code = block.partition("\n")
        assert code in (ROOT / name.removeprefix("# ")).read_text("utf-8")


def test_the_example_runs_when_its_constraints_hold_or_its_deadline_has_passed(
    database: Database,
) -> None:
    def perdure(*words: str) -> str:
        return run(["perdure", *words], dsn=database.dsn, cwd=PAYMENTS)

    said = run(["python", "operate.py"], dsn=database.dsn, cwd=PAYMENTS).splitlines()
    assert said[:2] == ["1", "changed"]
    assert said[2].startswith("gateway True 0 ")
    late = "2020-01-01T00:00:00Z"
    perdure("enqueue", "payment.settle", "--metadata", '{"cents": 7}', "--requires", "nobody",
            "--deadline-at", late)  # fmt: skip
    perdure("worker", "-A", "service:service", "--burst")
    results = database.rows("select result from perdure.outcomes order by task_id")
    assert results == [("995 settled",), ("7 by hand",)]

    assert "gateway off (changed)" in perdure("set-constraint", "gateway", "off")
    assert "gateway unset (changed)" in perdure("set-constraint", "gateway", "unset")
    assert "gateway unset (unchanged)" in perdure("set-constraint", "gateway", "unset")
    names = [state["name"] for state in json.loads(perdure("constraints", "--json"))]
    assert names == ["disk", "gateway", "licence"]
    assert "licence" in perdure("constraints")
    database.check_drained()
