"""The tiers of the fault suite name what is there, and read what it says at its end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.concurrency.cases import SEED_VARIABLE as SEED
from tests.faults.tiers import (
    ALWAYS,
    MUTANTS_MOST,
    Part,
    changed,
    concerned,
    counts,
    nightly,
    pull_request,
)
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
    assert concerned(None) == everything


def git(folder: Path, *words: str) -> None:
    """Run git there, as somebody."""
    somebody = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *somebody, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, *names: str) -> None:
    """A commit for each new file."""
    for name in names:
        (folder / name).write_text(name)
        git(folder, "add", name)
        git(folder, "commit", "-m", name)


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository with two commits, and with `change`, a branch of two more."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--initial-branch=main")
    commit(folder, "first", "second")
    git(folder, "checkout", "-b", "change")
    commit(folder, "third", "fourth")
    git(folder, "checkout", "main")
    return folder


def cloned(upstream: Path, *words: str) -> Path:
    """A clone beside it, made as the words say."""
    git(upstream.parent, "clone", *words, upstream.as_uri(), "clone")
    return upstream.parent / "clone"


def test_a_change_is_all_of_its_commits_and_what_is_not_committed_yet(upstream: Path) -> None:
    commit(upstream, "later")
    clone = cloned(upstream, "--branch=change")
    (clone / "first").write_text("another")
    assert changed(clone) == frozenset({"first", "third", "fourth"})


def test_what_is_part_of_upstream_has_changed_with_its_last_commit(upstream: Path) -> None:
    assert changed(upstream) == frozenset({"second"})
    assert changed(cloned(upstream)) == frozenset({"second"})


def test_a_clone_that_is_too_shallow_to_tell_says_so(
    upstream: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = cloned(upstream, "--depth=1", "--branch=change")
    assert changed(clone) is None
    assert "git cannot tell" in capsys.readouterr().err
    git(clone, "fetch", "--depth=1", "origin", "main:refs/remotes/origin/main")
    assert changed(clone) is None


def test_a_first_commit_is_a_change_of_which_git_cannot_tell(tmp_path: Path) -> None:
    git(tmp_path, "init")
    assert changed(tmp_path) is None
    commit(tmp_path, "first")
    assert changed(tmp_path) is None


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
