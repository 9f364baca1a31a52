"""Schedules that a program declares: whose they are, and every mistake at `build()`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import Cron, Every, Once, TaskContext, TaskKind
from perdure.declare.builder import Declared, ServiceBuilder
from perdure.errors import RegistrationError


class Request(BaseModel):
    day: int


report = TaskKind("report.build", Request)
tidy: TaskKind = TaskKind("tidy")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def builder() -> ServiceBuilder[Declared]:
    """One that knows two tasks."""
    made: ServiceBuilder[Declared] = ServiceBuilder(lambda declared: declared)

    @made.task(report)
    async def build_report(context: TaskContext[Request, None]) -> None: ...

    @made.task(tidy)
    async def tidy_up(context: TaskContext[None, None]) -> None: ...

    return made


def test_a_schedule_is_declared_by_key_task_and_trigger() -> None:
    declared = (
        builder()
        .add_schedule("a", report, Cron("@daily"), Request(day=1), jitter=60, queue="q")
        .add_schedule("b", "tidy", Every(60))
        .build()
    )
    a, b = declared.schedules
    assert (a.key, a.name, a.trigger, a.metadata) == (
        "a",
        "report.build",
        Cron("@daily"),
        Request(day=1),
    )
    assert a.options == {"jitter": 60, "queue": "q"}
    assert (b.key, b.name, b.trigger, b.metadata) == ("b", "tidy", Every(60), None)


@pytest.mark.parametrize("above", [True, False])
def test_a_handler_has_a_schedule_above_or_below_its_task(above: bool) -> None:
    made: ServiceBuilder[Declared] = ServiceBuilder(lambda declared: declared)

    async def build_report(context: TaskContext[Request, None]) -> None: ...

    task = made.task("report.build")
    schedule = made.schedule(Once(NOON), metadata=Request(day=2), overlap="allow")
    if above:
        assert schedule(task(build_report)) is build_report
    else:
        assert task(schedule(build_report)) is build_report
    made.schedule(Every(5), key="often", metadata={"day": 3})(build_report)
    one, often = made.build().schedules
    assert (one.key, one.name, one.metadata) == ("report.build", "report.build", {"day": 2})
    assert (often.key, often.name, often.metadata) == ("often", "report.build", {"day": 3})


def test_every_mistake_is_told_at_once() -> None:
    made = builder()
    wrong: Any = made.add_schedule
    interval: Any = "x"
    wrong("a", report, Cron("61 * * * *"), Request(day=1))
    wrong("b", report, Cron("0 0 31 2 *", "Europe/Nowhere"), {"day": 1})
    wrong("c", "report.build", Every(0.5), {"day": "x"})
    wrong("d", "reprot.build", Every(60), jitter=60, flex=61)
    wrong("e", tidy, Every(60), catch_up="all", priority=10, queue="*")
    wrong("e", tidy, 60)
    wrong("", tidy, Every(60), at="x")
    wrong("f", tidy, Every(interval))
    wrong("g", tidy, Every(60, start=NOON, end=NOON.replace(year=2029)), misfire_grace="5m")
    wrong("h", report, Every(60))
    with pytest.raises(RegistrationError) as refused:
        made.build()
    assert refused.value.problems == [
        "schedule 'a': cron '61 * * * *': minute '61': give 0-59, lists, ranges and steps",
        (
            "schedule 'b': timezone 'Europe/Nowhere': no such zone; give an IANA name such as"
            " Europe/Berlin"
        ),
        "schedule 'b': metadata: $: dict is not a Request",
        "schedule 'c': every 0.5 s must be at least 1 s (hint: give a longer interval)",
        (
            "schedule 'c': metadata: $.day: Input should be a valid integer, unable to parse string"
            " as an integer"
        ),
        "schedule 'd': jitter 60 s must be smaller than the interval, 60 s (hint: give less)",
        "schedule 'd': flex 61 s must not be larger than the interval, 60 s (hint: give less)",
        "schedule 'd': there is no task 'reprot.build'; did you mean 'report.build'?",
        (
            "schedule 'e': catch_up all with overlap skip would lose all but one"
            " (hint: give overlap queue or allow)"
        ),
        "schedule 'e': the queue '*' is not valid: 1 to 128 characters, no control characters",
        "schedule 'e': priority=10: 0 (first) to 9",
        "schedule 'e': its key is declared twice",
        "schedule 'e': trigger 60 must be Every, Cron or Once",
        "schedule '': the key must have 1 to 500 bytes and no control characters",
        (
            "schedule '': 'at' is no option: there are catch_up, expires_after, flex, headers,"
            " jitter, max_catch_up, max_retries, misfire_grace, overlap, priority, queue,"
            " requires, tags"
        ),
        "schedule 'f': every 'x': give seconds or a timedelta, from 1 s to 100 years",
        (
            "schedule 'g': end 2029-01-01 12:00:00+00:00 is before start 2030-01-01 12:00:00+00:00"
            " (hint: leave one of them out)"
        ),
        "schedule 'g': misfire_grace '5m' must be seconds or a timedelta",
        "schedule 'h': metadata: $.day: Field required",
    ]


def test_a_schedule_above_what_is_no_task_or_two_is_a_mistake() -> None:
    made: ServiceBuilder[Declared] = ServiceBuilder(lambda declared: declared)

    async def lonely(context: TaskContext[None, None]) -> None: ...

    @made.schedule(Every(60))
    @made.task("a")
    @made.task("b")
    async def double(context: TaskContext[None, None]) -> None: ...

    made.schedule(Every(60))(lonely)
    with pytest.raises(RegistrationError) as refused:
        made.build()
    double_problem, lonely_problem = refused.value.problems
    assert "it handles 'b' and 'a': say which with add_schedule" in double_problem
    assert "lonely: it is no task: put @builder.task on it" in lonely_problem
