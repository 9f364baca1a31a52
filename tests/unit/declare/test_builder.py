"""From declarations to definitions: types, options, settings, listeners."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

import pytest
from pydantic import BaseModel

from perdure.declare.builder import Declared, ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import TaskKind
from perdure.declare.listeners import EVENTS
from perdure.declare.sync_context import SyncTaskContext
from perdure.declare.task_builder import TaskBuilder, define
from perdure.errors import RegistrationError
from perdure.run.events import NAMES
from perdure.tasks.outcomes import Failure, Outcome, Success, Suspended
from perdure.tasks.policies import UNLIMITED, Delays, RetryPolicy, Timeouts

Task = TaskBuilder[Any, Any, Any, Any]
ANY_OUTCOME: Any = Outcome


class Request(BaseModel):
    url: str


class Progress(BaseModel):
    rows: int = 0


class Report(BaseModel):
    rows: int


class Problem(BaseModel):
    reason: str


class Untold:
    """A type that pydantic knows nothing of."""


Told: TypeAlias = Outcome[Report, Problem]

kind = TaskKind(
    "catalogue.import", Request, execution_metadata=Progress, result=Report, error=Problem
)


async def anything(_context: Any) -> Any:
    return None


def blocking(_context: Any) -> Any:
    return None


class Handler:
    async def execute(
        self, context: TaskContext[Request, Progress]
    ) -> Report | Failure[Problem] | Suspended:
        return Report(rows=context.execution_metadata.rows)


class SyncHandler:
    def execute(self, context: SyncTaskContext[Request, Progress]) -> Report | None:
        return Report(rows=context.attempt)


def builder() -> ServiceBuilder[Declared]:
    return ServiceBuilder(lambda declared: declared)


def types(definition: TaskDefinition) -> tuple[Any, ...]:
    return tuple(
        payload.type_
        for payload in (
            *(definition.metadata, definition.execution_metadata),
            *(definition.result, definition.error),
        )
    )


def test_types_come_from_the_kind() -> None:
    definition = define(lambda task: task.of(kind).handled_by(anything))
    assert definition.name == "catalogue.import"
    assert types(definition) == (Request, Progress, Report, Problem)


def test_what_a_kind_leaves_out_is_none() -> None:
    definition = define(lambda task: task.of(TaskKind("cleanup")).handled_by(anything))
    assert types(definition) == (type(None),) * 4


def test_types_come_from_the_annotations_of_a_function() -> None:
    async def handle(context: TaskContext[Request, Progress]) -> Report | Failure[Problem]:
        return Report(rows=context.attempt)

    definition = define(lambda task: task.named("a").handled_by(handle))
    assert types(definition) == (Request, Progress, Report, Problem)
    assert definition.handler.mode == "async"


@pytest.mark.parametrize(
    "returned, result, error",
    [
        (Report, Report, Any),
        (Report | None, Report | None, Any),
        (Success[Report] | Failure[Problem], Report, Problem),
        (Told, Report, Problem),
        (ANY_OUTCOME, Any, Any),
        (Failure[Problem] | Suspended, type(None), Problem),
        (None, type(None), Any),
        (int | str, int | str, Any),
    ],
)
def test_result_and_error_are_told_apart_in_what_is_returned(
    returned: Any, result: Any, error: Any
) -> None:
    def handle(context: SyncTaskContext[Request, None]) -> Any:
        return context.attempt

    handle.__annotations__["return"] = returned
    definition = define(lambda task: task.named("a").handled_by(handle))
    assert types(definition) == (Request, type(None), result, error)


def test_without_annotations_any_json_will_do() -> None:
    definition = define(lambda task: task.named("a").handled_by(lambda _context: 1))
    assert types(definition) == (Any, type(None), Any, Any)
    assert definition.handler.mode == "sync"


def test_what_is_said_wins_over_annotations() -> None:
    handler: Any = Handler()
    definition = define(
        lambda task: task.named("a").with_metadata(Report).with_error(str).handled_by(handler)
    )
    assert types(definition) == (Report, Progress, Report, str)


@pytest.mark.parametrize("made", [Handler, partial(Handler), SyncHandler])
def test_a_factory_makes_one_handler_object_per_run(made: Any) -> None:
    definition = define(lambda task: task.named("a").made_by(made))
    assert types(definition)[:2] == (Request, Progress)
    first, second = definition.handler.make(), definition.handler.make()
    assert first.__self__ is not second.__self__  # type: ignore[attr-defined]
    assert definition.handler.mode == ("sync" if made is SyncHandler else "async")


def test_an_annotated_factory_is_not_called_before_the_first_run() -> None:
    called = []

    def factory() -> Handler:
        called.append(1)
        return Handler()

    definition = define(lambda task: task.named("a").made_by(factory))
    assert called == []
    definition.handler.make()
    assert called == [1]


def test_an_object_serves_every_run() -> None:
    handler = Handler()
    definition = define(lambda task: task.named("a").handled_by(handler))
    assert definition.handler.make().__self__ is handler  # type: ignore[attr-defined]


def test_all_options_reach_the_definition() -> None:
    definition = define(
        lambda task: (
            task.of(kind)
            .with_execution_metadata(Progress, version=2, upgrades={1: dict}, save_on_stop=False)
            .handled_by(anything)
            .isolated()
            .with_retry(max_retries=UNLIMITED, backoff=Delays([1]), give_up_on=ValueError)
            .with_timeout(soft=1, hard=timedelta(seconds=2))
            .with_stop_grace(timedelta(seconds=3))
            .on_queue("imports", priority=0)
            .requires("network")
            .requires("disk")
            .with_unique_key(lambda metadata: metadata.url, policy="replace")
            .with_aliases("old.import")
            .on_exhausted("apologise")
            .described_as("Imports a catalogue")
        )
    )
    assert (definition.version, [*definition.upgrades], definition.save_on_stop) == (2, [1], False)
    assert definition.handler.isolated
    assert definition.retry.max_retries == UNLIMITED
    assert definition.retry.give_up_on == (ValueError,)
    assert definition.timeouts == Timeouts(soft=1, hard=2)
    assert definition.stop_grace == 3
    assert (definition.queue, definition.priority) == ("imports", 0)
    assert definition.requires == ("network", "disk")
    assert definition.unique_key is not None
    assert definition.unique_key.function(Request(url="a")) == "a"
    assert definition.unique_key.policy == "replace"
    assert definition.names == ("catalogue.import", "old.import")
    assert definition.on_exhausted == "apologise"
    assert definition.description == "Imports a catalogue"


def test_the_decorator_gives_the_handler_back_and_takes_numbers() -> None:
    declaring = builder()

    @declaring.task("a", queue="q", priority=1, retry=5, timeout=9, requires=("net",))
    async def handle(context: TaskContext[Request, Progress]) -> None:
        context.progress(1)

    declaring.task(kind, retry=RetryPolicy(jitter=0), timeout=Timeouts(soft=3), isolated=True)(
        anything
    )
    assert handle.__name__ == "handle"
    first, second = builder_of(declaring)
    assert (first.queue, first.priority, first.requires) == ("q", 1, ("net",))
    assert (first.retry.max_retries, first.timeouts.hard) == (5, 9)
    assert (second.retry.jitter, second.timeouts.soft, second.handler.isolated) == (0, 3, True)


def builder_of(declaring: ServiceBuilder[Declared]) -> list[TaskDefinition]:
    return [*declaring.build().registry]


def test_settings_are_collected_by_dotted_key_and_the_last_word_counts() -> None:
    declared = (
        builder()
        .configure_persistence(schema_name="a", dsn="postgresql://")
        .configure_scheduling(batch_size=5)
        .configure_execution(concurrency=1)
        .configure_execution(concurrency=2, max_retry_count=0)
        .configure_retention(completed=timedelta(days=1))
        .configure_limits(result_bytes=10)
        .configure_logging(level="debug")
        .build()
    )
    assert dict(declared.settings) == {
        "persistence.schema_name": "a",
        "dsn": "postgresql://",
        "scheduling.batch_size": 5,
        "execution.concurrency": 2,
        "execution.max_retry_count": 0,
        "retention.completed": timedelta(days=1),
        "limits.result_bytes": 10,
        "logging.level": "debug",
    }


def test_listeners_are_collected_and_unknown_events_refused() -> None:
    assert builder().on("task.failed", print).build().listeners == (("task.failed", print),)
    with pytest.raises(RegistrationError, match=r"did you mean 'task\.failed'"):
        builder().on("task.fail", print).build()


def test_every_event_that_can_be_listened_to_is_emitted_by_the_runtime() -> None:
    assert EVENTS <= NAMES


def test_a_finished_definition_can_be_added() -> None:
    definition = define(lambda task: task.of(kind).handled_by(anything))
    registry = builder().add_task(definition).build().registry
    assert registry["catalogue.import"] is definition


def test_a_registry_finds_definitions_by_name_and_alias() -> None:
    registry = (
        builder()
        .add_task(lambda task: task.named("a").handled_by(anything).with_aliases("old.a"))
        .build()
        .registry
    )
    assert registry["a"] is registry["old.a"]
    assert (registry.get("b"), "a" in registry, "b" in registry) == (None, True, False)
    assert (registry.names(), len(registry)) == (("a", "old.a"), 1)
