"""What the pages tell readers to type can be typed, and the index of the pages has them all."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from tests.kit.house import ROOT

from perdure.cli.commands import app

PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND: Final = re.compile(r"(?:^|[(;|&] ?)(perdure [^|;&)\n]*)", re.MULTILINE)


def typed(page: Path) -> list[str]:
    """Each command of Perdure in the shell blocks of a page, without its comment."""
    blocks = (block.replace("\\\n", " ") for block in _BLOCK.findall(page.read_text("utf-8")))
    found = (match for block in blocks for match in _COMMAND.findall(block))
    return [text.split(" #")[0] for text in found]


def refused(command: str) -> str | None:
    """What the command line would say to it before it does anything."""
    group: Any = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    while words and hasattr(group, "commands") and words[0] in group.commands:
        group = group.commands[words.pop(0)]
    if hasattr(group, "commands") and words and not words[0].startswith("-"):
        return f"there is no command {words[0]!r}"
    try:
        group.make_parser(group.context_class(group)).parse_args(words)
    except Exception as error:  # noqa: BLE001 - typer keeps its UsageError to itself
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_there_with_its_options(page: Path) -> None:
    assert {command: wrong for command in typed(page) if (wrong := refused(command))} == {}


def test_the_index_has_every_page_of_the_documents() -> None:
    index = ROOT / "docs/README.md"
    links = re.findall(r"\]\(([^)#]+\.md)\)", index.read_text("utf-8"))
    there = {page.relative_to(index.parent).as_posix() for page in index.parent.rglob("*.md")}
    assert there - {*links} == {"README.md"}


def test_a_command_that_is_not_there_is_found() -> None:
    assert refused("perdure cancle 1") == "there is no command 'cancle'"
    assert "--yse" in (refused("perdure cancel --tag sale --yse") or "")
    assert refused("perdure schedules pause nightly") is None
    assert sum(len(typed(page)) for page in PAGES) > 40
