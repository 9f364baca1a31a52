"""What the fault suite runs beyond the README's test command: for each change, and at night."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.concurrency.cases import SEED_VARIABLE as SEED
from tests.concurrency.cases import VARIABLE as ORDERS
from tests.kit.house import ROOT
from tests.mutants.catalogue import MUTANTS

STATES: Final = "PERDURE_TEST_EXAMPLES"
"""How many sequences of calls the state machine tries."""
ALWAYS: Final = frozenset({*(f"X{number}" for number in range(1, 13)), "X47", "X48", "X49"})
"""The defences of claim, fence and recovery: theirs are tried with every change."""
MUTANTS_MOST: Final = 30
"""So many fit into the minutes of a change, however much it changes; the night tries all."""
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
    """At most 12 minutes: a minute of storm, more orders, the mutants that matter to the change."""
    return [
        Part("storm", ("-m", "tests.chaos.storm", "--minutes", "1", "--seed", str(seed))),
        Part("pairs of operations", (*PYTEST, "tests/concurrency"), {ORDERS: "4"}),
        Part("mutants", ("-m", "tests.mutants", *concerned(changed()))),
    ]


def nightly(seed: int, minutes: float) -> list[Part]:
    """A long storm, every mutant, other orders of pairs, each row of faults five times, peers."""
    storm = ("-m", "tests.chaos.storm", "--minutes", str(minutes), "--seed", str(seed))
    rows = (*PYTEST, "tests/chaos", "tests/conformance", "tests/integration/test_holding.py")
    return [
        Part("storm", storm),
        Part("mutants", ("-m", "tests.mutants")),
        Part(
            "pairs of operations", (*PYTEST, "tests/concurrency"), {ORDERS: "20", SEED: str(seed)}
        ),
        Part("state machine", (*PYTEST, "tests/property"), {STATES: "2000"}),
        *(Part(f"rows, {n} of {NIGHTLY_TIMES}", rows) for n in range(1, NIGHTLY_TIMES + 1)),
        Part("peers", ("-m", "tests.faults.peers", "--json")),
    ]


def changed() -> frozenset[str]:
    """The files of the last commit, as far as this is a repository with more than one."""
    command = ["git", "diff", "--name-only", "HEAD~1"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return frozenset(answer.stdout.split())


def concerned(files: frozenset[str]) -> list[str]:
    """The mutants of every change and those of the files that this one has changed, 30 at most."""
    core = [one.name for one in MUTANTS if one.name in ALWAYS]
    touched = [one.name for one in MUTANTS if one.name not in ALWAYS and one.file in files]
    return (core + touched)[:MUTANTS_MOST]


def counts(output: str) -> Mapping[str, Any]:
    """What a part says at its end: the numbers of its last line of JSON, or of pytest."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if last.startswith("{"):
        said: dict[str, Any] = json.loads(last)
        return {name: value for name, value in said.items() if not isinstance(value, list)}
    return {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped)", last)}
