"""Load under policies: schedules, limits, constraints, chains, lengths of life, a singleton.

What each of them promises is judged in `judge_policies`.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from tests.faults.telling import PATIENT, Done, Order, Paged, Plain, done, saved, tell, told

from perdure.declare.builder import ServiceBuilder
from perdure.declare.context import TaskContext
from perdure.declare.kind import Edge, EnqueueOptions, NewTask, TaskKind
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure
from perdure.tasks.schedules import CatchUp, Overlap
from perdure.tasks.triggers import Cron, Every

Builder = ServiceBuilder[TaskService]


Rule = Literal["fail", "cancel", "run"]


class Scheduled(NamedTuple):
    """A schedule: how far its instants lie apart, and what may become of one."""

    seconds: int
    trigger: Every | Cron
    task: str
    overlap: Overlap
    catch_up: CatchUp
    fates: frozenset[str]


FIRED, LATE = frozenset({"fired"}), frozenset({"fired", "coalesced"})
SCHEDULES: Final = {
    "allow": Scheduled(1, Every(1), "short", "allow", "latest", LATE),
    "skip": Scheduled(
        1, Every(1, start=datetime(2026, 1, 1, tzinfo=UTC)), "durable", "skip", "latest",
        LATE | {"skipped"},
    ),
    "queue": Scheduled(2, Cron("*/2 * * * * *"), "keyed", "queue", "all", FIRED),
    "cancel": Scheduled(2, Every(2), "durable", "cancel_previous", "latest", LATE),
}  # fmt: skip
BY_SCHEDULE: Final = "schedule"
"""The operation of a task that a schedule has made."""
SINGLETON: Final = "singleton:holder"
TICK_SECONDS: Final = 0.5
AT_ONCE: Final = 2
"""Of the tasks called `limited` with one number."""
LINE: Final = "PERDURE_TEST_LINE"
"""The file that is there while the line is down."""
LINED: Final = "line"
PROBED_SECONDS: Final = 0.25
NOWHERE: Final = "nowhere"
"""A constraint that no worker satisfies."""
FOLLOWS: Final[dict[int, dict[int, Rule]]] = {
    0: {}, 1: {0: "fail"}, 2: {0: "cancel"}, 3: {1: "run", 2: "fail"}, 4: {3: "run"},
}  # fmt: skip
"""Of a chain: which numbers each of its tasks follows, and by which rule."""
PARTS: Final = 10

limited = TaskKind("limited", Order, result=Done)
link = TaskKind("link", Order, result=Done, error=str)


def chain(orders: list[Order]) -> list[NewTask[Any, Any]]:
    """The tasks of a chain for `enqueue_many`."""
    tasks: list[NewTask[Any, Any]] = []
    for number, order in enumerate(orders):
        after = [Edge(tasks[n], on_failure=rule) for n, rule in FOLLOWS[number].items()]
        tasks.append(NewTask(link, order, after=after))
    return tasks


def chain_entries(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for SQL."""
    return [
        {"name": "link", "metadata": order, "after": [
            {"position": n, "on_failure": rule} for n, rule in FOLLOWS[number].items()
        ]}
        for number, order in enumerate(orders)
    ]  # fmt: skip


def lifetime(kind: str, delay: float) -> EnqueueOptions[None]:
    """What is said of a task that may expire, or of one that may run only after its deadline."""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    if kind == "expiring":
        return {"delay": delay, "expires_at": soon}
    return {"requires": [NOWHERE], "deadline_at": soon}


def line_is_up() -> bool:
    """What the probe of each worker says."""
    return not Path(os.environ[LINE]).exists()


async def _limited(context: Plain) -> Done:
    with told(context):
        await asyncio.sleep(0.1)
        return done(context)


async def _lined(context: Paged) -> Done:
    with told(context):
        while context.execution_metadata.page < PARTS:
            context.stop.check()
            await asyncio.sleep(0.3)
            context.execution_metadata.page += 1
            await context.checkpoint()
            saved(context)
        return done(context)


async def _link(context: Plain) -> Done | Failure[str]:
    with told(context):
        inputs = (await context.inputs()).all("link")
        said = [[one.state, (one.result or {}).get("i")] for one in inputs]
        tell("inputs", context.task_id, attempt=context.attempt, inputs=said)
        if context.metadata.fails == context.metadata.i:
            return Failure("it has to", final=True)
        return done(context)


async def _timed(context: Plain) -> Done:
    with told(context):
        return done(context)


class Holder:
    """Writes a row for each tick, and notes each before it writes."""

    def __init__(self, context: TaskContext[None, Any]) -> None:
        self._context = context

    async def __aenter__(self) -> Self:
        context = self._context
        tell("start", context.task_id, attempt=context.attempt, name=context.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        tell("end", self._context.task_id, attempt=self._context.attempt)

    async def tick(self) -> None:
        """Refused once another holds it."""
        context = self._context
        number = context.execution_metadata.number
        tell("tick", context.task_id, attempt=context.attempt, number=number)
        async with context.transaction() as connection:
            await connection.execute(
                "insert into ticks (task_id, attempt, number) values (%s, %s, %s)",
                (context.task_id, context.attempt, number),
            )


def declare(builder: Builder) -> None:
    """All of it."""
    builder.add_task(
        lambda task: (
            task.of(limited)
            .with_max_instances(AT_ONCE, key="i")
            .with_retry_policy(PATIENT)
            .handled_by(_limited)
        )
    )
    builder.add_constraint(LINED, line_is_up, every=PROBED_SECONDS, debounce=PROBED_SECONDS)
    builder.task("lined", retry=PATIENT, requires=(LINED,))(_lined)
    builder.task(link, retry=PATIENT)(_link)
    for name in ("expiring", "overdue"):
        builder.task(name, retry=PATIENT)(_timed)
    builder.add_singleton("holder", Holder, tick=TICK_SECONDS)
    for key, one in SCHEDULES.items():
        builder.add_schedule(
            key, one.task, one.trigger, Order(op=BY_SCHEDULE), overlap=one.overlap,
            catch_up=one.catch_up,
        )  # fmt: skip
