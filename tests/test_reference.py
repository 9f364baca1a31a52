"""The reference in docs is what the code says: made anew, it is the same."""

from __future__ import annotations

import pytest
from tests.conformance.statements import PAGE, UNPROVEN, proofs, statements
from tests.conformance.statements import page as conformance_page
from tests.reference import FOLDER, PAGES, page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_says_what_the_code_says(name: str) -> None:
    assert (FOLDER / f"{name}.md").read_text("utf-8") == page(name), (
        "run `python -m tests.reference`"
    )


def test_no_page_of_the_reference_is_left_over() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(PAGES)


def test_the_conformance_list_names_the_tests_that_carry_its_marks() -> None:
    assert PAGE.read_text("utf-8") == conformance_page(), "run `python -m tests.reference`"


def test_every_number_of_the_conformance_list_has_a_test() -> None:
    numbers, marked = statements(), proofs()
    assert list(numbers) == [f"C{number}" for number in range(1, len(numbers) + 1)]
    assert marked.keys() <= numbers.keys(), "a mark names no statement"
    assert numbers.keys() - marked.keys() <= UNPROVEN, "a statement has lost its tests"
    assert not UNPROVEN & marked.keys(), "take what has a test out of UNPROVEN"
