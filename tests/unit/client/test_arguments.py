"""What both clients say of arguments that cannot be meant: without a database, before anything."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta
from typing import Any

import pytest

from perdure import Every, NewTask
from perdure.client import arguments
from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.errors import InvalidArgument
from perdure.store.database import statements
from perdure.store.operations import Operation

NOWHERE = "postgresql://nobody@nowhere.invalid/nothing"
HOUR = Every(3600)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001

BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    *(
        (method, (id_,), {}, f"id={id_!r}: give a whole number of 64 bits")
        for method in (
            *("cancel", "retry", "update", "run_now", "repeat", "erase", "proceed"),
            *("drain_worker", "get", "history", "result"),
        )
        for id_ in ("x", None, 1.0, True, 2**63)
    ),
    ("set_constraint", ("a", "yes"), {}, "satisfied='yes': give True or False"),
    ("set_constraint", (1, True), {}, "name=1: give a text"),
    ("set_constraint", ("a\0", True), {}, "give a text without NUL"),
    ("pause_queue", ("a",), {"stop_running": "no"}, "stop_running='no': give True or False"),
    ("resume_queue", (b"a",), {}, "name=b'a': give a text"),
    ("queue_depth", (1,), {}, "queue=1: give a text"),
    ("set_queue", ("a",), {"max_depth": "5"}, "max_depth='5': give a whole number of 64 bits"),
    ("set_queue", ("a",), {"concurrency": 1.5}, "concurrency=1.5: give a whole number of 32"),
    ("retry", (1,), {"with_dependents": 1}, "with_dependents=1: give True or False"),
    ("update", (1,), {"priorty": 1}, "'priorty' is no option: there are clear, deadline_at"),
    ("proceed", (1,), {"pach": {}}, "'pach' is no option: there are execution_metadata"),
    ("proceed_waiting", (None,), {}, "wait_key=None: give a text"),
    ("proceed_waiting", ("k",), {"keep_for": "1h"}, "keep_for='1h': give seconds or a timedelta"),
    ("proceed_waiting", ("k",), {"keep_for": float("inf")}, "between 0 and 100 years"),
    ("cancel_where", (), {"tag": ["a"]}, "tag=['a']: give a text"),
    ("cancel_where", (), {"name": "a", "dry_run": "yes"}, "dry_run='yes': give True or False"),
    ("retry_where", (), {"since": NAIVE}, "since=datetime.datetime(2030, 1, 1, 0, 0): give a"),
    ("reschedule_where", (), {"name": "a", "run_at": "soon"}, "run_at='soon': give a datetime"),
    ("reschedule_where", (), {"delay": timedelta(days=99999)}, "between 0 and 100 years"),
    ("prune", (timedelta(days=1),), {"states": "failed"}, "states='failed': give a list"),
    ("prune", (60,), {"states": [1]}, "states=1: give a text"),
    ("enqueue", (5,), {}, "task=5: give a TaskKind, or the name of a task"),
    ("enqueue", ("a",), {"tags": 5}, "tags=5: give a list"),
    ("enqueue", ("a",), {"retry_delays": 5}, "retry_delays=5: give a list of seconds"),
    ("update", (1,), {"retry_delays": "5s"}, "retry_delays='5s': give a list of seconds"),
    ("enqueue_many", ([5],), {}, "tasks[0]=5: give a NewTask"),
    ("enqueue_many", (None,), {}, "tasks=None: give NewTasks"),
    ("enqueue_many", (NewTask("a"),), {}, "tasks=NewTask('a', no options): give NewTasks"),
    ("chain", (5,), {}, "stages=5: give a list"),
    ("chain", (NewTask("a"), [5]), {}, "stages=5: give NewTasks"),
    ("copy", (5, []), {}, "task=5: give a TaskKind"),
    ("copy", ("a", []), {"delay": 5}, "'delay' is no option: there are priority, queue, run_at"),
    ("search", (), {"ids": [2**70]}, f"id={2**70}: give a whole number of 64 bits"),
    ("search", (), {"ids": True}, "id=True: give a whole number of 64 bits"),
    ("search", (), {"ids": [None]}, "id=None: give a whole number of 64 bits"),
    ("search", (), {"queue": ["a", 5]}, "queue=5: give a text"),
    ("search", (), {"nmae": "a"}, "'nmae' is no option: there are created_after"),
    ("put_schedule", (5, "a", HOUR), {}, "key=5: give a text"),
    ("put_schedule", ("s", 5, HOUR), {}, "task 5 must be a kind, or the name of a task"),
    ("put_schedule", ("s", "a", HOUR), {"keep_phase": "no"}, "keep_phase='no': give True or"),
    ("pause_schedule", (None,), {}, "key=None: give a text"),
    ("resume_schedule", ("s",), {"catch_up": "all"}, "catch_up='all': give True or False"),
    ("run_schedule", ("s",), {"force": "x"}, "force='x': give True or False"),
    ("override_next", ("s", NAIVE), {}, "give a datetime with a time zone"),
    ("delete_schedule", (5,), {}, "key=5: give a text"),
    ("get_schedule", (5,), {}, "key=5: give a text"),
    ("schedule_fires", ("s",), {"before": "now"}, "before='now': give a datetime"),
]
IDS = [f"{method} {args} {options}" for method, args, options, _ in BAD]


@pytest.mark.parametrize(("method", "args", "options", "said"), BAD, ids=IDS)
async def test_both_clients_refuse_what_cannot_be_meant_in_the_same_words(
    method: str, args: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        getattr(SyncTaskClient(NOWHERE), method)(*args, **options)
    assert said in str(refused.value)
    with pytest.raises(InvalidArgument) as refused_async:
        await _answer(TaskClient(NOWHERE), method, args, options)
    assert str(refused_async.value) == str(refused.value)


async def _answer(client: TaskClient, method: str, args: Any, options: Any) -> Any:
    """What it answers; some, such as `search`, have nothing to wait for."""
    answer = getattr(client, method)(*args, **options)
    return await answer if inspect.isawaitable(answer) else answer


async def test_a_watch_and_a_page_look_at_their_arguments_too() -> None:
    with pytest.raises(InvalidArgument, match="ids='12': give a list"):
        next(iter(SyncTaskClient(NOWHERE).watch(ids="12")))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="ids='1': give a whole number"):
        await anext(aiter(TaskClient(NOWHERE).watch(ids=["1"])))  # type: ignore[list-item]
    for wrong, said in (({"after": "x"}, "after='x'"), ({"limit": "9"}, "limit='9': a page has 1")):
        with pytest.raises(InvalidArgument, match=said):
            SyncTaskClient(NOWHERE).search().page(**wrong)  # type: ignore[arg-type]


def test_every_kind_of_parameter_that_a_statement_has_is_known() -> None:
    known = {"bigint", "integer", "boolean", "timestamptz", "double precision", "text", "jsonb"}
    texts = statements("perdure")
    for name in ("cancel", "update_task", "put_schedule", "prune_after", "watch", "schedule_fires"):
        casts = {cast.removesuffix("[]") for _, cast in arguments._casts(texts[name])}
        assert casts, name
        assert casts <= known, name
    right = Operation("set_constraint", {"name": "a", "satisfied": None}, list)
    assert arguments.checked(right, texts["set_constraint"]) is right
