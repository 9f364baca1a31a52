"""What the page on production says of logins: each role can do its share, and no more."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.e2e.programs import PROGRAMS, blocks, environment, run
from tests.kit.databases import Database
from tests.kit.house import ROOT
from tests.kit.logins import as_login, new_login

PAGE = ROOT / "docs/howto/run-in-production.md"
PAGES = ROOT / "examples/pages"
REFUSED = "`perdure grant` gives a login its rights"


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


def refused(dsn: str, *words: str) -> bool:
    """Whether a command fails because the login has no right."""
    done = subprocess.run(
        [PROGRAMS / "perdure", *words],
        env=environment(dsn),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 1 and REFUSED in done.stderr


def test_each_login_can_do_what_its_role_is_for(
    dsn: dict[str, str], empty_database: Database
) -> None:
    def perdure(role: str, *words: str) -> str:
        return run(["perdure", *words], dsn=dsn[role], cwd=PAGES)

    perdure("producer", "enqueue", "catalogue.import", "--metadata", '{"pages": 0}')
    assert "pending" in perdure("producer", "show", "1")
    assert refused(dsn["producer"], "list")

    assert "pending" in perdure("reader", "list", "--state", "active")
    perdure("reader", "queues")
    assert refused(dsn["reader"], "show", "1")

    perdure("operator", "pause", "*")
    perdure("operator", "resume", "*")
    perdure("operator", "workers")
    assert refused(dsn["reader"], "workers")

    perdure("worker", "worker", "-A", "service:service", "--burst")
    assert "completed" in perdure("operator", "show", "1")
    assert refused(dsn["worker"], "pause", "*")
    told = perdure("worker", "doctor")
    assert told.count("unknown") == 1
    assert 'grant pg_read_all_stats to "worker-' in told
    empty_database.check_drained()
