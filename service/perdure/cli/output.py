"""What a command prints: tables for people, plain columns for pipes, JSON for programs.

A terminal gets colours and boxes, unless NO_COLOR is set; a pipe gets one line per row. Whatever
comes from outside is made harmless first: no text can move the cursor or pass for another line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import TextIO

from perdure.settings.sources import colors_wanted

NOTHING = "-"


class Output:
    """Where a command prints to: standard output, in the form that was asked for."""

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.as_json = as_json
        self.pretty = not as_json and self._stream.isatty() and colors_wanted()

    def line(self, text: str) -> None:
        """One line for people; nothing where JSON was asked for."""
        if not self.as_json:
            self._stream.write(f"{clean(text)}\n")

    def document(self, value: object) -> None:
        """One JSON value: on one line in a pipe, indented on a terminal; ASCII only."""
        indent = 2 if self._stream.isatty() else None
        self._stream.write(f"{json.dumps(_plain(value), indent=indent, default=str)}\n")
        self._stream.flush()

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str
    ) -> None:
        """Rows below headers; numbers stand right; `empty` is said when there is no row."""
        if not rows:
            self.line(empty)
            return
        right = {i for i in range(len(headers)) if any(_is_number(row[i]) for row in rows)}
        cells = [[cell(value) for value in row] for row in rows]
        if self.pretty:
            from perdure.cli import pretty  # noqa: PLC0415  (rich, which a pipe does not need)

            pretty.table(self._stream, headers, cells, right)
            return
        lines = [[header.upper() for header in headers], *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
        for line in lines:
            padded = [
                text.rjust(width) if i in right else text.ljust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            self._stream.write(f"{'  '.join(padded).rstrip()}\n")

    def record(self, title: str, values: Mapping[str, object]) -> None:
        """One thing with its names and values; what is None is left out."""
        pairs = [(name, block(value)) for name, value in values.items() if value is not None]
        if self.pretty:
            from perdure.cli import pretty  # noqa: PLC0415  (rich, which a pipe does not need)

            pretty.record(self._stream, clean(title), pairs)
            return
        width = max((len(name) for name, _ in pairs), default=0)
        self._stream.write(f"{clean(title)}\n")
        for name, text in pairs:
            first, *rest = text.split("\n")
            self._stream.write(f"{name.ljust(width)}  {first}\n")
            for line in rest:
                self._stream.write(f"{' ' * width}  {line}\n")

    @contextmanager
    def following(self, what: str) -> Iterator[Callable[[object], None]]:
        """A bar on standard error while something takes long, where people look; else nothing.

        What comes takes the progress of a task: {"done", "total", "message"}, or None.
        """
        if not (self.pretty and sys.stderr.isatty()):
            yield lambda _progress: None
            return
        from perdure.cli import pretty  # noqa: PLC0415  (rich, which a pipe does not need)

        with pretty.following(what) as show:
            yield show


def cell(value: object) -> str:
    """A value as one harmless line."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = moment(value)
        case float():
            text = f"{value:.1f}"
        case list() | tuple():
            text = ", ".join(cell(item) for item in value)
        case Mapping():
            text = json.dumps(_plain(value), default=str)
        case _:
            text = clean(str(value))
    return text or NOTHING


def block(value: object) -> str:
    """A value that may take several lines: JSON is indented, a traceback keeps its lines."""
    if isinstance(value, Mapping):
        return json.dumps(_plain(value), indent=2, default=str)
    if isinstance(value, str):
        return "\n".join(clean(line) for line in value.split("\n"))
    return cell(value)


def clean(text: str) -> str:
    """The text with whatever is no visible character written as in a Python literal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def moment(value: datetime) -> str:
    """A time in UTC, to the second: `2025-11-03 07:15:00Z`."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(value: object) -> object:
    """The value as JSON knows it; times in ISO 8601."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
