"""What commands print: columns in a pipe, boxes on a terminal, JSON, and nothing that does harm."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from perdure.cli.output import Output, block, cell, clean


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def printed(stream: io.StringIO, **options: Any) -> Output:
    return Output(stream=stream, **options)


def test_a_pipe_gets_plain_columns_with_numbers_to_the_right() -> None:
    stream = io.StringIO()
    printed(stream).table(
        ("id", "name", "note"), [(7, "import", None), (1042, "b", "x\ny")], empty="none"
    )
    assert stream.getvalue() == ("  ID  NAME    NOTE\n   7  import  -\n1042  b       x\\ny\n")


def test_a_table_without_rows_says_so() -> None:
    stream = io.StringIO()
    printed(stream).table(("id",), [], empty="no task matches")
    assert stream.getvalue() == "no task matches\n"


def test_a_terminal_gets_colours_and_nothing_is_cut_off(
    colors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    rows = [(10**17 + i, "a.name.of.twenty.chars", "failed", "y" * 24) for i in range(2)]
    printed(stream).table(("id", "name", "state", "why"), rows, empty="none")
    text = stream.getvalue()
    assert "\x1b[" in text
    for row in rows:
        assert all(str(value) in text for value in row)


def test_markup_in_a_value_is_shown_as_it_is(colors: None) -> None:
    stream = Terminal()
    printed(stream).table(("name",), [("[red]x[/red] :smile:",)], empty="none")
    printed(stream).record("task [bold]1", {"message": "[link=x]y"})
    assert "[red]x[/red] :smile:" in stream.getvalue()
    assert "task [bold]1" in stream.getvalue()
    assert "[link=x]y" in stream.getvalue()


def test_no_color_makes_a_terminal_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    printed(stream).table(("state",), [("failed",)], empty="none")
    printed(stream).record("task 1", {"state": "failed"})
    assert "\x1b" not in stream.getvalue()


def test_json_is_one_ascii_line_in_a_pipe_and_indented_on_a_terminal() -> None:
    value = {"at": datetime(2030, 1, 2, tzinfo=UTC), "name": "ü\x1b", "ids": (1, 2)}
    pipe, terminal = io.StringIO(), Terminal()
    printed(pipe, as_json=True).document(value)
    printed(terminal, as_json=True).document(value)
    assert pipe.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\n") > 1
    assert pipe.getvalue().isascii()
    expected = {"at": "2030-01-02T00:00:00+00:00", "name": "ü\x1b", "ids": [1, 2]}
    assert json.loads(pipe.getvalue()) == json.loads(terminal.getvalue()) == expected


def test_where_json_is_asked_for_lines_for_people_are_left_out() -> None:
    stream = io.StringIO()
    printed(stream, as_json=True).line("done")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "text", ["a\x1b[2Jb", "a\nb", "a\rb", "a\u202eb", "a\x9bb", "a\u2028b", "a\ud800b"]
)
def test_no_text_moves_the_cursor_or_passes_for_another_line(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


def test_cells_and_blocks_say_values_as_people_write_them() -> None:
    east = timezone(timedelta(hours=2))
    assert cell(datetime(2030, 1, 2, 3, 4, 5, tzinfo=east)) == "2030-01-02 01:04:05Z"
    assert cell(["a", "b"]) == "a, b"
    assert cell([]) == cell("") == cell(None) == "-"
    assert [cell(value) for value in (True, False)] == ["yes", "no"]
    assert cell(1.25) == "1.2"
    assert cell({"a": "\x1b"}) == '{"a": "\\u001b"}'
    assert block("one\ntwo\x1b") == "one\ntwo\\x1b"
