"""Words, exit codes, and the one line on standard error; without a database."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import errors
from perdure.cli import main as command_line
from perdure.cli.given import Given
from perdure.cli.main import main


@pytest.fixture(autouse=True)
def nothing_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PERDURE_DSN", "PERDURE_DSN_FILE", "DATABASE_URL", "PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)


def test_help_names_every_command_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    listed = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) > 15
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []
    assert main([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["config"],
        ["list", "--limit", "many"],
        ["list", "--limit", "5000"],
        ["show"],
        ["show", "x"],
        ["grant", "boss", "somebody"],
        ["enqueue", "a", "--metadata", "{"],
        ["enqueue", "a", "--metadata", "[]"],
        ["enqueue", "a", "--metadata", "@missing.json"],
        ["enqueue", "a", "--delay", "soon"],
        ["enqueue", "a", "--run-at", "2030-01-01"],
        ["enqueue", "a", "--priority", "11"],
        ["wait", "1", "--timeout", "x"],
        ["proceed"],
        ["proceed", "1", "--wait-key", "a"],
        ["worker", "-A", "a:b", "--queue", "imports:0"],
        ["worker", "-A", "a:b", "--max-memory-mb", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"perdure: [^\n]+\.\n", err), err
    assert ".." not in err.replace("...", "")
    assert not re.search(r"[^.] See `", err)


def test_without_a_database_the_line_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "PERDURE_DSN" in err


def test_every_wrong_setting_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_EXECUTION__CONCURRENCY", "many")
    monkeypatch.setenv("PERDURE_LOGGING__LEVEL", "loud")
    assert main(["config", "show"]) == 78
    assert len(capsys.readouterr().err.splitlines()) == 3


def raising(error: BaseException) -> Callable[..., int]:
    def body(*_: Any, **__: Any) -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PerdureError("no"), 1),
        (errors.DatabaseUnavailable("no"), 1),
        (errors.NotPermitted("no"), 1),
        (TimeoutError("not yet"), 1),
        (ZeroDivisionError("what"), 1),
        (errors.InvalidArgument("bad"), 2),
        (errors.SchemaMismatch("old"), 78),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_becomes_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("perdure.cli.admin.queues", raising(error))
    assert main(["queues"]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert text.count("\n") == (0 if code == 130 else 1)
    assert main(["queues", "--debug"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code != 130)


def test_the_end_of_a_servers_log_keeps_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = errors.EmbeddedServerError("it did not start; the end of its log:\none\ntwo\x1b[2J")
    monkeypatch.setattr("perdure.cli.up.up", raising(error))
    assert main(["up"]) == 1
    said = "perdure: it did not start; the end of its log:\none\ntwo\\x1b[2J\n"
    assert capsys.readouterr().err == said


def test_a_message_stays_on_its_line_and_keeps_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "first\nsecond \x1b[2J postgresql://me:hunter2@db/app password=hunter3"
    monkeypatch.setattr("perdure.cli.admin.queues", raising(errors.PerdureError(text)))
    for words in (["queues"], ["queues", "--debug"]):
        assert main(words) == 1
        shown = capsys.readouterr().err
        assert "hunter" not in shown
        assert "\x1b" not in shown
    assert main(["queues"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--schema", "jobs", "--config", "a.toml", "queues"],
        ["queues", "--schema", "jobs", "--config=a.toml"],
        ["--config=a.toml", "queues", "--schema=jobs"],
    ],
    ids=" ".join,
)
def test_what_holds_for_all_commands_may_stand_before_or_behind(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Given] = []

    def body(given: Given, *, as_json: bool) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr("perdure.cli.admin.queues", body)
    assert main(words) == 0
    assert seen == [Given(Path("a.toml"), "jobs")]


def test_behind_two_dashes_words_are_left_alone() -> None:
    words, debug = command_line._arranged(["pause", "--", "--debug"])
    assert words == ["pause", "--", "--debug"]
    assert not debug


def test_settings_are_shown_with_their_sources_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PERDURE_DSN", "postgresql://me:hunter2@db/app")
    (tmp_path / "mine.toml").write_text("[execution]\nconcurrency = 7\n")
    assert main(["config", "show", "--config", "mine.toml"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"execution\.concurrency +7 +mine\.toml", text)
    assert "postgresql://me:***@db/app" in text
    assert "hunter2" not in text


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import perdure

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"perdure {perdure.__version__}\n"


def test_the_demo_is_told_by_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def run(**said: object) -> int:
        seen.update(said)
        return 1

    monkeypatch.setattr("perdure.demo.story.run", run)
    assert main(["demo", "--json"]) == 1
    assert seen["as_json"] is True


def test_whoever_stops_reading_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("perdure.cli.admin.queues", raising(BrokenPipeError()))
    with Path("/dev/null").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["queues"]) == 1
    assert capsys.readouterr().err == ""
