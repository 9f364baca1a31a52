"""State machines for workers: on the loop, in a thread, in a child process that kills itself."""

from __future__ import annotations

import os
import signal
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from tests.kit.ledger import Ledger, note

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.declare.machine import StateMachine
from perdure.declare.sync_context import SyncTaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import (
    Cancelled,
    End,
    Failure,
    Next,
    Outcome,
    Retry,
    Success,
    Suspended,
)


class Asked(BaseModel):
    """Metadata: how many steps to take, or how to end."""

    steps: int = 0
    how: str = ""


class First(BaseModel):
    """Where each begins."""

    kind: Literal["first"] = "first"


class Counted(BaseModel):
    """After each step."""

    kind: Literal["counted"] = "counted"
    steps: int


class Waiting(BaseModel):
    """Until somebody proceeds it."""

    kind: Literal["waiting"] = "waiting"
    order: int


class Paid(BaseModel):
    """What it has been waiting for."""

    kind: Literal["paid"] = "paid"
    receipt: str


State: TypeAlias = First | Counted | Waiting | Paid


class Progress(BaseModel):
    """The checkpoint."""

    state: State = First()


ENDINGS: dict[str, Outcome[str, str]] = {
    "success": Success("done"),
    "failure": Failure("no", final=True),
    "retry": Retry(after=3600, error="later"),
    "cancelled": Cancelled("never mind"),
    "suspended": Suspended(),
}
Context: TypeAlias = TaskContext[Asked, Progress]
SyncContext: TypeAlias = SyncTaskContext[Asked, Progress]
Machine: TypeAlias = StateMachine[Asked, Progress, State, str, str]
Turn: TypeAlias = Next[State] | End[State, str, str]


def kind_of(name: str) -> TaskKind[Asked, Progress, str, str]:
    """They differ in nothing but their name."""
    return TaskKind(name, Asked, execution_metadata=Progress, result=str, error=str)


def turn_of(state: State, context: Context | SyncContext) -> Turn:
    """Count the steps that were asked for, wait, and end as asked."""
    asked = context.metadata
    match state:
        case First() | Counted():
            steps = state.steps if isinstance(state, Counted) else 0
            if steps < asked.steps:
                return Next(Counted(steps=steps + 1))
            if asked.how:
                return End(Counted(steps=-1), ENDINGS[asked.how])
            return End(Waiting(order=context.task_id), Suspended(wait_key="payment"))
        case Waiting():
            return Next(Paid(receipt=f"too early for {state.order}"))
        case Paid():
            return End(state, Success(state.receipt))


async def on_the_loop(state: State, context: Context) -> Turn:
    """Nothing else."""
    return turn_of(state, context)


def in_a_thread(state: State, context: SyncContext) -> Turn:
    """Nothing else."""
    return turn_of(state, context)


def dies_first(state: State, context: SyncContext) -> None:
    """Kill this process whenever a state is met for the first time."""
    records = Ledger.here().records("met", context.task_id)
    note("met", context.task_id, state=state.model_dump())
    if all(record["state"] != state.model_dump() for record in records):
        os.kill(os.getpid(), signal.SIGKILL)


def mortal(state: State, context: SyncContext) -> Turn:
    """Nothing else, but dies at each new state."""
    dies_first(state, context)
    return turn_of(state, context)


def machine_of(handler: Any) -> Machine:
    """A machine with one handler for all states."""
    machine: Machine = StateMachine()
    for state in (First, Counted, Waiting, Paid):
        machine.on(state)(handler)
    return machine


builder = (
    TaskService.builder()
    .configure_execution(max_retry_count=0)
    .add_task(lambda task: task.of(kind_of("loop")).handled_by(machine_of(on_the_loop)))
    .add_task(lambda task: task.of(kind_of("thread")).handled_by(machine_of(in_a_thread)))
    .add_task(lambda task: task.of(kind_of("mortal")).handled_by(machine_of(mortal)).isolated())
)
service: Any = builder.build()
