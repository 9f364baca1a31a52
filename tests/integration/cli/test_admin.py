"""queues, pause, resume, workers, migrate, grant: for whoever keeps an installation."""

from __future__ import annotations

import pytest
from tests.integration.cli.conftest import Run
from tests.kit import by_hand
from tests.kit.databases import Database
from tests.kit.logins import as_login, new_login


def add_worker(
    database: Database, name: str, *, silent: bool = False, problem: str | None = None
) -> None:
    database.execute(
        """
        insert into perdure.workers
            (id, name, host, pid, version, heartbeat_at, lease_seconds, names, problem)
        values (%(id)s, %(name)s, 'here', 1, '0',
            clock_timestamp() - make_interval(hours => %(hours)s), 10, '{a}', %(problem)s)
        """,
        {"id": len(name), "name": name, "hours": 1 if silent else 0, "problem": problem},
    )


def test_queues_are_listed_paused_and_resumed(run: Run) -> None:
    assert run("queues").out == "no queue has been used yet\n"
    run("enqueue", "a", "--queue", "imports")
    assert run("pause", "imports").out == "queue imports paused\n"
    assert run("pause", "imports").out == "queue imports already paused\n"
    assert run("queues").out.splitlines()[1].split()[-1] == "paused"
    (queue,) = run("queues", "--json").json
    assert (queue["queue"], queue["ready"], queue["paused"]) == ("imports", 1, True)
    assert "paused" in run("list").out
    assert run("resume", "imports").out == "queue imports resumed\n"
    assert run("resume", "imports").out == "queue imports not paused\n"
    assert run("pause", "*", "--stop-running").out == "queue * paused\n"
    assert run("pause", "", code=2).out == ""


def test_bounds_of_a_queue_are_set_shown_and_taken_away(run: Run) -> None:
    said = run("set-queue", "imports", "--max-depth", "500").out.splitlines()
    assert said == ["queue imports: max depth 500", "nobody has used queue 'imports' yet"]
    assert run("set-queue", "imports", "--concurrency", "4").out == "queue imports: concurrency 4\n"
    heads, row = run("queues").out.splitlines()
    assert heads.split()[-5:] == ["MAX", "DEPTH", "PER", "WORKER", "STATE"]
    assert row.split()[-3:] == ["500", "4", "open"]
    both = ("set-queue", "imports", "--max-depth", "none", "--concurrency", 4)
    assert run(*both).out == "queue imports: max depth none, concurrency 4\n"
    assert run(*both[:4], "--json").json == {
        "queue": "imports", "answer": "set", "max_depth": None, "known": True, "near": [],
    }  # fmt: skip
    (queue,) = run("queues", "--json").json
    assert (queue["max_depth"], queue["concurrency"]) == (None, 4)
    assert "1 or more, or none" in run("set-queue", "imports", "--concurrency", "0", code=2).err
    assert "0 or more, or none" in run("set-queue", "imports", "--max-depth", "-1", code=2).err
    assert "give --max-depth, --concurrency or both" in run("set-queue", "imports", code=2).err
    assert "not of *" in run("set-queue", "*", "--max-depth", 1, code=2).err


def test_a_name_that_nobody_uses_works_and_is_said_to_be_so(run: Run, database: Database) -> None:
    run("enqueue", "a", "--queue", "imports", "--requires", "float")
    run("enqueue", "a", "--queue", "slow", "--requires", "gpu", "--delay", "1h")
    assert run("pause", "slow").out == "queue slow paused\n"
    assert run("set-constraint", "gpu", "on").out == "constraint gpu on (changed)\n"
    said = run("pause", "improts").out.splitlines()
    assert said == [
        "queue improts paused",
        "nobody has used queue 'improts' yet: did you mean 'imports'?",
    ]
    assert run("pause", "improts").out == "queue improts already paused\n"
    assert run("resume", "zzz").out.splitlines()[1] == "nobody has used queue 'zzz' yet"
    said = run("set-constraint", "flaot", "on").out.splitlines()
    assert said[1] == "nobody requires or declares 'flaot' yet: did you mean 'float'?"
    assert run("set-constraint", "float", "on").out == "constraint float on (changed)\n"
    assert run("set-constraint", "flot", "on", "--json").json == {
        "constraint": "flot", "answer": "changed", "known": False, "near": ["float", "flaot"],
    }  # fmt: skip
    assert run("pause", "imports", "--json").json == {
        "queue": "imports", "answer": "paused", "known": True, "near": [],
    }  # fmt: skip
    assert run("resume", "imports", "--json").json["answer"] == "resumed"
    assert run("set-queue", "new", "--max-depth", 5, "--json").json["known"] is False
    assert run("set-queue", "new", "--max-depth", 5, "--json").json["known"] is True


def test_a_task_of_a_name_like_one_that_workers_have_may_be_a_typo(
    run: Run, database: Database
) -> None:
    assert run("enqueue", "mail.send").out == "task 1 created\n"
    declared = '[{"name": "mail.send", "queue": "default", "priority": 5}]'
    database.execute("select perdure.register_types(%s::jsonb)", [declared])
    meant = "no worker has declared 'mail.sned' yet: did you mean 'mail.send'?"
    assert run("enqueue", "mail.sned").out.splitlines() == ["task 2 created", meant]
    put = ("schedules", "put", "s", "mail.sned", "--every", "1h")
    assert run(*put, "--dry-run").out.splitlines()[-1] == meant
    assert run(*put).out.splitlines() == ["schedule s created", meant]
    assert run("enqueue", "report").out == "task 3 created\n"
    assert run("enqueue", "mail.send", "--json").json == {
        "id": 4, "answer": "created", "known": True, "near": [],
    }  # fmt: skip


def test_what_a_definition_a_worker_or_a_schedule_names_is_known(
    run: Run, database: Database
) -> None:
    database.execute(
        "insert into perdure.task_types (name, queue, requires) values ('a', 'of.a', '{of.a}')"
    )
    by_hand.worker(database)
    database.execute("update perdure.workers set queues = '{of.w}', satisfied = '{of.w}'")
    run("schedules", "put", "s", "a", "--every", "1h", "--queue", "of.s", "--requires", "of.s")
    for name in ("of.a", "of.w", "of.s"):
        assert run("pause", name).out == f"queue {name} paused\n"
        assert run("set-constraint", name, "on").out == f"constraint {name} on (changed)\n"


def test_workers_are_listed_with_what_is_wrong(run: Run, database: Database) -> None:
    assert run("workers").out == "no worker runs\n"
    add_worker(database, "one")
    add_worker(database, "second", silent=True, problem="reload refused")
    lines = run("workers").out.splitlines()
    assert lines[1].split()[1:3] == ["one", "alive"]
    assert lines[2].split()[1:3] == ["second", "dead"]
    assert lines[2].endswith("reload refused")
    assert [worker["alive"] for worker in run("workers", "--json").json] == [True, False]


def test_a_schema_is_made_once_and_its_sql_can_be_read(
    run: Run, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DSN", empty_database.dsn)
    assert "perdure migrate" in run("list", code=78).err
    monkeypatch.setenv("PERDURE_LIMITS__METADATA_BYTES", "4KiB")
    assert "was not there, is now at revision" in run("migrate", "--schema", "Other One").out
    assert "already was at revision" in run("migrate", "--schema", "Other One").out
    run("enqueue", "a", "--schema", "Other One")
    limit = "select value::text from \"Other One\".settings where key = 'metadata_bytes'"
    assert empty_database.value(limit) == "4096"
    assert "no-such" in run("migrate", "--to", "no-such", code=78).err
    monkeypatch.delenv("PERDURE_DSN")
    assert 'create table "Mine".tasks' in run("migrate", "--sql", "--schema", "Mine").out


def test_a_login_gets_the_rights_of_its_role_and_no_more(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_login(database.dsn) as login:
        said = run("grant", "reader", login).out
        assert said.startswith(f"login {login} is a reader of schema perdure\n")
        assert "alter role" in said
        run("enqueue", "a")
        assert "no login" in run("grant", "reader", "nobody here", code=2).err
        monkeypatch.setenv("PERDURE_DSN", as_login(database.dsn, login))
        assert len(run("list", "--json").json) == 1
        assert "perdure grant" in run("cancel", 1, code=1).err


def test_an_operator_is_called_one(run: Run, database: Database) -> None:
    with new_login(database.dsn) as login:
        said = run("grant", "operator", login).out
        assert said.startswith(f"login {login} is an operator of schema perdure\n")


def test_a_worker_is_drained_by_its_id(run: Run, database: Database) -> None:
    worker = by_hand.worker(database)
    assert run("workers", "drain", worker).out == f"worker {worker} draining\n"
    assert run("workers", "drain", worker).out == f"worker {worker} already draining\n"
    assert "draining" in run("workers").out
    assert "there is no worker 1" in run("workers", "drain", 1, code=1).err
    assert "drain" in run("workers", "--help").out
