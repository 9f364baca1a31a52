"""enqueue, wait, list, show, cancel, retry, proceed: as people and as programs type them."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run
from tests.kit.databases import Database

End = Callable[..., None]


def test_a_task_is_enqueued_with_all_that_can_be_said(run: Run, database: Database) -> None:
    said = run(
        "enqueue", "import", "--metadata", '{"url": "a"}', "--queue", "slow", "--priority", 2,
        "--tag", "nightly", "--tag", "x", "--unique-key", "k", "--delay", "5m",
        "--headers", '{"traceparent": "00"}', "--max-retries", -1, "--retry-delay", "1s",
        "--retry-delay", "2m",
    )  # fmt: skip
    assert said.out == "task 1 created\n"
    columns = (
        "name, metadata, queue, priority, tags, unique_key, headers, max_retries, retry_delays"
    )
    assert database.rows(f"select {columns} from perdure.tasks") == [
        (
            "import",
            {"url": "a"},
            "slow",
            2,
            ["nightly", "x"],
            "k",
            {"traceparent": "00"},
            -1,
            [1, 120],
        )
    ]
    assert run("enqueue", "import", "--unique-key", "k", "--json").json == {
        "id": 1, "answer": "kept", "known": False, "near": [],
    }  # fmt: skip
    assert run("show", 1, "--json").json["state"] == "scheduled"
    debounced = ("enqueue", "b", "--unique-key", "b", "--unique-policy", "update", "--delay", "9h",
                 "--max-delay", "1h", "--unique-for", "2h")  # fmt: skip
    assert run(*debounced).out == "task 3 created\n"
    assert run(*debounced).out == "task 3 updated\n"
    assert database.value("select held_for::text from perdure.unique_keys where task_id = 3") == (
        "02:00:00"
    )
    soon = "select due_at < clock_timestamp() + interval '61 min' from perdure.task_states"
    assert database.rows(f"{soon} where id = 3") == [(True,)]


def test_metadata_come_from_a_file_or_from_standard_input(
    run: Run, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metadata.json").write_text('{"from": "file"}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "input"}'))
    run("enqueue", "a", "--metadata", "@metadata.json")
    run("enqueue", "a", "--metadata", "-")
    found = database.rows("select metadata ->> 'from' from perdure.tasks order by id")
    assert found == [("file",), ("input",)]


def test_what_the_database_refuses_is_wrong_usage(run: Run) -> None:
    assert "name" in run("enqueue", "no spaces", code=2).err
    assert "nan" in run("enqueue", "a", "--metadata", '{"x": NaN}', code=2).err
    assert "zone" in run("enqueue", "a", "--run-at", "2030-01-01T00:00:00", code=2).err


def test_a_key_and_a_queue_that_are_taken_are_told_in_words_of_the_command_line(run: Run) -> None:
    run("enqueue", "a", "--unique-key", "k")
    rejected = run("enqueue", "a", "--unique-key", "k", "--unique-policy", "reject", code=1).err
    assert "--unique-key is held by task 1 (hint: another --unique-policy says" in rejected
    run("set-queue", "default", "--max-depth", 1)
    assert "raise it with `perdure set-queue`" in run("enqueue", "a", code=1).err


def test_waiting_prints_the_result_as_json(run: Run, end: End) -> None:
    run("enqueue", "a")
    end(1, result={"rows": 5})
    assert run("wait", 1).json == {"rows": 5}
    assert run("wait", 1, "--json").json == {
        "id": 1, "name": "a", "state": "completed", "result": {"rows": 5}, "error": None
    }  # fmt: skip


def test_waiting_goes_on_until_the_task_ends(run: Run, database: Database, end: End) -> None:
    """It is seen to wait by its session's statements, then the task is ended from a thread."""
    run("enqueue", "a")

    def end_when_somebody_looks() -> None:
        asked = (
            "select 1 from pg_stat_activity where query like '%perdure.task(%'"
            " and pid <> pg_backend_pid() and datname = "
        )
        while not database.rows(asked.replace("%", "%%") + "%s::text", [database.name]):
            pass
        end(1, result=7)

    thread = threading.Thread(target=end_when_somebody_looks)
    thread.start()
    assert run("wait", 1, "--timeout", "60s").json == 7
    thread.join()


def test_waiting_for_a_task_that_fails_exits_with_1(run: Run, end: End) -> None:
    for _ in range(2):
        run("enqueue", "a")
    end(1, "failed", error={"kind": "exhausted", "message": "no\nluck"})
    end(2, "cancelled", error={"kind": "requested"})
    assert run("wait", 1, code=1).err == "perdure: task 1 failed (exhausted): no\\nluck\n"
    failed = run("wait", 1, "--json", code=1)
    assert failed.json["error"]["message"] == "no\nluck"
    assert "cancelled" in run("wait", 2, code=1).err


def test_waiting_ends_with_the_timeout_and_the_task_is_left_alone(run: Run) -> None:
    run("enqueue", "a")
    assert "has not ended" in run("wait", 1, "--timeout", "50ms", code=1).err
    assert run("show", 1, "--json").json["state"] == "pending"
    assert "no task 99" in run("wait", 99, code=1).err


def test_tasks_are_listed_by_filters_and_page_by_page(run: Run, end: End) -> None:
    for name in ("a", "b", "a"):
        run("enqueue", name, "--tag", f"t{name}")
    end(3)
    assert [task["id"] for task in run("list", "--json").json] == [3, 2, 1]
    assert [task["id"] for task in run("list", "--name", "a", "--json").json] == [3, 1]
    assert [task["id"] for task in run("list", "--tag", "tb", "--json").json] == [2]
    assert [task["id"] for task in run("list", "--state", "active", "--json").json] == [2, 1]
    first = run("list", "--limit", 2).out.splitlines()
    assert first[0].split()[:3] == ["ID", "NAME", "STATE"]
    assert first[-1] == "there are more: --after 2"
    assert run("list", "--limit", 2, "--after", 2).out.splitlines()[1].split()[:2] == ["1", "a"]
    assert run("list", "--name", "c").out == "no task matches\n"
    assert run("list", "--name", "c", "--json").json == []
    assert "loud" in run("list", "--state", "loud", code=2).err


def test_a_task_is_shown_with_its_history_and_without_secrets(run: Run, end: End) -> None:
    run("enqueue", "a", "--metadata", '{"password": "hunter2", "page_token": "p7"}')
    end(1, "failed", error={"kind": "exhausted", "message": "m", "traceback": "File\n  line"})
    shown = run("show", 1).out
    assert "hunter2" not in shown
    assert "p7" in shown
    assert "created" in shown
    assert "File\n" in shown
    document = run("show", 1, "--json").json
    assert document["metadata"] == {"password": "***", "page_token": "p7"}
    assert [entry["event"] for entry in document["history"]] == ["created", "started", "failed"]
    assert run("show", 1, "--json", "--reveal").json["metadata"]["password"] == "hunter2"
    assert "no task 99" in run("show", 99, code=1).err


def test_a_state_machines_task_is_shown_with_the_states_that_it_has_come_to(
    run: Run, database: Database
) -> None:
    steps = {"states passed": [[1, "Placed"], [1, "Waiting"], [2, "Paid"]], "mail": None}
    run("enqueue", "order.fulfil")
    database.execute(
        "insert into perdure.progress (task_id, steps) values (1, %s::jsonb)", [json.dumps(steps)]
    )
    shown = run("show", 1).out
    assert re.search(r"^states +run 1: Placed, Waiting\n +run 2: Paid$", shown, re.MULTILINE)
    assert re.search(r"^steps +mail: done, 4 bytes\n\w", shown, re.MULTILINE)
    assert run("show", 1, "--json").json["steps"] == steps


def test_a_task_is_shown_with_the_steps_that_are_done(run: Run, database: Database) -> None:
    steps = {"charge": {"cents": 990, "token": "hunter2"}, "post\nit": None}
    run("enqueue", "a")
    assert "steps" not in run("show", 1).out
    database.execute(
        "insert into perdure.progress (task_id, steps) values (1, %s::jsonb)", [json.dumps(steps)]
    )
    shown = run("show", 1).out
    assert re.search(r"^steps +charge: done, 31 bytes$", shown, re.MULTILINE)
    assert re.search(r"^ +post\\nit: done, 4 bytes$", shown, re.MULTILINE)
    assert "hunter2" not in shown
    masked = {"charge": {"cents": 990, "token": "***"}, "post\nit": None}
    assert run("show", 1, "--json").json["steps"] == masked
    assert run("show", 1, "--json", "--reveal").json["steps"] == steps


TRACE = 'Traceback (most recent call last):\n  File "shop.py", line 7\nValueError: no page\n'


def test_an_error_is_shown_as_type_and_message_and_its_traceback_as_lines(
    run: Run, end: End, database: Database
) -> None:
    thrown = {"type": "ValueError", "message": "no page; password=hunter2", "traceback": TRACE}
    run("enqueue", "a")
    end(1, "failed", error={"kind": "exhausted", **thrown, "error": None})
    shown = run("show", 1).out
    assert re.search(r"^error +ValueError: no page; password=\*\*\*$", shown, re.MULTILINE)
    assert re.search(r'^traceback +Traceback .*\n +File "shop.py", line 7\n', shown, re.MULTILINE)
    assert "hunter2" in run("show", 1, "--reveal").out
    run("enqueue", "a")
    end(2, "failed", error={"kind": "given_up", "error": {"reason": "closed"}})
    assert re.search(r'^error +{"reason": "closed"}$', run("show", 2).out, re.MULTILINE)


def test_a_failed_run_of_a_live_task_is_one_readable_line_and_the_last_error(
    run: Run, database: Database
) -> None:
    run("enqueue", "a")
    record = {"kind": "failure", "type": "ValueError", "message": "no page", "traceback": TRACE}
    database.execute(
        "insert into perdure.attempts (task_id, attempt, started_at, ended_at, kind, error)"
        " values (1, 1, clock_timestamp(), clock_timestamp(), 'failure', %s::jsonb)",
        [json.dumps(record)],
    )
    shown = run("show", 1).out
    (line,) = (line for line in shown.splitlines() if "  failure  " in line)
    assert re.search(r"  ValueError: no page$", line)
    assert not re.search(r"^ +$", shown, re.MULTILINE)
    assert re.search(r"^last error +ValueError: no page$", shown, re.MULTILINE)
    assert re.search(r'^ +File "shop.py", line 7$', shown, re.MULTILINE)


def test_cancel_and_retry_say_what_became_of_each_task(run: Run) -> None:
    for _ in range(2):
        run("enqueue", "a")
    assert run("cancel", 1, 2).out == "task 1 cancelled\ntask 2 cancelled\n"
    said = run("cancel", 1, 99, code=1)
    assert said.out == "task 1 ended (cancelled)\ntask 99 not_found\n"
    assert said.err == "perdure: nothing was done to task 99: not_found\n"
    assert run("retry", 1, "--json").json == [{"id": 1, "answer": "retried"}]
    assert run("retry", 1).out == "task 1 live\n"


def test_the_exit_code_says_whether_a_task_is_as_it_was_asked_to_be(run: Run, end: End) -> None:
    for _ in range(3):
        run("enqueue", "a")
    end(1)
    end(2, "failed", error={"kind": "exhausted"})
    run("cancel", 3)
    assert run("cancel", 3).out == "task 3 ended (cancelled)\n"
    said = run("cancel", 1, 2, 3, "--json", code=1)
    assert [(one["answer"], one["state"]) for one in said.json] == [
        ("ended", "completed"), ("ended", "failed"), ("ended", "cancelled"),
    ]  # fmt: skip
    assert said.err.endswith(
        "nothing was done to task 1: ended (completed), task 2: ended (failed)\n"
    )
    assert "task 1: ended" in run("proceed", 1, code=1).err
    run("retry", 2)
    assert run("retry", 2).out == "task 2 live\n"
    assert "task 2: live" in run("retry", 2, "--patch", "{}", code=1).err


def test_a_retry_mends_the_checkpoint_that_it_goes_on_from(run: Run, end: End) -> None:
    run("enqueue", "a")
    end(1, "failed", error={"kind": "invalid", "message": "page: not a number"})
    both = ["--patch", "{}", "--execution-metadata", "{}"]
    assert "exclude each other" in run("retry", 1, *both, code=2).err
    assert run("retry", 1, "--patch", '{"page": 7}').out == "task 1 retried\n"
    assert run("show", 1, "--json").json["execution_metadata"] == {"page": 7}
    run("cancel", 1)
    run("retry", 1, "--execution-metadata", '{"rows": 1}')
    assert run("show", 1, "--json").json["execution_metadata"] == {"rows": 1}


def test_a_completed_task_is_not_run_again(run: Run, end: End) -> None:
    run("enqueue", "a")
    end(1)
    assert "completed" in run("retry", 1, code=1).err


def test_a_suspended_task_proceeds_by_id_and_by_key(run: Run, database: Database) -> None:
    for key in (None, "payment:9"):
        run("enqueue", "a")
        database.execute(
            """
            with taken as (delete from perdure.ready returning task_id)
            insert into perdure.waiting (task_id, reason, wait_key)
            select task_id, 'suspended', %s::text from taken
            """,
            [key],
        )
        words = ["--wait-key", key] if key else [1]
        said = run("proceed", *words, "--patch", '{"approved": true}')
        assert said.out.endswith("proceeded\n")
        task = run("show", 2 if key else 1, "--json").json
        assert task["state"] == "pending"
        assert task["execution_metadata"] == {"approved": True}
        run("cancel", 2 if key else 1)
    assert "ended" in run("proceed", 1, code=1).err
    both = ["--patch", "{}", "--execution-metadata", "{}"]
    assert run("proceed", 1, *both, code=2).out == ""
