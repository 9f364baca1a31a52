"""What the page on production says of logins: each role can do its share, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from tests.e2e.programs import blocks, run
from tests.kit.databases import Database
from tests.kit.house import ROOT
from tests.kit.logins import as_login, new_login

from perdure.cli.main import main

PAGE = ROOT / "docs/howto/run-in-production.md"
PAGES = ROOT / "examples/pages"
REFUSED = "`perdure grant` gives a login its rights"


class Perdure(Protocol):
    """A command of a role, its words, and the code that it has to exit with."""

    def __call__(self, role: str, *words: str, code: int = 0) -> str: ...


@pytest.fixture
def dsn(empty_database: Database) -> Iterator[dict[str, str]]:
    """Where each role connects to, once the commands of the page have made the schema."""
    database = empty_database
    with ExitStack() as stack:
        owner = stack.enter_context(new_login(database.dsn, "owner"))
        database.execute(f'grant create on database {database.name} to "{owner}"')
        found = {"owner": as_login(database.dsn, owner)}
        (commands,) = (block for block in blocks(PAGE, "sh") if "perdure grant" in block)
        for command in re.findall(r"(?m)^perdure ([^#\n]+)", commands):
            match command.split():
                case ["grant", role, _]:
                    login = stack.enter_context(new_login(database.dsn, role))
                    found[role] = as_login(database.dsn, login)
                    run(["perdure", "grant", role, login], dsn=found["owner"])
                case words:
                    run(["perdure", *words], dsn=found["owner"])
        yield found


@pytest.fixture
def perdure(
    dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Perdure:
    """Runs a command as one of the roles, in this process: what it says."""
    monkeypatch.setenv("NO_COLOR", "1")

    def ran(role: str, *words: str, code: int = 0) -> str:
        monkeypatch.setenv("PERDURE_DSN", dsn[role])
        capsys.readouterr()
        found = main(words)
        output, errors = capsys.readouterr()
        assert found == code, errors
        return output + errors

    return ran


def test_each_login_can_do_what_its_role_is_for(
    perdure: Perdure, dsn: dict[str, str], empty_database: Database
) -> None:
    perdure("producer", "enqueue", "catalogue.import", "--metadata", '{"pages": 0}')
    assert "pending" in perdure("producer", "show", "1")
    assert REFUSED in perdure("producer", "list", code=1)

    assert "pending" in perdure("reader", "list", "--state", "active")
    perdure("reader", "queues")
    assert REFUSED in perdure("reader", "show", "1", code=1)

    perdure("operator", "pause", "*")
    perdure("operator", "resume", "*")
    perdure("operator", "workers")
    assert REFUSED in perdure("reader", "workers", code=1)

    run(["perdure", "worker", "-A", "service:service", "--burst"], dsn=dsn["worker"], cwd=PAGES)
    assert "completed" in perdure("operator", "show", "1")
    assert REFUSED in perdure("worker", "pause", "*", code=1)
    told = run(["perdure", "doctor"], dsn=dsn["worker"], cwd=PAGES)
    assert told.count("unknown") == 1
    assert 'grant pg_read_all_stats to "worker-' in told
    empty_database.check_drained()
