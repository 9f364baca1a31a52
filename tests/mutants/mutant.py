"""A mutant: one defence taken out of the product, and the tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.kit.house import ROOT


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """`old` stands exactly once in `file` and becomes `new`.

    says: what is taken out. file: a path in the tree. tests: a file of tests. red: those of them of
    which one at least must fail.
    """

    name: str
    says: str
    file: str
    old: str
    new: str
    tests: str
    red: tuple[str, ...]

    @property
    def node_ids(self) -> list[str]:
        """Its tests as pytest names them."""
        return [f"{self.tests}::{name}" for name in self.red]

    def mutated(self, root: Path = ROOT) -> str:
        """The text of the file with the defence taken out.

        Raises:
            ValueError: the text to replace is not there exactly once.
        """
        text = (root / self.file).read_text("utf-8")
        found = text.count(self.old)
        if found != 1 or self.old == self.new:
            raise ValueError(f"{self.name}: {self.file} has its old text {found} times, not once")
        return text.replace(self.old, self.new)
