"""What the type checker says about users' programs: nothing if right, a line for each mistake."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest
from mypy import api
from tests.types.right_use import service

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT = (HERE / "right_use.py", HERE / "right_lifespans.py")
MISTAKES = HERE / "planted_mistakes.py"


@pytest.fixture(scope="module")
def refused() -> dict[str, set[int]]:
    """File name -> the lines that mypy refuses, in one strict run over all files."""
    arguments = ["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary"]
    with chdir(ROOT):
        said, trouble, _ = api.run([*arguments, "--no-pretty", *map(str, RIGHT), str(MISTAKES)])
    assert trouble == ""
    lines: dict[str, set[int]] = {path.name: set() for path in (*RIGHT, MISTAKES)}
    for line in said.splitlines():
        file, number, kind, *_ = line.split(":")
        if kind.strip() == "error":
            lines.setdefault(Path(file).name, set()).add(int(number))
    return lines


def marked() -> set[int]:
    lines = MISTAKES.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# refused" in line}


@pytest.mark.timeout(300)
def test_right_use_is_accepted_and_each_planted_mistake_refused_on_its_line(
    refused: dict[str, set[int]],
) -> None:
    assert len(marked()) >= 30
    assert refused == {**{path.name: set() for path in RIGHT}, MISTAKES.name: marked()}


def test_what_the_checker_accepts_can_be_built() -> None:
    assert service.registry.names() == (
        *("catalogue.import", "by.annotations", "other.import", "report.build", "page.fetch"),
        "page.count",
        "report.make",
    )
