"""`python -m benchmarks NAME|all [--vs PEER,...] [--runs N] [--smoke] [--json]`: rows as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Bench, Cpu, Row, server
from benchmarks.peers import NAMES, peer
from benchmarks.scenarios import SCENARIOS


def main() -> int:
    """Run what is named; each row is a line of JSON, the last line that of what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*SCENARIOS, "all"])
    parser.add_argument(
        "--vs", default=None, metavar="PEER,...",
        help=f"the peers beside us, of {', '.join(NAMES[1:])}; default: those that the row names",
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=3, help="of each, interleaved; default 3")
    parser.add_argument(
        "--smoke", action="store_true", help="a moment of each: that it works, no number counts"
    )
    parser.add_argument("--json", action="store_true", help="nothing but JSON on standard output")
    parser.add_argument("--report", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    wanted = None if given.vs is None else [name for name in given.vs.split(",") if name]
    rows: list[Row] = []
    with server() as own:
        bench = Bench(own, runs=1 if given.smoke else given.runs, scale=0.01 if given.smoke else 1)
        for name in SCENARIOS if given.name == "all" else [given.name]:
            module = import_module(f"benchmarks.scenarios.{name}")
            bench.say(f"{name}: {(module.__doc__ or name).splitlines()[0]}")
            names = module.PEERS if wanted is None else wanted
            began = Cpu.now()
            found = module.rows(bench, [peer(of) for of in names])
            stolen = {"percent_of_cpu_that_the_host_gave_others": Cpu.now().stolen_since(began)}
            for row in (replace(row, details={**row.details, **stolen}) for row in found):
                rows.append(row)
                if not given.json:
                    print(_told(row))
                print(json.dumps(row.as_json()), flush=True)
    if given.report:
        given.report.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
    return 0 if given.smoke or all(row.met for row in rows) else 1


def _told(row: Row) -> str:
    checks = "; ".join(
        f"{check.what} {check.value:,.2f} ({'met' if check.met else 'MISSED'}: "
        f"{'<=' if check.at_most else '>='} {check.target:g})"
        for check in row.checks
    )
    return f"{row.row} {row.benchmark}: {checks}"


if __name__ == "__main__":
    sys.exit(main())
