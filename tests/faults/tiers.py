"""What the fault suite runs beyond the README's test command: for each change, and at night."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.concurrency.cases import SEED_VARIABLE as SEED
from tests.concurrency.cases import VARIABLE as ORDERS
from tests.conformance.pooled import VARIABLE as POOLER
from tests.kit.house import ROOT
from tests.mutants.catalogue import MUTANTS

STATES: Final = "PERDURE_TEST_EXAMPLES"
"""How many sequences of calls the state machine tries."""
ALWAYS: Final = frozenset({*(f"X{number}" for number in range(1, 13)), "X47", "X48", "X49"})
"""The defences of claim, fence and recovery: theirs are tried with every change."""
MUTANTS_MOST: Final = 20
"""So many fit into the minutes of a change, however much it changes; the night tries all."""
UPSTREAM: Final = "origin/main"
"""What a change is compared with."""
NIGHTLY_TIMES: Final = 5
PYTEST: Final = ("-m", "pytest", "-q", "--timeout=7200")


@dataclass(frozen=True)
class Part:
    """One command of a tier.

    Attributes:
        name: what it is called in the report.
        arguments: those of Python.
        environment: the variables that it needs.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def pull_request(seed: int) -> list[Part]:
    """At most 12 minutes: a minute of storm, every pair, the mutants that matter to the change."""
    return [
        Part("storm", ("-m", "tests.chaos.storm", "--minutes", "1", "--seed", str(seed))),
        Part("pairs of operations", (*PYTEST, "tests/concurrency"), {ORDERS: "1"}),
        Part("mutants", ("-m", "tests.mutants", *concerned(changed()))),
    ]


def nightly(seed: int, minutes: float) -> list[Part]:
    """A long storm, every mutant, other orders of pairs, the conformance list without wake-ups
    behind a pooler, each row of faults five times, peers."""
    storm = ("-m", "tests.chaos.storm", "--minutes", str(minutes), "--seed", str(seed))
    rows = (*PYTEST, "tests/chaos", "tests/conformance", "tests/integration/test_holding.py")
    return [
        Part("storm", storm),
        Part("mutants", ("-m", "tests.mutants")),
        Part(
            "pairs of operations", (*PYTEST, "tests/concurrency"), {ORDERS: "20", SEED: str(seed)}
        ),
        Part("state machine", (*PYTEST, "tests/property"), {STATES: "2000"}),
        Part("conformance behind a pooler", (*PYTEST, "-m", "conformance", "tests"), {POOLER: "1"}),
        *(Part(f"rows, {n} of {NIGHTLY_TIMES}", rows) for n in range(1, NIGHTLY_TIMES + 1)),
        Part("peers", ("-m", "tests.faults.peers", "--json")),
    ]


def changed(root: Path = ROOT) -> frozenset[str] | None:
    """The files that differ from where the change began, else from the commit before.

    None where git cannot tell: in a shallow clone, or where there is no commit before.
    """

    def git(*words: str) -> str | None:
        command = ["git", *words]
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        return None if answer.returncode else answer.stdout.strip()

    base = head = git("rev-parse", "HEAD")
    if git("rev-parse", "--verify", "--quiet", UPSTREAM) is not None:
        base = git("merge-base", "HEAD", UPSTREAM)
    if base == head:  # there is no upstream, or all of this is part of it
        base = "HEAD~1"
    files = None if base is None else git("diff", "--name-only", base)
    if files is None:
        sys.stderr.write(f"git cannot tell what has changed: any mutants, {MUTANTS_MOST} at most\n")
        return None
    return frozenset(files.splitlines())


def concerned(files: frozenset[str] | None) -> list[str]:
    """The mutants of every change and those of the files that this one has changed, 20 at most.

    Where nobody knows the files they may be any.
    """
    core = [one.name for one in MUTANTS if one.name in ALWAYS]
    others = [one for one in MUTANTS if one.name not in ALWAYS]
    touched = [one.name for one in others if files is None or one.file in files]
    return (core + touched)[:MUTANTS_MOST]


def counts(output: str) -> Mapping[str, Any]:
    """What a part says at its end: the numbers of its last line of JSON, or of pytest."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if last.startswith("{"):
        said: dict[str, Any] = json.loads(last)
        return {name: value for name, value in said.items() if not isinstance(value, list)}
    return {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped)", last)}
