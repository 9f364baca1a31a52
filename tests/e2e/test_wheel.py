"""The wheel holds all that a program needs, and runs outside the repository."""

from __future__ import annotations

import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tests.e2e.programs import environment, run
from tests.kit.house import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the tree, without an index."""
    folder = tmp_path_factory.mktemp("wheel")
    run(["hatchling", "build", "-t", "wheel", "-d", folder])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    run(["uv", "pip", "install", "--offline", "--no-deps", "--python", python, wheel], cwd=folder)
    (home,) = folder.glob("lib/python*/site-packages")
    # A plain path, so that the .pth of our own editable installation is not followed.
    (home / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return python


def told(python: Path, *arguments: str) -> str:
    """What the program in the empty environment prints."""
    done = subprocess.run(
        [python, *arguments],
        cwd=python.parents[1],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_statements_migrations_settings_and_types(wheel: Path) -> None:
    package = ROOT / "service/perdure"
    wanted = {
        f"perdure/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {
        path.relative_to(ROOT / "migrations").as_posix().join(("perdure/migrations/", ""))
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {"perdure/config/perdure.toml", "perdure/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted


def test_the_installed_package_is_that_of_the_wheel(python: Path) -> None:
    home = told(python, "-c", "import perdure; print(perdure.__file__)")
    assert Path(home).is_relative_to(python.parents[1])
    assert str(ROOT) not in home
    assert sys.prefix not in home


def test_the_installed_program_says_its_version_and_the_sql_of_its_schema(python: Path) -> None:
    program = str(python.with_name("perdure"))
    assert told(python, program, "--version") == "perdure 0.1.0\n"
    sql = told(python, program, "migrate", "--sql")
    assert sql.count("create function") > 50
    assert '"perdure".tasks' in sql or "perdure.tasks" in sql
