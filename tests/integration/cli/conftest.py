"""Commands in this process on the test's database, and factories that stand in for a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from tests.kit.databases import Database

from perdure.cli.main import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Run(Protocol):
    def __call__(self, *words: object, code: int = 0) -> Said: ...


@pytest.fixture
def run(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command; it must exit with `code`, and say why on one line where that is not 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERDURE_DSN", database.dsn)

    def ran(*words: object, code: int = 0) -> Said:
        capsys.readouterr()
        found = main([str(word) for word in words])
        said = Said(found, *capsys.readouterr())
        assert said.code == code, said
        assert (said.err.count("\n") == 1) == (code != 0), said
        return said

    return ran


@pytest.fixture
def end(database: Database) -> Callable[..., None]:
    """Ends a task that is ready, as a worker would."""

    def ended(
        task_id: int, state: str = "completed", *, result: Any = None, error: Any = None
    ) -> None:
        texts = [None if value is None else json.dumps(value) for value in (result, error)]
        moved = database.execute(
            """
            with taken as (delete from perdure.ready where task_id = %s::bigint returning task_id)
            insert into perdure.outcomes (task_id, attempt, state, kind, started_at, result, error)
            select task_id, 1, %s::text, case %s::text when 'failed' then 'exhausted' end,
                clock_timestamp(), %s::jsonb, %s::jsonb
            from taken
            """,
            [task_id, state, state, *texts],
        )
        assert moved == 1, f"task {task_id} is not ready"

    return ended
