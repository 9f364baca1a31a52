"""The catalogue of mutants cannot rot: what it takes out is there, and so are its tests."""

from __future__ import annotations

import ast

import pytest
from tests.kit.house import ROOT
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.runner import Verdict

NAMES = [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_what_a_mutant_takes_out_is_there_once_and_its_tests_exist(mutant: Mutant) -> None:
    assert mutant.mutated() != (ROOT / mutant.file).read_text("utf-8")
    assert mutant.file.startswith(("service/", "migrations/"))
    tree = ast.parse((ROOT / mutant.tests).read_text("utf-8"))
    assert mutant.red
    assert set(mutant.red) <= {getattr(node, "name", "") for node in tree.body}


def test_no_two_mutants_have_one_name() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("text", ["absent", "e"])
def test_a_mutant_whose_text_is_not_there_once_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not once"):
        Mutant(name="X", says="", file="README.md", old=text, new="", tests="", red=()).mutated()


@pytest.mark.parametrize(
    ("code", "output", "word"),
    [
        (0, "3 passed", "survived"),
        (1, "FAILED tests/a/test_b.py::test_c - assert", "caught"),
        (1, "ERROR at teardown of test_c\nERROR tests/a/test_b.py::test_c", "caught"),
        (1, "ERROR at setup of test_c\nERROR tests/a/test_b.py::test_c", "broken"),
        (2, "Interrupted: 1 error during collection", "broken"),
        (4, "ERROR: not found: test_b.py::test_c", "broken"),
    ],
)
def test_only_a_test_that_has_failed_has_noticed(code: int, output: str, word: str) -> None:
    verdict = Verdict(code, output, 0.0)
    assert verdict.word == word
    assert verdict.red is (word == "caught")
    if verdict.red:
        assert verdict.noticed == "test_b.py::test_c"


def test_tests_that_were_skipped_prove_nothing() -> None:
    assert Verdict(0, "3 passed in 1.0s", 1.0).green
    assert not Verdict(0, "2 passed, 1 skipped in 1.0s", 1.0).green
