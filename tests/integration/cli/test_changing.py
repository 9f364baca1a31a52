"""update, run-now, reschedule, and all that match of cancel and retry: counted before."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.cli.conftest import Run
from tests.kit.databases import Database

from perdure.cli.change_options import CLEARABLE

End = Callable[..., None]


def states(database: Database) -> list[str]:
    return [
        state for (state,) in database.rows("select state from perdure.task_states order by id")
    ]


def test_a_task_is_changed_with_all_that_can_be_said(run: Run, database: Database) -> None:
    run("enqueue", "a", "--queue", "far", "--delay", "5m")
    said = run(
        "update", 1, "--metadata", '{"n": 2}', "--priority", 1, "--tag", "x", "--requires", "c",
        "--headers", '{"h": 1}', "--max-retries", -1, "--retry-delay", "1s", "--retry-delay", "2m",
        "--expires-at", "2100-01-01T00:00:00Z", "--deadline-at", "2100-01-01T00:00:00Z",
        "--clear", "queue", "--delay", "2h",
    )  # fmt: skip
    assert said.out == "task 1 applied\n"
    columns = "metadata, queue, priority, tags, requires, headers, max_retries, retry_delays"
    assert database.rows(f"select {columns} from perdure.tasks") == [
        ({"n": 2}, None, 1, ["x"], ["c"], {"h": 1}, -1, [1.0, 120.0])
    ]
    assert run("update", 1, "--clear", "retry_delays", "--json").json == [
        {"id": 1, "answer": "applied"}
    ]
    assert "say what to change" in run("update", 1, code=2).err
    assert "nothing was done to task 9: not_found" in run("update", 9, "--priority", 1, code=1).err


@pytest.mark.parametrize("spelled", ["{}", "--{}", "{}s"])
def test_what_is_cleared_is_said_by_the_word_of_its_option(
    run: Run, database: Database, spelled: str
) -> None:
    run(
        "enqueue", "a", "--queue", "far", "--priority", 1, "--tag", "x", "--requires", "c",
        "--headers", "{}", "--max-retries", 9, "--retry-delay", "1s",
        "--expires-at", "2100-01-01T00:00:00Z", "--deadline-at", "2100-01-01T00:00:00Z",
    )  # fmt: skip
    for option in CLEARABLE:
        assert f"  --{option} " in run("update", "--help").out
        assert run("update", 1, "--clear", spelled.format(option)).out == "task 1 applied\n"
    assert database.rows(f"select {', '.join(CLEARABLE.values())} from perdure.tasks") == [
        (None,) * len(CLEARABLE)
    ]


def test_what_cannot_be_cleared_is_told_with_what_can(run: Run) -> None:
    run("enqueue", "a", "--tag", "x")
    words = ", ".join(CLEARABLE)
    for wrong in ("delay", "--metadata", "s", "tagss"):
        assert f"{wrong!r}: write {words}" in run("update", 1, f"--clear={wrong}", code=2).err
    assert words in " ".join(run("update", "--help").out.split())
    both = run("update", 1, "--tag", "y", "--clear", "tag", code=2).err
    assert "--tag is given, too" in both


def test_what_waits_for_a_time_is_run_now_or_moved(run: Run, database: Database) -> None:
    for _ in range(2):
        run("enqueue", "a", "--delay", "5m")
    assert run("run-now", 1).out == "task 1 hastened\n"
    assert run("run-now", 1, 2).out == "task 1 not_waiting (pending)\ntask 2 hastened\n"
    assert states(database) == ["pending"] * 2
    run("enqueue", "a", "--after", 1)
    assert "task 3: not_waiting (blocked)" in run("run-now", 1, 3, code=1).err
    run("cancel", 3)
    assert "task 3: not_waiting (cancelled)" in run("run-now", 3, code=1).err
    assert "task 3: not_applied" in run("reschedule", 3, "--delay", "1h", code=1).err
    assert run("reschedule", 1, 2, "--run-at", "2100-01-01T00:00:00Z").out == (
        "task 1 applied\ntask 2 applied\n"
    )
    assert states(database)[:2] == ["scheduled"] * 2
    assert "--delay or --run-at" in run("reschedule", 1, code=2).err


def test_all_that_match_are_counted_before_anything_is_done(
    run: Run, database: Database, end: End
) -> None:
    for tag in ("x", "x", "y"):
        run("enqueue", "a", "--tag", tag)
    moved = ("reschedule", "--tag", "x", "--delay", "1h")
    assert run(*moved).out == "it would be: 2 rescheduled; --yes does it\n"
    assert states(database) == ["pending"] * 3
    assert run(*moved, "--yes").out == "2 rescheduled\n"
    assert states(database) == ["scheduled", "scheduled", "pending"]
    end(3, state="failed")
    assert run("retry", "--name", "a", "--json").json == {"retried": 1, "done": False}
    assert run("retry", "--state", "failed", "--yes").out == "1 retried\n"
    assert run("cancel", "--queue", "default").out == (
        "it would be: 3 cancelled, 0 asked to stop; --yes does it\n"
    )
    assert "cancelled" not in states(database)
    assert run("cancel", "--name", "a", "--yes", "--json").json == {
        "cancelled": 3, "requested": 0, "done": True
    }  # fmt: skip
    assert states(database) == ["cancelled"] * 3


def test_ids_and_what_matches_are_not_mixed(run: Run) -> None:
    for words in (
        ("cancel",), ("cancel", 1, "--name", "a"), ("cancel", "--yes"), ("retry",),
        ("retry", 1, "--since", "2030-01-01T00:00:00Z"), ("reschedule", "--delay", "1h"),
    ):  # fmt: skip
        assert "and not both" in run(*words, code=2).err
    assert "by their ids" in run("retry", "--name", "a", "--patch", "{}", code=2).err


def test_what_ended_long_ago_is_counted_then_removed(
    run: Run, database: Database, end: End
) -> None:
    for number in (1, 2, 3):
        run("enqueue", "a")
        end(number, "failed" if number == 2 else "completed")
    database.execute(
        "update perdure.outcomes set finished_at = now() - interval '2 days' where task_id < 3"
    )
    said = run("prune", "--older-than", "1d").out
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d \(24 h ago\)"
    assert re.fullmatch(f"it would be: 2 removed that ended before {when}; --yes does it\n", said)
    assert states(database) == ["completed", "failed", "completed"]
    pruned = run("prune", "--older-than", "1d", "--state", "failed", "--yes", "--json").json
    ended_before = datetime.fromisoformat(pruned.pop("ended_before"))
    assert timedelta(0) < datetime.now(UTC) - timedelta(days=1) - ended_before < timedelta(hours=1)
    assert pruned == {"pruned": 1, "done": True}
    assert states(database) == ["completed", "completed"]
    assert (
        "--state must be completed"
        in run("prune", "--older-than", "1d", "--state", "live", code=2).err
    )
    assert "--older-than" in run("prune", code=2).err


def test_a_number_alone_is_seconds_and_is_said_to_be(run: Run, end: End) -> None:
    run("enqueue", "a")
    end(1)
    assert "0 removed that ended before" in (preview := run("prune", "--older-than", "30").out)
    assert "(30 s ago); --yes does it" in preview
    done = run("prune", "--older-than", "30", "--yes").out
    assert done.startswith("0 removed that ended before")
    assert done.endswith("(30 s ago)\n")
