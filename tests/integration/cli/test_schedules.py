"""perdure schedules: put, list, show, pause, resume, run, override, preview, delete."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from tests.integration.cli.conftest import Run
from tests.kit.databases import Database


@pytest.fixture(autouse=True)
def berlin() -> Iterator[None]:
    """Where the people of these tests are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def test_a_schedule_is_put_listed_shown_and_deleted(run: Run, database: Database) -> None:
    assert run("schedules", "list").out == "there is no schedule\n"
    nightly = ("schedules", "put", "nightly", "report", "--cron", "0 3 * * *", "--timezone")
    assert run(*nightly, "Asia/Tokyo", "--jitter", "5m").out == "schedule nightly created\n"
    assert run(*nightly, "Asia/Tokyo", "--jitter", "5m").out == "schedule nightly unchanged\n"
    done = run(*nightly, "UTC", "--metadata", '{"password": "x"}', "--tag", "a", "--json")
    assert done.json == {"key": "nightly", "answer": "updated", "known": False, "near": []}
    run("schedules", "put", "often", "tick", "--every", "90s", "--start", "2030-01-01T00:00:00Z")
    lines = run("schedules", "list").out.splitlines()
    assert lines[0].split() == [
        "KEY",
        "TASK",
        "WHEN",
        "STATE",
        "NEXT",
        "IN",
        "LAST",
        "LIVE",
        "PROBLEM",
    ]
    assert lines[1].startswith("nightly  report  0 3 * * * UTC")
    assert "every 90s from 2030-01-01 01:00:00+01:00" in lines[2]
    nightly_state, often = run("schedules", "list", "--json").json
    assert nightly_state["trigger"] == {"cron": "0 3 * * *", "timezone": "UTC"}
    assert (often["trigger"]["every"], often["jitter"], often["state"]) == (90.0, 0.0, "active")
    assert "metadata" not in often

    database.execute(
        """
        update perdure.schedules set next_fire_at = '2030-07-01 03:00+00' where key = 'nightly';
        insert into perdure.fires (schedule_key, fire_at, fate, count, decided_at)
        values ('nightly', '2026-01-01 03:00+00', 'missed', 7, '2026-01-01 03:00:01.5+00')
        """
    )
    text = run("schedules", "show", "nightly").out
    assert re.search(r"next_fire_at +2030-07-01 05:00:00\+02:00 \(in \d+ days\)", text)
    assert "x" not in [line.split()[-1].strip('"') for line in text.splitlines() if line]
    assert text.splitlines()[-1].split()[-4:] == ["missed", "7", "-", "1.5"]
    assert '"x"' in run("schedules", "show", "nightly", "--reveal").out
    shown = run("schedules", "show", "nightly", "--json").json
    assert (shown["tags"], shown["fires"][0]["count"], shown["jitter"]) == (["a"], 7, 0.0)

    assert run("schedules", "delete", "nightly").out == "schedule nightly deleted\n"
    for command in ("delete", "show", "pause", "resume", "run", "preview"):
        assert "there is no schedule 'nightly'" in run("schedules", command, "nightly", code=1).err


def test_a_schedule_is_paused_resumed_and_run_by_hand(run: Run) -> None:
    run("schedules", "put", "s", "tick", "--every", "1h")
    assert run("schedules", "pause", "s").out == "schedule s paused\n"
    assert run("schedules", "pause", "s").out == "schedule s already paused\n"
    assert run("schedules", "preview", "s").out.startswith("it is paused: so it would fire if")
    assert run("schedules", "run", "s").out.startswith("schedule s fired: task ")
    assert "--force" in run("schedules", "run", "s", code=1).err
    forced = run("schedules", "run", "s", "--force", "--json").json
    assert (forced["answer"], forced["task_id"] > 0) == ("fired", True)
    assert run("schedules", "resume", "s", "--catch-up").out == "schedule s resumed\n"
    assert run("schedules", "resume", "s").out == "schedule s not paused\n"


@pytest.mark.parametrize("state", ["finished", "broken"])
def test_what_fires_no_more_is_neither_paused_nor_resumed(
    run: Run, database: Database, state: str
) -> None:
    run("schedules", "put", "s", "tick", "--every", "1h")
    database.execute("update perdure.schedules set state = %s, next_fire_at = null", [state])
    for command in ("pause", "resume"):
        said = run("schedules", command, "s", code=1).err
        assert said == f"perdure: schedule s is {state}: nothing was done; put it anew\n"


def test_the_next_instant_is_overridden_once_and_taken_back(run: Run, database: Database) -> None:
    later = "2031-01-01T00:00:00Z"
    assert "no schedule 's'" in run("schedules", "override", "s", later, code=1).err
    run("schedules", "put", "s", "tick", "--every", "1h")
    said = run("schedules", "override", "s", later).out
    assert said == "schedule s fires next at 2031-01-01 01:00:00+01:00, once\n"
    assert run("schedules", "show", "s", "--json").json["override_at"].startswith("2031-01-01")
    said = run("schedules", "override", "s", "none").out
    assert said == "schedule s fires next at its own time\n"
    assert run("schedules", "show", "s", "--json").json["override_at"] is None
    done = run("schedules", "override", "s", later, "--json").json
    assert done == {"key": "s", "answer": "set", "at": "2031-01-01T00:00:00+00:00"}
    database.execute("update perdure.schedules set state = 'finished', next_fire_at = null")
    assert "it has no next instant" in run("schedules", "override", "s", later, code=1).err
    assert "ISO 8601" in run("schedules", "override", "s", "tomorrow", code=2).err


def test_a_dry_run_prints_the_difference_and_changes_nothing(run: Run) -> None:
    put = ("schedules", "put", "s", "tick", "--every", "1h", "--dry-run")
    lines = run(*put).out.splitlines()
    assert lines[0] == "schedule s would be created"
    assert "  when: - -> every 1h" in lines
    assert run("schedules", "list").out == "there is no schedule\n"

    run("schedules", "put", "s", "tick", "--every", "60m", "--metadata", '{"a": 1}')
    assert run(*put, "--metadata", '{"a": 1}').out == "schedule s would be unchanged\n"
    changed = ("--metadata", '{"a": 2}', "--overlap", "queue", "--jitter", "90s", "--tag", "x")
    assert sorted(run(*put, *changed).out.splitlines()) == [
        "  jitter: 0s -> 90s",
        '  metadata: {"a": 1} -> {"a": 2}',
        "  overlap: skip -> queue",
        "  tags: - -> x",
        "schedule s would be updated",
    ]
    found = run(*put, "--json").json
    changes = {"metadata": [{"a": 1}, {}]}
    nobody = {"known": False, "near": []}
    assert found == {"key": "s", "answer": "updated", "changes": changes, **nobody}
    assert run(*put, "--policy", "keep").out == "schedule s would be kept\n"
    assert "would be replaced" in run(*put, "--policy", "replace").out
    assert "would be updated" in run(*put, "--metadata", '{"a": 1}', "--reset-phase").out
    assert "put it with --policy update" in run(*put, "--policy", "reject", code=1).err
    assert run("schedules", "show", "s", "--json").json["generation"] == 1


def test_a_dry_run_is_refused_what_the_put_is_and_touches_nothing(
    run: Run, database: Database
) -> None:
    put = ("schedules", "put", "s", "singleton:poller", "--every", "1h")
    refused = run(*put, code=2).err
    assert "begins with singleton:" in refused
    assert run(*put, "--dry-run", code=2).err == refused

    run("schedules", "put", "s", "tick", "--every", "1h")
    run("schedules", "run", "s")
    audited = database.value("select count(*) from perdure.audit")
    replace = ("schedules", "put", "s", "tick", "--every", "2h", "--policy", "replace", "--dry-run")
    assert run(*replace).out == "schedule s would be replaced\n  when: every 1h -> every 2h\n"
    assert run("show", 1, "--json").json["state"] == "pending"
    assert database.value("select count(*) from perdure.audit") == audited


def test_a_trigger_is_previewed_without_a_database(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERDURE_DSN")
    noon = ("schedules", "preview", "--cron", "0 12 * * *", "--timezone", "UTC")
    lines = run(*noon, "--start", "2030-06-30T00:00:00Z", "--count", "2").out.splitlines()
    assert lines[0].split() == ["#", "AT", "IN", "UTC"]
    assert lines[1].startswith("1  2030-06-30 14:00:00+02:00  in ")
    assert lines[2].endswith("2030-07-01 12:00:00+00:00")
    assert run(*noon, "--end", "2020-01-01T00:00:00Z").out == "it never fires\n"
    found = run("schedules", "preview", "--every", "1h", "--count", "1000", "--json").json
    assert (found["key"], len(found["instants"])) == (None, 1000)
    once = run("schedules", "preview", "--once", "2030-06-30T12:00:00Z").out.splitlines()
    assert once[0].split() == ["#", "AT", "IN"]
    assert len(once) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["put", "s", "a"], "give exactly one of --every, --cron and --once"),
        (["put", "s", "a", "--every", "1h", "--cron", "@daily"], "give exactly one of"),
        (["put", "s", "a", "--every", "1h", "--timezone", "UTC"], "--timezone belongs to --cron"),
        (["put", "s", "a", "--once", "2030-01-01T00:00:00Z", "--end", "x"], "takes neither"),
        (["put", "s", "a", "--once", "2030-01-01"], "write ISO 8601 with a zone"),
        (["put", "s", "a", "--every", "soon"], "write seconds as a number"),
        (["put", "s", "a", "--every", "10ms"], "every 0.01 s must be at least 1 s"),
        (["put", "s", "a", "--every", "1h", "--jitter", "1h"], "jitter 3600 s must be smaller"),
        (["put", "s", "a", "--every", "1h", "--jitter", "1h", "--dry-run"], "must be smaller"),
        (["put", "s", "a", "--every", "1h", "--catch-up", "all"], "would lose all but one"),
        (["put", "s", "a", "--cron", "61 * * * *"], "minute '61'"),
        (["put", "s", "a", "--cron", "@daily", "--timezone", "Mars"], "no such zone"),
        (["preview"], "give the KEY of a schedule, or a trigger, and not both"),
        (["preview", "s", "--every", "1h"], "and not both"),
        (["preview", "--every", "1h", "--count", "1001"], "less than or equal to 1000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_say_field_value_and_remedy(run: Run, words: list[str], said: str) -> None:
    assert said in run("schedules", *words, code=2).err
    assert json.loads(run("schedules", "list", "--json").out) == []
