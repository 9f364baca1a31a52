"""`python -m benchmarks drain [--tasks N] [--runs N] [--json]`: the last line is the result."""

from __future__ import annotations

import argparse
import json

from benchmarks.scenarios import drain


def main() -> None:
    """Run one benchmark and print what it measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["drain"])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    measured, version = drain.measure(given.tasks, given.runs)
    line = measured.as_json(version)
    if not given.json:
        met = "met" if line["met"] else "missed"
        print(f"{line['benchmark']}: {line['value']:,.0f} {line['unit']}"
              f" (target {line['target']:,.0f}: {met})")  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
