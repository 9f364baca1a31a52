"""The tiers of the fault suite name what is there, and read what it says at its end."""

from __future__ import annotations

import pytest
from tests.concurrency.cases import SEED_VARIABLE as SEED
from tests.faults.tiers import ALWAYS, MUTANTS_MOST, Part, concerned, counts, nightly, pull_request
from tests.kit.house import ROOT
from tests.mutants.catalogue import MUTANTS


@pytest.mark.parametrize("part", [*pull_request(7), *nightly(7, 60)], ids=lambda part: part.name)
def test_every_part_of_a_tier_is_there(part: Part) -> None:
    names = [word for word in part.arguments if word.startswith("tests")]
    paths = [ROOT / name.replace(".", "/") for name in names if "/" not in name]
    paths += [ROOT / name for name in names if "/" in name]
    assert paths
    assert all(path.exists() or path.with_suffix(".py").exists() for path in paths)


def test_a_night_tries_orders_of_its_own_seed() -> None:
    (pairs,) = [part for part in nightly(9, 60) if part.name == "pairs of operations"]
    assert pairs.environment[SEED] == "9"


def test_a_change_is_tried_with_the_mutants_of_the_core_and_of_its_files() -> None:
    core = set(concerned(frozenset()))
    assert core == {one.name for one in MUTANTS} & ALWAYS
    other = next(one for one in MUTANTS if one.name not in ALWAYS)
    assert other.name in concerned(frozenset({other.file}))
    everything = concerned(frozenset(one.file for one in MUTANTS))
    assert len(everything) == MUTANTS_MOST
    assert core < set(everything)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("....\n5 passed in 3.1s\n", {"passed": 5}),
        ("\n1 failed, 4 passed, 2 skipped in 3.1s", {"failed": 1, "passed": 4, "skipped": 2}),
        ('text\n{"tasks": 7, "lost": 0, "rows": [1]}\n', {"tasks": 7, "lost": 0}),
        ("", {}),
    ],
)
def test_what_a_part_counts_is_read_from_its_last_line(output: str, told: object) -> None:
    assert counts(output) == told
