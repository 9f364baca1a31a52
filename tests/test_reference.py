"""The reference in docs is what the code says: made anew, it is the same."""

from __future__ import annotations

import pytest
from tests.reference import FOLDER, PAGES, page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_says_what_the_code_says(name: str) -> None:
    assert (FOLDER / f"{name}.md").read_text("utf-8") == page(name), (
        "run `python -m tests.reference`"
    )


def test_no_page_of_the_reference_is_left_over() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(PAGES)
