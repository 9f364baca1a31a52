"""The rules of the house: each looks at one file and says what is wrong with it, line by line."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
FOLDERS = ("service", "migrations", "tests", "examples", "benchmarks")
Faults: TypeAlias = Iterator[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must hold for files of `files`; `but` names exceptions, each with its reason."""

    says: str
    files: tuple[str, ...]
    look: Callable[[str], Faults]
    bad: str
    but: Mapping[str, str] = field(default_factory=dict)

    def covers(self, path: str) -> bool:
        """Whether the rule is for this file."""
        wanted = any(fnmatch(path, pattern) for pattern in self.files)
        return wanted and not any(fnmatch(path, pattern) for pattern in self.but)


@cache
def sources() -> Mapping[str, str]:
    """Every Python and SQL file of ours, by its path in the tree."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".pyi", ".sql") and "node_modules" not in path.parts
    }


def without_comments(sql: str) -> str:
    """The SQL with comments blanked, and every line still where it was."""
    return re.sub(r"--.*", "", sql)


def lines_most(number: int) -> Callable[[str], Faults]:
    """At most `number` lines in the file."""

    def look(text: str) -> Faults:
        if (found := len(text.splitlines())) > number:
            yield f"1: {found} lines, at most {number}"

    return look


def function_lines_most(number: int) -> Callable[[str], Faults]:
    """At most `number` lines in each function, its decorators not counted."""

    def look(text: str) -> Faults:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found = (node.end_lineno or node.lineno) - node.lineno + 1
                if found > number:
                    yield f"{node.lineno}: {node.name} has {found} lines, at most {number}"

    return look


def opens_with_a_sentence(text: str) -> Faults:
    """The first line of the module's docstring is a sentence."""
    said = ast.get_docstring(ast.parse(text)) or ""
    first = said.partition("\n")[0]
    if not first.endswith((".", ":")) or first.count(" ") < 2:
        yield f"1: the file opens with {first!r}, not with a sentence"


def matches(pattern: str, instead: str, *, code: bool = True) -> Callable[[str], Faults]:
    """No match of `pattern`; comments of SQL do not count when `code`."""
    compiled = re.compile(pattern)

    def look(text: str) -> Faults:
        searched = without_comments(text) if code else text
        for match in compiled.finditer(searched):
            line = searched.count("\n", 0, match.start()) + 1
            yield f"{line}: {match[0].strip()!r}: {instead}"

    return look


_SQL = re.compile(
    r"\s*(select\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s"
    r"|copy\s+\S+[\s(]|(create|alter|drop|truncate)\s+(or|table|index|function|role|schema)\s"
    r"|(grant|revoke)\s+(select|\w+\s+on)\s)"
)


def no_sql_text(text: str) -> Faults:
    """No string but a docstring begins like a statement, in lower or in upper case."""
    tree = ast.parse(text)
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        value = node.value.lower() if node.value[:8].isupper() else node.value
        if id(node) not in said and _SQL.match(value):
            yield f"{node.lineno}: {node.value[:40]!r}: a statement is a file of store/sql"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def door(pattern: str, instead: str) -> Callable[[str], Faults]:
    """No name, attribute or import whose dotted name matches `pattern` as a whole."""
    compiled = re.compile(pattern)

    def named(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute | ast.Name):
            yield _dotted(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)

    def look(text: str) -> Faults:
        tree = ast.parse(text)
        turns = [
            node.func
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and [isinstance(a, ast.Constant) and a.value == 0 for a in node.args] == [True]
            and _dotted(node.func) == "asyncio.sleep"
        ]  # sleep(0) gives others a turn; it waits for nothing
        for node in ast.walk(tree):
            if node not in turns and any(compiled.fullmatch(name) for name in named(node)):
                yield f"{getattr(node, 'lineno', 1)}: {next(named(node))}: {instead}"

    return look


def no_wide_except(text: str) -> Faults:
    """Whoever catches everything raises it again at the end."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            caught = "everything" if node.type is None else _dotted(node.type)
            wide = caught in ("everything", "Exception", "BaseException")
            if wide and not isinstance(node.body[-1], ast.Raise):
                yield f"{node.lineno}: except {caught}: say which, or raise it again"


def no_late_import(text: str) -> Faults:
    """Imports stand at the top."""
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"{node.lineno}: an import inside {function.name}"


def one_statement(text: str) -> Faults:
    """A head comment of one to four lines, then one statement with a cast at every parameter."""
    lines = text.splitlines()
    head = next((at for at, line in enumerate(lines) if not line.startswith("--")), len(lines))
    if not 1 <= head <= 4:
        yield f"1: a head comment of {head} lines, not of one to four"
    code = without_comments(text)
    if ";" in code.rstrip():
        yield f"{code[: code.index(';')].count(chr(10)) + 1}: a semicolon: one statement in a file"
    for match in re.finditer(r"%\((\w+)\)s(?!\)?::)", code):
        yield f"{code.count(chr(10), 0, match.start()) + 1}: {match[1]} has no cast"
    bare = re.sub(r"'[^']*'|%\(\w+\)s", "", code)
    if bare != bare.lower():
        yield "1: a statement is written in lower case"


def time_in_a_comparison(text: str) -> Faults:
    """The clock is asked once per statement: a volatile function in a condition uses no index."""
    asked = re.compile(r"(?m)^(?!\s*(?:if|elsif)\b).*\w_at\s*[<>]=?\s*clock_timestamp\(\)")
    code = without_comments(text)
    for match in asked.finditer(code):
        yield f"{code.count(chr(10), 0, match.start()) + 1}: write (select clock_timestamp())"


def one_function(text: str) -> Faults:
    """A head comment, one function, and a search path of its own if it runs as its owner."""
    code = without_comments(text)
    if not text.startswith("--"):
        yield "1: no head comment"
    if len(re.findall(r"create (?:or replace )?function perdure\.\w+", code)) != 1:
        yield "1: not one function"
    if "security definer" in code and "pg_catalog, perdure, pg_temp" not in code:
        yield "1: security definer without `set search_path = pg_catalog, perdure, pg_temp`"
