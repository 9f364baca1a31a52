"""What is not needed is not loaded: a probe, a help text and an import must cost milliseconds."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import perdure

DRIVERS = {"psycopg", "psycopg_pool", "sqlalchemy", "alembic"}
HEAVY = DRIVERS | {"rich", "structlog", "perdure.settings"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after this code."""
    report = f"import sys, json\n{code}\nprint('\\n' + json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", report, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_importing_perdure_loads_nothing_else() -> None:
    more = loaded_by("import perdure") - loaded_by("import importlib")
    assert more == {"perdure"}


def test_a_command_is_helped_without_a_database_library_and_without_rich() -> None:
    for words in ([], ["--help"], ["worker", "--help"], ["nope"]):
        modules = loaded_by("from perdure.cli.main import main; main()", *words)
        assert not (modules | roots(modules)) & HEAVY, words


def test_a_probe_loads_the_standard_library_only() -> None:
    modules = loaded_by("from perdure.cli.health import check; check()")
    ours = {name for name in modules if name.startswith("perdure")}
    assert ours == {
        "perdure", "perdure.cli", "perdure.cli.health", "perdure.run", "perdure.run.pulse"
    }  # fmt: skip
    assert roots(modules) - sys.stdlib_module_names - {"perdure"} <= roots(loaded_by(""))
    assert "asyncio" not in modules


def test_a_worker_loads_rich_with_the_first_traceback_that_is_rendered_by_it() -> None:
    lean = "from perdure.run.lean import load_structlog; load_structlog()"
    assert "rich" not in roots(loaded_by(lean))
    child = "import perdure.run.isolated as i; i.load_structlog(); import perdure.run.child"
    assert "rich" not in roots(loaded_by(child))
    rendered = """
    import io, structlog
    text = io.StringIO()
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.rich_traceback)
    logger = structlog.wrap_logger(structlog.PrintLogger(text), processors=[renderer])
    try:
        1 / 0
    except ArithmeticError:
        logger.exception("told")
    assert "ZeroDivisionError" in text.getvalue() and "╭" in text.getvalue(), text.getvalue()
    """
    assert "rich.traceback" in loaded_by(lean + "\n" + dedent(rendered))


def test_lists_and_producers_do_without_what_they_do_not_use() -> None:
    commands = loaded_by("import perdure.cli.tasks, perdure.cli.admin")
    assert not roots(commands) & {"sqlalchemy", "alembic", "rich"}
    client = loaded_by("from perdure import TaskClient, SyncTaskClient, TaskKind")
    assert not roots(client) & {"sqlalchemy", "alembic", "structlog", "typer", "rich"}
    service = loaded_by("from perdure import TaskService")
    assert not roots(service) & {"sqlalchemy", "alembic", "typer"}


def test_every_public_name_is_where_the_table_and_the_stub_say() -> None:
    stub = ast.parse(Path(perdure.__file__).with_suffix(".pyi").read_text("utf-8"))
    told: dict[str, str] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name
                told[alias.name] = node.module or ""
    homes = {name: f"perdure.{home}" for name, home in vars(perdure)["_HOME_OF"].items()}
    assert told == homes
    assert set(vars(perdure)["__all__"]) == {*told, "__version__"}
    for name, home in told.items():
        assert getattr(perdure, name) is getattr(importlib.import_module(home), name)
    assert set(told) <= set(dir(perdure))


def test_every_error_is_public() -> None:
    from perdure import errors

    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PerdureError)
    }
    assert tree <= set(vars(perdure)["__all__"])


def test_a_name_that_does_not_exist_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="'perdure' has no attribute 'Tasks'"):
        getattr(perdure, "Tasks")  # noqa: B009  (a checker would object)
