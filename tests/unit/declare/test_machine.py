"""State machines without a database: dispatch, what is saved, bounds, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import pytest
from pydantic import BaseModel, Field

from perdure import (
    End,
    InvalidArgument,
    Next,
    RegistrationError,
    StateMachine,
    StateMachineLoop,
    Success,
    Suspended,
    SyncTaskContext,
    TaskContext,
    TaskKind,
    TaskStopped,
)
from perdure.declare.task_builder import define
from perdure.tasks.checkpoints import STATES_PASSED
from perdure.testing import Rehearsal


class Red(BaseModel):
    kind: Literal["red"] = "red"


class Green(BaseModel):
    kind: Literal["green"] = "green"
    count: int = 0


class Lime(Green):
    kind: Literal["lime"] = "lime"  # type: ignore[assignment]


State: TypeAlias = Annotated[Red | Green, Field(discriminator="kind")]
Colour: TypeAlias = Red | Green | Lime


class Light(BaseModel):
    state: State = Red()


class Lamp(BaseModel):
    state: Colour = Red()


Context: TypeAlias = TaskContext[dict[str, int], Light]
light = TaskKind("light", dict[str, int], execution_metadata=Light, result=int)


def counting(most: int, **options: Any) -> StateMachine[Any, Any, Any, Any, Any]:
    """Green so often, after red."""
    machine = StateMachine(**options)

    @machine.on(Red)
    async def red(_state: Red, _context: Context) -> Next[Green]:
        return Next(Green())

    @machine.on(Green)
    async def green(state: Green, _context: Context) -> Next[Green] | End[Green, int]:
        if state.count == most:
            return End(state, Success(state.count))
        return Next(Green(count=state.count + 1))

    return machine


def problems(machine: StateMachine[Any, Any, Any, Any, Any], type_: type[Any]) -> list[str]:
    """What a task with such execution metadata is told."""
    kind = TaskKind("light", dict[str, int], execution_metadata=type_)
    with pytest.raises(RegistrationError) as raised:
        define(lambda task: task.of(kind).handled_by(machine))
    return [text.removeprefix("task 'light': ") for text in raised.value.problems]


async def done(state: Any, _context: Any) -> Any:
    return End(state, Success(None))


def test_each_state_is_saved_before_the_next_handler_runs_and_the_last_with_the_end() -> None:
    rehearsal = Rehearsal(counting(2), {}, kind=light)
    assert rehearsal.run() == Success(2)
    states = [saved.state for saved in rehearsal.checkpoints]
    assert states == [Green(count=0), Green(count=1), Green(count=2)]
    assert rehearsal.execution_metadata == Light(state=Green(count=2))


def test_a_handler_that_raises_is_called_again_in_the_saved_state() -> None:
    machine = StateMachine()
    called: list[str] = []

    @machine.on(Red)
    async def red(_state: Red, _context: Context) -> Next[Green]:
        called.append("red")
        return Next(Green())

    @machine.on(Green)
    async def green(state: Green, context: Context) -> End[Green, int]:
        called.append("green")
        if context.attempt == 1:
            raise ArithmeticError
        return End(state, Success(7))

    rehearsal = Rehearsal(machine, {}, kind=light)
    with pytest.raises(ArithmeticError):
        rehearsal.run()
    assert rehearsal.run() == Success(7)
    assert called == ["red", "green", "green"]


def test_plain_handlers_take_a_synchronous_context_and_annotations_say_the_types() -> None:
    machine = StateMachine()

    @machine.on(Red)
    def red(_state: Red, context: SyncTaskContext[dict[str, int], Light]) -> Next[Green]:
        return Next(Green(count=context.metadata["n"]))

    @machine.on(Green)
    def green(state: Green, _context: object) -> End[Green, int, str]:
        return End(state, Success(state.count))

    definition = define(lambda task: task.named("light").handled_by(machine))
    assert definition.handler.mode == "sync"
    assert definition.metadata.type_ == dict[str, int]
    assert definition.execution_metadata.type_ is Light
    assert definition.result.type_ is int
    assert definition.error.type_ is str
    assert Rehearsal(definition, {"n": 3}).run() == Success(3)


def test_a_state_is_dispatched_by_its_own_class_else_by_the_nearest_base() -> None:
    machine = StateMachine()

    @machine.on(BaseModel)
    async def any_other(_state: BaseModel, _context: Context) -> Next[Lime]:
        return Next(Lime(count=5))

    @machine.on(Green)
    async def green(state: Green, _context: Context) -> End[Green, int]:
        return End(state, Success(state.count))

    kind = TaskKind("lamp", dict[str, int], execution_metadata=Lamp, result=int)
    assert Rehearsal(machine, {}, kind=kind).run() == Success(5)


def test_more_steps_than_allowed_are_a_loop_and_as_many_are_none() -> None:
    assert Rehearsal(counting(8, max_steps=10), {}, kind=light).run() == Success(8)
    with pytest.raises(StateMachineLoop, match="10 steps in one run, the last one to Green"):
        Rehearsal(counting(9, max_steps=10), {}, kind=light).run()


def test_the_last_twenty_states_that_were_passed_are_kept_beside_the_steps() -> None:
    rehearsal = Rehearsal(counting(30), {}, kind=light)
    rehearsal.run()
    kept = json.loads(rehearsal.steps or "{}")[STATES_PASSED]
    assert kept == [[1, "Green"]] * 20
    short = Rehearsal(counting(1), {}, kind=light)
    short.run()
    assert json.loads(short.steps or "{}") == {
        STATES_PASSED: [[1, "Red"], [1, "Green"], [1, "Green"]]
    }


def test_a_step_cannot_be_taken_for_the_states_that_were_passed() -> None:
    machine = StateMachine()

    async def step(_state: object, context: Context) -> End[Any, int]:
        return End(Red(), Success(await context.step(STATES_PASSED, int)))

    machine.on(Red)(step)
    machine.on(Green)(step)
    with pytest.raises(InvalidArgument, match="state machine's"):
        Rehearsal(machine, {}, kind=light).run()


@pytest.mark.parametrize("blocking", [False, True])
def test_between_two_states_a_run_hears_that_it_should_stop(blocking: bool) -> None:
    machine = StateMachine()
    called: list[object] = []

    def turn(state: object, _context: object) -> Next[Green]:
        called.append(state)
        return Next(Green(count=len(called)))

    async def turn_on_the_loop(state: object, context: object) -> Next[Green]:
        return turn(state, context)

    for state in (Red, Green):
        machine.on(state)(turn if blocking else turn_on_the_loop)
    rehearsal = Rehearsal(machine, {}, kind=light, stop="shutdown")
    with pytest.raises(TaskStopped):
        rehearsal.run()
    assert called == [Red()]
    assert rehearsal.checkpoints == [Light(state=Green(count=1))]


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (Success(1), "not Next"),
        (None, "not Next"),
        (End(Green(), 3), "one of the five outcomes"),  # type: ignore[arg-type]
        (Next(Light()), "Light is no state of this machine"),
        (End(3, Suspended()), "int is no state of this machine"),
    ],
)
def test_what_is_neither_next_nor_end_nor_a_state_is_a_failure_and_not_saved(
    turn: object, said: str
) -> None:
    machine = StateMachine()

    async def odd(_state: object, _context: object) -> Any:
        return turn

    machine.on(Red)(odd)
    machine.on(Green)(odd)
    rehearsal = Rehearsal(machine, {}, kind=light)
    with pytest.raises(TypeError, match=said):
        rehearsal.run()
    assert rehearsal.checkpoints == []


def test_every_mistake_of_a_machine_is_found_at_once() -> None:
    machine = StateMachine(max_steps=0)
    machine.on(Red)(done)
    machine.on(Red)(lambda state, _context: End(state, Suspended()))
    machine.on(Lime)(done)
    found = problems(machine, Light)
    assert len(found) == 4
    assert "Red is handled twice" in found[0]
    assert "max_steps=0: 1 or more" in found[1]
    assert "the state Green has no handler" in found[2]
    assert "the handler of Lime is never called" in found[3]


def plain(state: Any, _context: Any) -> Any:
    return End(state, Success(None))


@dataclass
class One:
    name: Literal["one"] = "one"


@dataclass
class Two:
    name: Literal["two"] = "two"


class OneOrTwo(BaseModel):
    state: One | Two = One()


class Alike(BaseModel):
    state: Green | Light = Green()


class MaybeRed(BaseModel):
    state: Red | None = None


@pytest.mark.parametrize(
    ("states", "handler", "type_", "said"),
    [
        ((), done, Light, "has no handlers"),
        ((Red,), done, TaskKind, "has no field 'state'"),
        ((Red,), done, MaybeRed, "NoneType is not a class of states"),
        ((Green, Light), done, Alike, "nothing tells its states apart"),
        ((Red, Green), lambda _state: None, Light, "must take 2 arguments, the state and the"),
        ((Red, Green), 3, Light, "must take 2 arguments"),
    ],
)
def test_a_machine_that_cannot_run_is_refused(
    states: tuple[type, ...], handler: Callable[..., Any], type_: type[Any], said: str
) -> None:
    machine = StateMachine()
    for state in states:
        machine.on(state)(handler)
    assert said in "\n".join(problems(machine, type_))


def test_handlers_are_all_async_or_all_plain() -> None:
    machine = StateMachine()
    machine.on(One)(done)
    machine.on(Two)(plain)
    assert "these are mixed" in "\n".join(problems(machine, OneOrTwo))


def test_states_may_be_dataclasses_and_a_machine_serves_two_tasks() -> None:
    machine = StateMachine()
    machine.on(One)(plain)
    machine.on(Two)(plain)
    kind = TaskKind("light", dict[str, int], execution_metadata=OneOrTwo)
    for _ in range(2):
        assert Rehearsal(machine, {}, kind=kind).run() == Success(None)


def test_a_state_that_comes_after_the_machine_was_given_to_a_task_is_refused() -> None:
    machine = counting(1)
    define(lambda task: task.of(light).handled_by(machine))
    with pytest.raises(RegistrationError, match=r"on\(Lime\) comes after"):
        machine.on(Lime)
