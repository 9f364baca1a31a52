"""Mistakes in declarations: each a readable problem, and all of them reported at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import TaskKind
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import TaskBuilder, define
from perdure.errors import RegistrationError
from perdure.tasks.policies import Delays

Task = TaskBuilder[Any, Any, Any, Any]


class Request(BaseModel):
    url: str


class Progress(BaseModel):
    rows: int = 0


class Handler:
    async def execute(self, context: TaskContext[Request, None]) -> None:
        context.progress(1)


class Untold:
    """A type that pydantic knows nothing of."""


kind = TaskKind("catalogue.import", Request)


async def anything(_context: Any) -> Any:
    return None


def blocking(_context: Any) -> Any:
    return None


def builder() -> ServiceBuilder[Declared]:
    return ServiceBuilder(lambda declared: declared)


def problems(*said: Callable[[Task], object] | TaskDefinition) -> list[str]:
    declaring = builder()
    for each in said:
        declaring.add_task(each)
    with pytest.raises(RegistrationError) as caught:
        declaring.build()
    return caught.value.problems


def problem(said: Callable[[Task], object]) -> str:
    found = problems(said)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.conformance("C104")
def test_five_different_mistakes_are_all_reported() -> None:
    found = problems(
        lambda task: task.named("no handler"),
        lambda task: task.named("a").handled_by(anything).with_metadata(Untold),
        lambda task: task.named("b").handled_by(blocking).with_timeout(hard=1),
        lambda task: task.named("b").handled_by(anything),
        lambda task: task.named("c").handled_by(anything).with_retry(max_retries=-5),
    )
    text = "\n".join(found)
    for part in (
        "'no handler' is not valid",
        "it has no handler",
        "Untold",
        "hard timeout",
        "'b' is given to two tasks",
        "max_retries=-5",
    ):
        assert part in text
    assert len(found) == 6


@pytest.mark.parametrize(
    "said, part",
    [
        (lambda task: task.handled_by(anything), "no name"),
        (lambda task: task.named("a"), "no handler"),
        (lambda task: task.named("-a").handled_by(anything), "not valid"),
        (lambda task: task.named("a" * 201).handled_by(anything), "not valid"),
        (lambda task: task.named("a").handled_by(Handler), "made_by(Handler)"),
        (lambda task: task.named("a").handled_by(3), "no handler"),
        (lambda task: task.named("a").handled_by(lambda: 1), "one argument"),
        (lambda task: task.named("a").made_by(Untold), "no execute(context)"),
        (lambda task: task.named("a").made_by(lambda: 3), "could not make a handler"),
        (lambda task: task.named("a").made_by(anything), "plain function"),
        (lambda task: task.named("a").handled_by(anything).with_error(Untold), "error: "),
        (lambda task: task.named("a").handled_by(anything).with_metadata(int), "not an object"),
        (lambda task: task.named("a").handled_by(anything).with_aliases("a"), "repeats"),
        (lambda task: task.named("a").handled_by(anything).with_aliases("b c"), "not valid"),
        (lambda task: task.named("a").handled_by(anything).on_queue("*"), "queue"),
        (lambda task: task.named("a").handled_by(anything).with_priority(10), "priority=10"),
        (lambda task: task.named("a").handled_by(anything).requires(""), "requires"),
        (lambda task: task.named("a").handled_by(anything).with_timeout(soft=2, hard=2), "longer"),
        (lambda task: task.named("a").handled_by(anything).with_stop_grace(-1), "not a delay"),
        (lambda task: task.named("a").handled_by(anything).with_retry(jitter=2), "jitter"),
        (lambda task: task.handled_by(anything).named("a").with_retry(retry_on=3), "exception"),
        (lambda task: task.named("a").handled_by(anything).with_retry(give_up_on=int), "give_up"),
        (lambda task: task.named("a").handled_by(anything).with_retry(backoff=Delays([])), "entry"),
        (lambda task: task.named("a").handled_by(anything).on_exhausted("a"), "a -> a"),
        (
            lambda task: task.named("a").handled_by(anything).with_unique_key(str, policy="drop"),
            "unknown policy 'drop'",
        ),
        (
            lambda task: task.named("a").handled_by(anything).with_execution_metadata(list[int]),
            "not an object",
        ),
    ],
)
def test_one_mistake_is_one_problem(said: Callable[[Task], object], part: str) -> None:
    assert part in problem(said)


@pytest.mark.conformance("C101")
def test_a_gap_in_the_upgrades_is_a_problem() -> None:
    def said(task: Task) -> None:
        task.named("a").handled_by(anything)
        task.with_execution_metadata(Progress, version=4, upgrades={2: dict})

    assert "no upgrade from 1, 3" in problem(said)


@pytest.mark.conformance("C40")
def test_a_hard_timeout_on_a_plain_function_is_a_problem_unless_it_is_isolated() -> None:
    assert "cannot kill" in problem(
        lambda task: task.named("a").handled_by(blocking).with_timeout(hard=1)
    )
    define(lambda task: task.named("a").handled_by(blocking).with_timeout(hard=1).isolated())
    define(lambda task: task.named("a").handled_by(blocking).with_timeout(soft=1))


def test_an_annotation_that_cannot_be_resolved_is_a_problem_unless_a_kind_says_the_types() -> None:
    async def handle(context: TaskContext[Nowhere, None]) -> None:  # type: ignore[name-defined] # noqa: F821
        pass

    assert "'Nowhere'" in problem(lambda task: task.named("a").handled_by(handle))
    untyped: Any = handle
    define(lambda task: task.of(kind).handled_by(untyped))


def test_a_handler_must_take_the_context_of_its_own_kind() -> None:
    def blocks(context: TaskContext[Request, None]) -> None: ...

    async def awaits(context: SyncTaskContext[Request, None]) -> None: ...

    wrong: list[Any] = [blocks, awaits]
    found = problems(*(partial(_handled, number, one) for number, one in enumerate(wrong)))
    assert len(found) == 2
    assert "must take a SyncTaskContext" in found[0]
    assert "must take a TaskContext" in found[1]


def _handled(number: int, handler: Any, task: Task) -> None:
    task.named(f"task.{number}").handled_by(handler)


def test_a_generator_is_no_handler() -> None:
    async def pages(_context: Any) -> Any:
        yield 1

    assert "generator" in problem(lambda task: task.named("a").handled_by(pages))


def test_an_unknown_option_is_a_problem_that_names_the_task() -> None:
    def said(task: Any) -> None:
        task.named("a").handled_by(anything).with_retry(max_retires=3)

    found = problem(said)
    assert found.startswith("task 'a': ")
    assert "max_retires" in found


def test_an_error_of_the_declaring_function_itself_is_its_own() -> None:
    def said(_task: Task) -> None:
        raise KeyError("settings")

    with pytest.raises(KeyError):
        builder().add_task(said)


def test_names_of_two_tasks_must_differ_aliases_included() -> None:
    found = problems(
        lambda task: task.named("a").handled_by(anything).with_aliases("b", "x"),
        lambda task: task.named("b").handled_by(blocking).with_aliases("x"),
    )
    assert len(found) == 2
    assert "'b' is given to two tasks" in found[0]
    assert "'x' is given to two tasks" in found[1]


def test_the_handlers_of_a_name_that_is_given_twice_can_be_told_apart() -> None:
    both = problems(
        lambda task: task.named("a").handled_by(anything),
        lambda task: task.named("a").handled_by(anything),
    )
    same = "the name 'a' is given to two tasks, both handled by "
    assert both == [f"{same}{anything.__module__}.{anything.__qualname__}: rename one"]
    first = second = lambda context: None
    line = inspect.getsourcelines(first)[1]
    (lambdas,) = problems(
        lambda task: task.named("a").handled_by(first).with_metadata(dict[str, int]),
        lambda task: task.named("a").handled_by(second).with_metadata(dict[str, int]),
    )
    assert lambdas == f"{same}the lambda in {__name__}, line {line}: rename one"


def test_one_definition_added_twice_is_one_problem() -> None:
    definition = define(lambda task: task.of(kind).handled_by(anything))
    assert problems(definition, definition) == ["task 'catalogue.import' was added twice"]


def test_a_circle_of_exhausted_tasks_is_reported_once() -> None:
    found = problems(
        lambda task: task.named("a").handled_by(anything).on_exhausted("b"),
        lambda task: task.named("b").handled_by(anything).on_exhausted("old.c"),
        lambda task: task.named("c").handled_by(anything).with_aliases("old.c").on_exhausted("a"),
        lambda task: task.named("d").handled_by(anything).on_exhausted("a"),
        lambda task: task.named("e").handled_by(anything).on_exhausted("elsewhere"),
    )
    assert found == ["on_exhausted leads back to where it began: a -> b -> c -> a"]


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({"n": 0}, "max_instances=0: a whole number from 1 to 10000"),
        ({"n": 10_001}, "max_instances=10001"),
        ({"n": "2"}, "max_instances='2'"),
        ({"n": 1, "key": "a b"}, "key='a b' of max_instances: a field of the metadata"),
        ({"n": 1, "key": "a..b"}, "key='a..b'"),
        ({"n": 1, "key": "x" * 201}, "of at most 200 characters"),
        ({"n": 1, "when_full": "drop"}, "use 'queue', 'skip' or 'cancel_previous'"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_a_problem(limit: dict[str, Any], text: str) -> None:
    def said(task: Task) -> object:
        return task.named("a").handled_by(anything).with_max_instances(**limit)

    (problem,) = problems(said)
    assert problem.startswith("task 'a': ")
    assert text in problem
