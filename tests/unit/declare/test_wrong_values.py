"""Values of a wrong type or size in declarations: refused at `build()`, with value and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure import Delays, Every, Exponential, Linear, Retry, Suspended, TaskService
from perdure.errors import ConfigurationError, RegistrationError

NAMED = "the service cannot be built, 1 problem:\n  - "


async def anything(_context: Any) -> Any:
    return None


def one(task: Any) -> Any:
    return task.named("a").handled_by(anything)


TASKS: list[tuple[Callable[[Any], object], str]] = [
    (lambda t: t.with_max_instances(n=True), "max_instances=True: a whole number from 1"),
    (lambda t: t.with_retry(max_retries="5"), "max_retries='5': give 0 or more, or UNLIMITED"),
    (lambda t: t.with_retry(max_retries=1.5), "max_retries=1.5: give 0 or more, or UNLIMITED"),
    (lambda t: t.with_retry(jitter="x"), "jitter='x': give a number from 0 to 1"),
    (lambda t: t.with_retry(backoff=5), "backoff=5: give Exponential, Linear or Delays"),
    (lambda t: t.with_retry_policy(5), "with_retry_policy(5): give a RetryPolicy"),
    (lambda t: t.with_timeout(soft="5"), "'5' is not a delay: give 0 or more seconds"),
    (lambda t: t.with_stop_grace("x"), "'x' is not a delay: give 0 or more seconds"),
    (lambda t: t.keep_results_for(length=True), "True is not a delay: give 0 or more seconds"),
    (lambda t: t.described_as(5), "described_as(5): give a text"),
    (lambda t: t.with_aliases(["b"]), "the name ['b'] is not valid: 1 to 200 letters"),
    (lambda t: t.with_aliases(""), "the name '' is not valid: 1 to 200 letters"),
    (lambda t: t.of("b"), "of('b'): give a TaskKind; a name goes to .named()"),
]


@pytest.mark.parametrize(("said", "says"), TASKS, ids=[says for _, says in TASKS])
def test_a_task_says_what_is_wrong_with_a_value(said: Callable[[Any], object], says: str) -> None:
    with pytest.raises(RegistrationError) as refused:
        TaskService.builder().add_task(lambda task: said(one(task))).build()
    assert str(refused.value).startswith(f"{NAMED}task 'a': {says}")


SCHEDULES: list[tuple[Any, Any, dict[str, Any], str]] = [
    (5, Every(60), {}, "task 5 must be a kind, or the name of a task"),
    ("a", Every("5"), {}, "every '5': give seconds or a timedelta"),  # type: ignore[arg-type]
    ("a", Every(60), {"requires": "net"}, "requires='net': give a list of names"),
    ("a", Every(60), {"requires": 5}, "requires=5: give a list of names"),
    ("a", Every(60), {"tags": "x"}, "tags='x': give a list"),
    ("a", Every(60), {"max_retries": "x"}, "max_retries='x': give a whole number"),
]


@pytest.mark.parametrize(("task", "trigger", "options", "says"), SCHEDULES)
def test_a_schedule_says_what_is_wrong_with_a_value(
    task: Any, trigger: Any, options: dict[str, Any], says: str
) -> None:
    builder = TaskService.builder().add_task(one)
    with pytest.raises(RegistrationError) as refused:
        builder.add_schedule("k", task, trigger, **options).build()
    assert str(refused.value).startswith(f"{NAMED}schedule 'k': {says}")


def test_the_short_form_takes_no_text_for_a_list_and_no_number_for_a_kind() -> None:
    builder: Any = TaskService.builder()
    builder.task("a", requires="net")(anything)
    builder.task(5)(anything)
    with pytest.raises(RegistrationError) as refused:
        builder.build()
    text = str(refused.value)
    assert "task 'a': requires='net': give a tuple of names" in text
    assert "of(5): give a TaskKind" in text


def test_lifespans_and_singletons_have_texts_as_names_and_numbers_as_ticks() -> None:
    builder: Any = TaskService.builder()
    builder.add_lifespan(5, lambda: iter([1]))
    builder.add_lifespan("slow", lambda: iter([1]), tick="5")
    builder.add_singleton(5, lambda: iter([1]))
    builder.add_singleton("s", lambda: iter([1]), tick=True)
    with pytest.raises(RegistrationError) as refused:
        builder.build()
    assert refused.value.problems == [
        "a lifespan is called 5: give a name to add_lifespan",
        "the lifespan 'slow': '5' is not a delay: give 0 or more seconds, or a timedelta",
        "the singleton 5: give a text as its name",
        "the singleton 's': True is not a delay: give 0 or more seconds, or a timedelta",
    ]


MADE: list[tuple[Callable[[], object], str]] = [
    (lambda: Exponential(factor="x"), "factor='x': give a number of 1"),  # type: ignore[arg-type]
    (lambda: Linear("5"), "'5' is not a delay"),  # type: ignore[arg-type]
    (lambda: Delays("55"), "delays='55': give a list"),  # type: ignore[arg-type]
    (lambda: Delays(5), "delays=5: give a list"),  # type: ignore[arg-type]
    (lambda: Retry(after="x"), "'x' is not a delay"),  # type: ignore[arg-type]
    (lambda: Suspended(until="x"), "until='x': give a datetime"),  # type: ignore[arg-type]
    (lambda: Suspended(wait_key=5), "wait_key=5: give a text"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "says"), MADE, ids=[says for _, says in MADE])
def test_a_value_that_cannot_be_is_refused_where_it_is_made(
    make: Callable[[], object], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        make()


def test_settings_of_the_program_are_looked_at_when_it_is_built() -> None:
    builder = TaskService.builder().configure_execution(max_retrys=5, concurrency="many")
    with pytest.raises(ConfigurationError) as refused:
        builder.configure_persistence(dsn=5).build()
    text = str(refused.value)
    assert "3 problems" in text
    assert "max_retrys (builder): unknown setting (did you mean execution.max_retry_count?)" in text
    assert "execution.concurrency = 'many' (builder): must be a whole number from 1" in text
    assert "dsn (builder): must be postgresql://" in text


def test_what_a_program_requires_under_nearly_the_name_that_it_declares_is_doubted() -> None:
    builder = TaskService.builder().add_constraint("network", lambda: True)
    builder.add_task(lambda task: one(task).requires("netwrok", "network", "licence"))
    builder.add_schedule("k", "a", Every(60), requires=["networks"])
    near = "which this service does not declare: did you mean 'network'? it holds where"
    task, schedule = builder.build().doubts
    assert task.startswith(f"task 'a' requires 'netwrok', {near}")
    assert schedule.startswith(f"schedule 'k' requires 'networks', {near}")
    unknown = TaskService.builder().add_task(lambda task: one(task).requires("x"))
    assert unknown.build().doubts == ()
