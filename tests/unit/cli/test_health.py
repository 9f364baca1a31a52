"""The sign of life: who has a file, who hangs, and what is left of the dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perdure.cli.health import SECONDS_MAX, check
from perdure.run.pulse import VARIABLE, Pulse, pulse_file, pulses


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_a_worker_whose_loop_turns_is_alive(capsys: pytest.CaptureFixture[str]) -> None:
    with Pulse(pulse_file()) as pulse:
        pulse.beat()
        assert check() == 0
        assert capsys.readouterr().out.startswith("alive: workers 1")
        assert check(as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["alive"] is True


def test_without_a_worker_a_probe_fails_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 1
    assert capsys.readouterr().err == "perdure: no healthy worker: none here\n"


def test_one_loop_that_does_not_turn_is_enough_to_fail(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = folder / "perdure-health-7"
    with Pulse(pulse_file()), Pulse(late):
        before = late.stat().st_mtime - SECONDS_MAX - 5
        os.utime(late, (before, before))
        assert check() == 1
        assert "hangs" in capsys.readouterr().err


def test_a_worker_that_ends_takes_its_file_with_it(folder: Path) -> None:
    with Pulse(pulse_file()):
        assert list(folder.iterdir())
    assert not list(folder.iterdir())


def test_a_killed_worker_is_not_taken_for_one_that_hangs(folder: Path) -> None:
    """Its file stays, and is removed by the next worker."""
    code = (
        "import os, tempfile; tempfile.tempdir = os.environ['FOLDER']\n"
        "from perdure.run.pulse import Pulse, pulse_file\n"
        "Pulse(pulse_file()); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "FOLDER": str(folder)}
    dead = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    assert dead.returncode == -9
    left = list(folder.iterdir())
    assert len(left) == 1
    assert list(pulses()) == []
    with Pulse(pulse_file()):
        assert left[0] not in folder.iterdir()
        assert len(list(pulses())) == 1


def test_a_file_may_be_named_and_shared(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    named = folder / "alive"
    monkeypatch.setenv(VARIABLE, str(named))
    with Pulse(pulse_file()):
        with Pulse(pulse_file()):
            assert check() == 0
        assert named.exists()
        assert check() == 0
    assert not named.exists()
    assert check() == 1


def test_a_file_that_cannot_be_is_no_fault_of_the_worker() -> None:
    with Pulse(Path("/nowhere/at/all")) as pulse:
        pulse.beat()
    with Pulse(None) as pulse:
        pulse.beat()
