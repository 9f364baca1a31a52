"""The conformance list: what each number says, and which tests carry its mark, read and not run."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.kit.house import ROOT

FILE: Final = ROOT / "tests/conformance/statements.toml"
PAGE: Final = ROOT / "docs/conformance.md"
MARK: Final = "pytest.mark.conformance"

UNPROVEN: Final[frozenset[str]] = frozenset()
"""Numbers without a test: whoever marks one takes it out of here."""


class Proof(NamedTuple):
    """A test with a mark; without a name the whole file has it."""

    file: str
    test: str | None


def statements() -> dict[str, str]:
    """What each number says."""
    return tomllib.loads(FILE.read_text("utf-8"))


def proofs() -> dict[str, list[Proof]]:
    """The marked tests of each number, by file and place; ValueError where a mark is unreadable."""
    found: dict[str, list[Proof]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number, test in marks(path):
            proof = Proof(path.relative_to(ROOT).as_posix(), test)
            if proof not in found.setdefault(number, []):
                found[number].append(proof)
    return found


def marks(path: Path) -> Iterator[tuple[str, str | None]]:
    """Each marked number of a file, with the test that has it."""
    text = path.read_text("utf-8")
    if MARK not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield from ((number, node.name) for number in _numbers(decorator, path))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            yield from ((number, None) for number in _numbers(node.value, path))


def _numbers(within: ast.expr, path: Path) -> Iterator[str]:
    for node in ast.walk(within):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == MARK:
            for argument in node.args:
                match argument:
                    case ast.Constant(value=str() as number):
                        yield number
                    case _:
                        raise ValueError(f"{path}:{node.lineno}: write the number as it is")


def table() -> Iterator[str]:
    """The table of the page: one line a number, so that changes of several merge."""
    marked = proofs()
    yield from ("| number | what it says | tests |", "| --- | --- | --- |")
    for number, says in statements().items():
        files: dict[str, list[str]] = {}
        for file, test in marked.get(number, []):
            files.setdefault(file, []).extend([] if test is None else [f"`{test}`"])
        told = "; ".join(
            f"[{file.removeprefix('tests/')}](../{file}){': ' if tests else ''}{', '.join(tests)}"
            for file, tests in files.items()
        )
        yield f"| {number} | {says} | {told or 'none yet'} |"


def page() -> str:
    """The whole text of `docs/conformance.md`."""
    return "\n".join((
        "# Conformance",
        "",
        "<!-- Made by `python -m tests.reference`: change the tests, not this file. -->",
        "",
        "What users are told, statement by statement, and the tests that prove it: those that have",
        'the mark of its number, `@pytest.mark.conformance("C12")`. `uv run pytest -m conformance`',
        "runs them all; none is skipped. The sentences stand in",
        "[statements.toml](../tests/conformance/statements.toml).",
        "",
        *table(),
        "",
    ))  # fmt: skip
