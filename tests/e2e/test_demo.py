"""`perdure demo`: the story is true, and readable where nobody looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.cli.main import main


@pytest.mark.timeout(180)
def test_every_claim_of_the_demo_holds_and_a_pipe_gets_a_sentence_a_line(tmp_path: Path) -> None:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "PG"))}
    done = subprocess.run(
        [sys.executable, "-m", "perdure", "demo", "--json"],
        env=ours, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["completed"] == report["tasks"] > 0
    assert report["resumed_from_checkpoint"] is True
    wrong = {key: report[key] for key in ("failed", "duplicated_pages", "misplaced")}
    assert set(wrong.values()) == {0}
    story, _, table = done.stderr.partition("What the database says")
    sentences = story.strip().splitlines()
    assert len(sentences) > 8
    assert [line for line in sentences if not line.rstrip().endswith(".")] == []
    assert "resumed from checkpoint" in table
    assert table.splitlines()[-1] == "Nothing lost, nothing done twice."


@pytest.mark.timeout(180)
def test_every_claim_of_the_tour_holds(tmp_path: Path) -> None:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "PG"))}
    done = subprocess.run(
        [sys.executable, "-m", "perdure", "demo", "--tour", "--json"],
        env=ours, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["instants"] == report["fired_or_recorded"] >= 8
    assert report["zones"] == report["zones_counted_alone"] > 0
    assert report["delivery_interruptions"] >= 1
    assert report["singleton_holders"] > 1
    wrong = ("beats_twice", "delivery_steps_twice", "delivery_failures", "singleton_overlaps")
    assert {report[key] for key in (*wrong, "misplaced")} == {0}
    assert [line for line in done.stderr.split("What the database says")[0].strip().splitlines()
            if not line.rstrip().endswith(".")] == []  # fmt: skip
    assert done.stderr.splitlines()[-1] == "Nothing lost, nothing done twice."


def test_the_tour_imports_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--tour", "--input", "some.csv"]) == 2
    assert "the tour imports nothing" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--input", "nowhere.csv"]) == 1
    told = capsys.readouterr()
    assert "there is no file nowhere.csv: --input names a CSV file" in told.err
    assert told.out == ""
