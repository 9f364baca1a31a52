"""Memory of one run: its execution metadata and steps, as they stand and as last saved."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from perdure.declare.definition import TaskDefinition
from perdure.errors import InvalidArgument
from perdure.tasks.checkpoints import (
    STATES_PASSED,
    dump_steps,
    load_execution_metadata,
    load_steps,
)
from perdure.tasks.places import Claimed, Saved

X = TypeVar("X")

STEP_NAME_CHARS_MAX: Final = 200
_UNREAD: Any = object()


class Entry:
    """An open `context.transaction()`: what it found, and what it is to do at its end.

    `value` is the object that the handler may hold, `was` a copy of it as it was at the entry.
    `result` is the JSON text to complete the task with, None: not to be completed.
    """

    __slots__ = ("connection", "result", "value", "was")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.was = copy.deepcopy(value)
        self.connection: object = None
        self.result: str | None = None


class Memory(Generic[X]):
    """Read at first use: a run that touches none of it pays for none of it."""

    __slots__ = (
        "_beside",
        "_claimed",
        "_definition",
        "_last",
        "_steps",
        "_used",
        "_value",
        "entry",
    )

    def __init__(self, definition: TaskDefinition, claimed: Claimed) -> None:
        self._definition = definition
        self._claimed = claimed
        self._value: X = _UNREAD
        self._last: str | None = None
        self._steps: dict[str, str] | None = None
        self._beside = False
        self._used: set[str] = set()
        self.entry: Entry | None = None

    @property
    def value(self) -> X:
        """The execution metadata; at first use, InvalidPayload or NewerCheckpoint may be raised."""
        if self._value is _UNREAD:
            claimed, definition = self._claimed, self._definition
            self._value = load_execution_metadata(
                definition.execution_metadata,
                definition.version,
                definition.upgrades,
                None if definition.execution_metadata.is_none else claimed.execution_metadata,
                claimed.version,
            )
            if claimed.version == definition.version or claimed.execution_metadata is None:
                self._last = self._text(self._value)
        return self._value

    @value.setter
    def value(self, value: X) -> None:
        _ = self.value
        self._value = value

    @property
    def steps(self) -> dict[str, str]:
        """The steps that are done: name to the value as JSON text."""
        if self._steps is None:
            self._steps = load_steps(self._claimed.steps)
        return self._steps

    def as_it_stands(self) -> Saved:
        """Everything, as the handler sees it; UnencodableValue if it cannot be stored."""
        return self._saved(self._text(self.value), self.steps)

    def unsaved(self) -> Saved | None:
        """Everything, as it stands; None if that is what was read, or saved last."""
        if self._value is _UNREAD:
            return None
        saved = self.as_it_stands()
        return None if saved.execution_metadata == self._last and not self._beside else saved

    def was_saved(self, saved: Saved) -> None:
        """Remember that this is durable."""
        self._last = saved.execution_metadata
        self._beside = False

    def keep_beside(self, name: str, value: str) -> None:
        """Have a value, JSON text, saved beside the steps with the next checkpoint, or the end."""
        self.steps[name] = value
        self._beside = True

    def begin_step(self, name: str) -> str | None:
        """Use a step's name; its value as JSON text if it is done.

        Raises:
            InvalidArgument: the name is empty, too long, or was used before in this run.
        """
        if name == STATES_PASSED:
            raise InvalidArgument(f"a step called {name!r} would be taken for a state machine's")
        if not 0 < len(name) <= STEP_NAME_CHARS_MAX:
            raise InvalidArgument(f"a step's name has 1 to {STEP_NAME_CHARS_MAX} characters")
        if name in self._used:
            raise InvalidArgument(
                f"the step {name!r} was used before in this run: give each its own name,"
                f" such as {name + ':2'!r}"
            )
        self._used.add(name)
        return self.steps.get(name)

    def with_step(self, name: str, value: str) -> Saved:
        """What to save so that a step is done: without the work of an open transaction."""
        current = self.value if self.entry is None else self.entry.was
        return self._saved(self._text(current), {**self.steps, name: value})

    def step_was_saved(self, name: str, value: str, saved: Saved) -> None:
        """Remember that the step is done."""
        self.steps[name] = value
        self.was_saved(saved)

    def enter(self) -> Entry:
        """A transaction is about to begin: keep the model as it is now.

        Raises:
            InvalidArgument: a transaction of this run is open already.
        """
        if self.entry is not None:
            raise InvalidArgument(
                "a transaction of this run is open already: use its connection, or end it first"
            )
        self.entry = Entry(self.value)
        return self.entry

    def leave(self, committed: Saved | None) -> None:
        """The transaction has ended; None: rolled back, and the model becomes what it was."""
        entry, self.entry = self.entry, None
        if committed is not None:
            self.was_saved(committed)
        elif entry is not None:
            self._value = _restored(entry.value, entry.was)

    def _text(self, value: X) -> str | None:
        payload = self._definition.execution_metadata
        return None if payload.is_none else payload.dump(value)

    def _saved(self, text: str | None, steps: dict[str, str]) -> Saved:
        return Saved(text, self._definition.version, dump_steps(steps))


def _restored(value: Any, was: Any) -> Any:
    """The same object with its old content, since the handler may hold it; else the copy."""
    match value:
        case BaseModel():
            value.__setstate__(was.__getstate__())
        case dict():
            value.clear()
            value.update(was)
        case list():
            value[:] = was
        case _ if is_dataclass(value):
            for field in fields(value):
                object.__setattr__(value, field.name, getattr(was, field.name))
        case _:
            return was
    return value
