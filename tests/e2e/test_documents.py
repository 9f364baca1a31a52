"""What the documents say exists: links, files, commands, settings; their SQL runs."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest
from tests.e2e.programs import blocks, documents, run
from tests.kit.databases import Database
from tests.kit.house import ROOT

LINES_MOST = {"README.md": 150, "CONTRIBUTING.md": 200}
WITH_SQL = [path for path in documents() if blocks(path, "sql")]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", documents(), ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8"))
    dead = [x for x in links if "://" not in x and not (path.parent / x).exists()]
    assert not dead


@cache
def files() -> list[str]:
    """Every file of the tree; folders of tools, whose files come and go, are hidden."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") or name == ".ci"]
        found += [f"{folder}/{name}" for name in names]
    return found


@pytest.mark.parametrize("path", documents(), ids=named)
def test_every_file_that_is_named_exists(path: Path) -> None:
    names = re.findall(r"`([\w./-]+\.(?:py|sql|toml|txt|yml))`", path.read_text("utf-8"))
    later = {"perdure.toml"}  # a reader makes it
    missing = {n for n in names if n not in later and not any(f.endswith(f"/{n}") for f in files())}
    assert not missing


def test_every_command_that_is_shown_exists() -> None:
    commands = set(re.findall(r"(?m)^  ([a-z-]+)  ", run(["perdure", "--help"])))
    shown = {
        word
        for path in documents()
        for word in re.findall(r"(?m)(?:`|^|/)perdure ([a-z-]+)\b", path.read_text("utf-8"))
    }
    assert {"worker", "migrate", "enqueue"} <= shown
    assert shown <= commands


def test_every_setting_that_is_named_exists() -> None:
    from perdure.settings import KEYS

    groups = {name.partition(".")[0] for name in KEYS if "." in name}
    pattern = rf"`((?:{'|'.join(groups)})\.\w+)`"
    said = {n for path in documents() for n in re.findall(pattern, path.read_text("utf-8"))}
    assert said
    assert {n for n in said if not n.endswith((".md", ".py", ".sql"))} <= set(KEYS)


@pytest.mark.parametrize("path", documents(), ids=named)
def test_python_in_documents_can_be_read(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block, named(path), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("path", WITH_SQL, ids=named)
def test_sql_in_documents_runs(path: Path, database: Database) -> None:
    for block in blocks(path, "sql"):
        database.execute(block)
    enqueues = re.search(r"perdure\.(tasks \(|enqueue)", path.read_text("utf-8"))
    assert not enqueues or database.value("select count(*) from perdure.tasks") > 0


@pytest.mark.parametrize("name", LINES_MOST)
def test_what_everybody_reads_is_short(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= LINES_MOST[name]
