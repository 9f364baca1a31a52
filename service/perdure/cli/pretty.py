"""Tables, records and bars on a terminal; the only file that loads rich."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, TextIO

from rich import box
from rich.console import Console, JustifyMethod
from rich.highlighter import JSONHighlighter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

SHORT_CHARACTERS: Final = 24
"""A column whose cells are no wider is never folded: long texts and lists make room for it."""
GAP_CHARACTERS: Final = 3
# A cell that is one of these words is painted.
_STYLES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("completed", "created", "ok", "alive"), "green")
    | dict.fromkeys(("failed", "failure", "crash", "problem", "dead"), "bold red")
    | dict.fromkeys(("running", "retried", "proceeded"), "cyan")
    | dict.fromkeys(("retrying", "interruption", "warning", "paused", "stopping"), "yellow")
    | dict.fromkeys(("suspended", "suspension", "blocked", "scheduled"), "magenta")
    | dict.fromkeys(("cancelled", "unknown", "default", "-"), "dim")
)


def table(
    stream: TextIO,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[int],
) -> None:
    """Print rows below headers; the columns numbered in `right` are aligned right."""
    shown = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    least = 0
    for i, header in enumerate(headers):
        justify: JustifyMethod = "right" if i in right else "left"
        width = max(len(header), *(len(row[i]) for row in rows))
        short = width <= SHORT_CHARACTERS
        shown.add_column(Text(header), justify=justify, overflow="fold", no_wrap=short)
        least += (width if short else SHORT_CHARACTERS) + GAP_CHARACTERS
    for row in rows:
        shown.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in row))
    console = _console(stream)
    # On a narrow terminal lines wrap; nothing is cut off.
    console.width = max(console.width, least)
    console.print(shown)


def record(stream: TextIO, title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values under a title."""
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    highlight = JSONHighlighter()
    for name, text in pairs:
        painted = Text(text, style=_STYLES.get(text, ""))
        if text.startswith("{"):
            highlight.highlight(painted)
        shown.add_row(Text(name), painted)
    console = _console(stream)
    console.print(Text(title, style="bold"))
    console.print(shown)


@contextmanager
def following(what: str) -> Iterator[Callable[[object], None]]:
    """A bar on standard error, for a task's progress."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(what, total=None)

        def show(progress: object) -> None:
            if not isinstance(progress, Mapping):
                return
            done, total, message = (progress.get(key) for key in ("done", "total", "message"))
            bar.update(
                shown,
                completed=done if isinstance(done, int | float) else 0,
                total=total if isinstance(total, int | float) else None,
                description=f"{what}: {_one_line(message)}" if message else what,
            )

        yield show


def _one_line(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, emoji=False, markup=False)
