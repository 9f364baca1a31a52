"""The schedules that a program declares: who each is for, and what is wrong with them together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import NoneType
from typing import Any, Final

from perdure.declare.definition import TaskDefinition
from perdure.declare.kind import TaskKind
from perdure.declare.new_schedule import NewSchedule
from perdure.declare.registry import place_problems
from perdure.errors import PerdureError

KEY_BYTES_MAX: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class OnHandler:
    """A schedule above a handler: of the task that the same handler is declared for."""

    handler: Callable[..., object]
    schedule: NewSchedule
    """Its task is not known yet; its key is empty where it is to be the task's name."""


class Schedules:
    """What a builder collects."""

    def __init__(self) -> None:
        self._said: list[NewSchedule | OnHandler] = []
        self._tasks: list[tuple[Callable[..., object], str]] = []

    def add(self, schedule: NewSchedule | OnHandler) -> None:
        """One more."""
        self._said.append(schedule)

    def handles(self, handler: Callable[..., object], name: str) -> None:
        """A handler that was declared for a task."""
        self._tasks.append((handler, name))

    def checked(
        self, definitions: Iterable[TaskDefinition], problems: list[str]
    ) -> tuple[NewSchedule, ...]:
        """All of them; what is wrong with each, and with all together, goes to `problems`."""
        tasks = {
            name: definition
            for definition in definitions
            for name in definition.names
            if isinstance(name, str)
        }
        found: dict[str, NewSchedule] = {}
        for schedule in self._resolved(problems):
            key, label = schedule.key, f"schedule {schedule.key!r}"
            wrong, checked = _checked(schedule, tasks)
            if not _is_key(key):
                wrong.insert(
                    0, f"the key must have 1 to {KEY_BYTES_MAX} bytes and no control characters"
                )
            elif key in found:
                wrong.insert(0, "its key is declared twice")
            else:
                found[key] = checked
            problems += [f"{label}: {problem}" for problem in wrong]
        return tuple(found.values())

    def _resolved(self, problems: list[str]) -> Iterator[NewSchedule]:
        """Those that have a task; why others have none goes to `problems`."""
        for said in self._said:
            if isinstance(said, NewSchedule):
                yield said
                continue
            names = [name for handler, name in self._tasks if handler is said.handler]
            label = getattr(said.handler, "__qualname__", repr(said.handler))
            if len(names) == 1:
                schedule = said.schedule
                yield replace(schedule, task=names[0], key=schedule.key or names[0])
            elif names:
                problems.append(
                    f"schedule of {label}: it handles {' and '.join(map(repr, names))}:"
                    " say which with add_schedule"
                )
            else:
                problems.append(f"schedule of {label}: it is no task: put @builder.task on it")


def _checked(
    schedule: NewSchedule, tasks: Mapping[str, TaskDefinition]
) -> tuple[list[str], NewSchedule]:
    """What is wrong with it; and it, with a metadata that needs the task's type no more."""
    if not isinstance(schedule.task, str | TaskKind):
        return [*schedule.problems()], schedule
    options: dict[str, Any] = {**schedule.options}
    queue, priority = options.get("queue"), options.get("priority")
    wrong = [
        *schedule.problems(),
        *place_problems(queue, priority, options.get("requires") or ()),
    ]
    task = tasks.get(schedule.name)
    if task is None:
        near = get_close_matches(str(schedule.name), sorted(tasks), 1)
        hint = f"did you mean {near[0]!r}?" if near else "declare it in the same service"
        return [*wrong, f"there is no task {schedule.name!r}; {hint}"], schedule
    try:
        if isinstance(schedule.task, str) and not isinstance(
            schedule.metadata, (Mapping, NoneType)
        ):
            plain = json.loads(task.metadata.dump(schedule.metadata))
            schedule = replace(schedule, metadata=plain)
        task.metadata.load(schedule.new_task().metadata_json())
    except PerdureError as error:
        wrong.append(f"metadata: {error}")
    return wrong, schedule


def _is_key(key: object) -> bool:
    return (
        isinstance(key, str)
        and 0 < len(key.encode(errors="replace")) <= KEY_BYTES_MAX
        and not _CONTROL.search(key)
    )
