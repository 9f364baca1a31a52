"""The reference in docs is what the code says: made anew, it is the same."""

from __future__ import annotations

import re

import pytest
from tests.conformance.statements import PAGE, UNPROVEN, proofs, statements
from tests.conformance.statements import page as conformance_page
from tests.kit.house import ROOT
from tests.reference import FOLDER, PAGES, page
from tests.reference_python import unexplained

from perdure import errors, testing

INSIDE = {"Database", "KindDecorator", "Settings", "StateDecorator", "TaskDefinition", "Worker"}
"""Types that signatures name, but that no program needs to know."""
STRANGERS = {"Session"}
"""Types of others that are called as one of ours."""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_says_what_the_code_says(name: str) -> None:
    assert (FOLDER / f"{name}.md").read_text("utf-8") == page(name), (
        "run `python -m tests.reference`"
    )


def test_no_page_of_the_reference_is_left_over() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(PAGES)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    shown = set(re.findall(r"(?m)^### (\w+)$", page("python")))
    public = {*(ROOT / "tests/public_names.txt").read_text("utf-8").split(), *testing.__all__}
    assert public - {"__version__"} - set(vars(errors)) == public & shown


def test_every_type_in_a_signature_of_the_reference_is_explained() -> None:
    assert unexplained(page("python")) == INSIDE | STRANGERS


def test_the_conformance_list_names_the_tests_that_carry_its_marks() -> None:
    assert PAGE.read_text("utf-8") == conformance_page(), "run `python -m tests.reference`"


def test_every_number_of_the_conformance_list_has_a_test() -> None:
    numbers, marked = statements(), proofs()
    assert list(numbers) == [f"C{number}" for number in range(1, len(numbers) + 1)]
    assert marked.keys() <= numbers.keys(), "a mark names no statement"
    assert numbers.keys() - marked.keys() <= UNPROVEN, "a statement has lost its tests"
    assert not UNPROVEN & marked.keys(), "take what has a test out of UNPROVEN"
