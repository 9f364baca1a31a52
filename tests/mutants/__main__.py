"""`python -m tests.mutants [NAME ...] [--json]`: each defence taken out must turn a test red."""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.runner import Tree, Verdict


def main() -> int:
    """Run the mutants that are named, or all; 1 if one survives, 2 if the tests prove nothing."""
    arguments = parsed()
    chosen = [one for one in MUTANTS if one.name in arguments.names or not arguments.names]
    began, survived = time.monotonic(), list[str]()

    def tell(line: str) -> None:
        if not arguments.json:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    with Tree() as tree:
        tests = sorted({test for mutant in chosen for test in mutant.node_ids})
        tell(f"{len(chosen)} mutants; first their {len(tests)} tests without any")
        clean = tree.run(tests)
        if not clean.green:
            sys.stderr.write(clean.output)
            return 2
        for number, mutant in enumerate(chosen, 1):
            verdict = tree.run_mutant(mutant)
            if not verdict.red:
                survived.append(mutant.name)
            tell(line_of(number, len(chosen), mutant, verdict))
    answer = {
        "mutants": len(chosen),
        "caught": len(chosen) - len(survived),
        "survived": survived,
        "seconds": round(time.monotonic() - began, 1),
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if survived else 0


def parsed() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="say nothing but the last line")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    return arguments


def line_of(number: int, count: int, mutant: Mutant, verdict: Verdict) -> str:
    """One line for people, and all that the tests have said where one proves nothing."""
    line = (
        f"[{number}/{count}] {mutant.name:<5} {verdict.word:<8} {verdict.seconds:5.1f} s  "
        f"{mutant.says}{f'  ({verdict.noticed})' if verdict.noticed else ''}"
    )
    return line if verdict.word != "broken" else f"{line}\n{verdict.output}"


if __name__ == "__main__":
    sys.exit(main())
