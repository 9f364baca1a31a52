"""The pages of docs/reference, made from the code, and the conformance list, made from the tests:
`python -m tests.reference` writes them."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import typer
from tests.conformance import statements
from tests.kit.house import ROOT
from tests.reference_python import python

from perdure import errors
from perdure.cli.commands import app
from perdure.declare.listeners import EVENTS as FOR_LISTENERS
from perdure.run.events import EVENTS
from perdure.run.logs import LEVELS
from perdure.settings import KEYS, RELOADABLE
from perdure.settings.keys import GROUPS, show_value
from perdure.tasks.places import _STATE_OF_WAITING, MOVES

FOLDER: Final = ROOT / "docs/reference"
SCHEMA: Final = ROOT / "migrations/sql"
NOTE: Final = "<!-- Made by `python -m tests.reference`: change the code, not this file. -->"
OF_CONTEXTS: Final = {"fence", "checkpoint", "complete", "joined", "misplaced", "repair"}
"""Functions that handlers, views and `doctor` call as who they are: granted, but not for people."""
NOT_YET: Final = re.compile(r".*scope")
"""Words that the code has for what no task can come to yet."""
COUNTERS: Final = ("failures", "interruptions", "crashes")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def sentence(thing: type) -> str:
    """The docstring of a class, on one line."""
    return " ".join(inspect.cleandoc(thing.__doc__ or "").split())


def settings() -> Iterator[str]:
    """Every key, its default and bounds; [perdure.toml](../../config/perdure.toml) says the same.

    `perdure config show` prints the values in force and where each came from. The first of these
    wins: command line, environment, `*_FILE` (a path instead of the value), `.env`, the TOML file,
    the builder's `configure_*`, the default. The variable of `execution.concurrency` is
    `PERDURE_EXECUTION__CONCURRENCY`. Without `PERDURE_DSN` there are `DATABASE_URL` and libpq's
    `PG*`. SIGHUP applies changes, but not of keys with a `*`: those need a restart.
    """
    for group in ("", *GROUPS):
        if group:
            yield from (f"## [{group}]", "", sentence(GROUPS[group]), "")
        rows = [
            (f"`{name.rpartition('.')[2]}`{'' if name in RELOADABLE else ' *'}",
             f"`{show_value(name, key.default)}`", key.sentence, key.allowed)
            for name, key in KEYS.items() if name.rpartition(".")[0] == group
        ]  # fmt: skip
        yield from table(("key", "default", "what it is", "allowed"), rows)


def granted(folder: str) -> Iterator[tuple[str, str, str]]:
    """Each function or view that people may use: name, roles, the text of its file."""
    rights = (ROOT / "tests/integration/privileges.txt").read_text("utf-8")
    for name, said in re.findall(r"(?m)^(?:function|relation) (\w+): (.+)$", rights):
        roles = re.findall(r"(\w+) (?:execute|select)", said)
        file = SCHEMA / f"{folder}/{name}.1.sql"
        if set(roles) - {"worker"} and name not in OF_CONTEXTS and file.exists():
            yield name, ", ".join(roles), file.read_text("utf-8")


def sql() -> Iterator[str]:
    """Public functions and views; [enqueue from SQL](../howto/enqueue-from-sql.md) has examples.

    A call is part of the caller's transaction. `perdure grant ROLE LOGIN` gives a login the rights
    of a role.
    """
    for folder in ("functions", "views"):
        yield from (f"## {folder.capitalize()}", "")
        for name, roles, text in granted(folder):
            head, _, body = text.partition("\ncreate ")
            comment = " ".join(line.removeprefix("--").strip() for line in head.splitlines())
            yield from (f"### {name}", "", comment, "", f"For {roles}.", "")
            if signature := re.match(r"function (.*?)\s+language ", body, re.DOTALL):
                yield from ("```text", signature[1], "```", "")


def commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Each command, with all the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{before} {name}", command
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def options(command: Any) -> Iterator[str]:
    """The table of what a command takes; nothing if it takes nothing."""
    rows = []
    for one in command.params:
        words = [] if one.param_type_name == "argument" else [", ".join(one.opts)]
        if not getattr(one, "hidden", False):
            rows.append((f"`{' '.join([*words, one.metavar or '']).strip()}`", one.help or ""))
    if rows:
        yield from table(("argument or option", "meaning"), rows)


def cli() -> Iterator[str]:
    """Every command, with its arguments and options.

    Exit codes: 0 done, 1 it failed, 2 wrong usage, 78 wrong configuration. One line on standard
    error says why. A command that changes something exits with 0 if all that it names is then as it
    was asked to be, also if it was so before, and with 1 if anything is not, or is not there.

    The first three of these may stand before or behind a command:
    """
    group = typer.main.get_command(app)
    yield from options(group)
    for words, command in commands(group, "perdure"):
        yield from (f"## {words}", "", command.help, "")
        yield from options(command)


def error_tree() -> Iterator[str]:
    """What Perdure raises on purpose: one tree.

    A message says what was wrong, with which value, and what to do. SQL functions raise with the
    SQLSTATE and a HINT; Python clients turn it into the class.
    """
    states: dict[type, str] = {kind: state for state, kind in errors.BY_SQLSTATE.items()}
    found = [x for x in vars(errors).values() if inspect.isclass(x) and issubclass(x, Exception)]
    rows = [
        (f"`{x.__name__}`", f"`{x.__bases__[0].__name__}`", states.get(x, ""), sentence(x))
        for x in found
    ]
    yield from table(("error", "is a", "SQLSTATE", "when"), rows)


def events() -> Iterator[str]:
    """What has happened in a worker, told by that process, once it is durable.

    It is told as log lines, which have the fields, and to functions that are given to
    `builder.on(name, function)`, which takes the names with a `*`.
    """
    rows = [
        (", ".join(f"`{name}`{' *' if name in FOR_LISTENERS else ''}" for name in kind.names),
         ", ".join(logging.getLevelName(LEVELS[name]).lower() for name in kind.names),
         ", ".join(f"`{field.name}`" for field in fields(kind)), sentence(kind))
        for kind in EVENTS
    ]  # fmt: skip
    yield from table(("event", "level", "fields", "meaning"), rows)


def states() -> Iterator[str]:
    """A task is in exactly one place, and its state follows from that.

    Reasons are in `reason` of `perdure.task(id)`, the kind of an end in its `error`.
    """
    waiting = [
        ("waiting", why, x) for why, x in _STATE_OF_WAITING.items() if not NOT_YET.match(why)
    ]
    ends = [("ended", "", state) for state in ("completed", "failed", "cancelled")]
    places = [("ready", "", "pending"), ("running", "", "running"), *waiting, *ends]
    yield from table(("place", "reason", "state"), places)
    yield from (
        "## Moves",
        "",
        "Everything that may happen to a task. `run` is the kind of the row that it",
    )
    yield from ("leaves in the history, besides its start; the counters grow by one.", "")
    moves = []
    for row in MOVES:
        words = [word for word in row.words if not NOT_YET.match(word)]
        counts = ", ".join(name for name in COUNTERS if getattr(row, name))
        if words or not row.words:
            origins = ", ".join(row.origins)
            moves.append((row.event, origins, row.place, ", ".join(words), row.run or "", counts))
    yield from table(("move", "from", "to", "marked", "run", "counts"), moves)


PAGES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "python": python, "settings": settings, "sql": sql, "cli": cli, "errors": error_tree,
    "events": events, "states": states,
}  # fmt: skip


def page(name: str) -> str:
    """The whole text of a page; what it opens with is the docstring of its function."""
    title = {"sql": "SQL", "cli": "Command line"}.get(name, name.capitalize())
    opening = inspect.getdoc(PAGES[name]) or ""
    return "\n".join((f"# {title}", "", NOTE, "", opening, "", *PAGES[name]())).rstrip("\n") + "\n"


if __name__ == "__main__":
    for wanted in PAGES:
        (FOLDER / f"{wanted}.md").write_text(page(wanted), "utf-8")
    statements.PAGE.write_text(statements.page(), "utf-8")
