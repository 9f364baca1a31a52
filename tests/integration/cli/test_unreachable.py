"""Commands whose database cannot be reached: each says where, as whom, why, and what to do."""

from __future__ import annotations

import pytest
from psycopg.conninfo import make_conninfo
from tests.integration.cli.conftest import Run
from tests.kit.databases import Database

COMMANDS = ("list", "doctor", "migrate", "worker -A tests.kit.isolated_service:service", "up")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_port_a_wrong_login_and_a_wrong_database_are_told_apart(
    command: str, run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, why in (
        ({"port": 1}, "Connection refused; is PostgreSQL running there?"),
        ({"password": "canary"}, "password authentication failed for user"),
        ({"dbname": "nowhere"}, '"nowhere" does not exist; create the database, or name another'),
    ):
        monkeypatch.setenv("PERDURE_DSN", make_conninfo(database.dsn, **changes))
        said = run(*command.split(), code=1).err
        assert said.startswith("perdure: could not connect to 127.0.0.1:"), said
        assert why in said
        assert "canary" not in said
