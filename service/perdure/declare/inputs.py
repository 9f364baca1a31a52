"""Inputs: what the tasks that one follows have come to, as its handler reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import override

from perdure.tasks.codec import Payload
from perdure.tasks.places import InputRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Input:
    """A task that another follows, with what it has come to.

    `result` is the JSON value; `error` the record of a failure, as in `TaskFailed`. `label` is None
    where none was said. `state` is None for a task that has been retried and lives again.
    """

    name: str
    result: Any = None
    label: str | None = None
    state: str | None = "completed"
    error: Mapping[str, Any] | None = None
    task_id: int = 0

    def result_as(self, type_: type[T]) -> T:
        """The result as a value of a type; InvalidPayload lists what does not fit."""
        return Payload[T](type_).load(json.dumps(self.result))


class Inputs(Mapping[str, Input]):
    """By label: the one that was said, else the task's name where only one task has it."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._all = list(inputs)
        named = Counter(one.name for one in inputs)
        alone = (one for one in inputs if one.label is None and named[one.name] == 1)
        self._labelled = {one.name: one for one in alone}
        self._labelled |= {one.label: one for one in inputs if one.label is not None}

    @classmethod
    def of(cls, rows: Sequence[InputRow]) -> Inputs:
        """For the runtime: those that the database knows of."""
        return cls(
            [
                Input(
                    row.name, _value(row.result), row.label, row.state, _value(row.error),
                    row.task_id,
                )
                for row in rows
            ]
        )  # fmt: skip

    @override
    def __getitem__(self, label: str) -> Input:
        try:
            return self._labelled[label]
        except KeyError:
            known = ", ".join(map(repr, self._labelled)) or "none"
            raise KeyError(
                f"no input is called {label!r}, there are {known}; of several tasks with one name"
                " each needs a label, or ask .all(name)"
            ) from None

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._labelled)

    @override
    def __len__(self) -> int:
        return len(self._labelled)

    def all(self, name: str | None = None) -> list[Input]:
        """Those of a task name, or all, in the order in which they were said."""
        return [one for one in self._all if name is None or one.name == name]

    def merged(self) -> dict[str, Any]:
        """The members of all results that are objects in one; a later one wins."""
        return {key: value for result in self._objects() for key, value in result.items()}

    def collected(self) -> dict[str, list[Any]]:
        """The same with a list of the values of each member, in order."""
        lists: dict[str, list[Any]] = {}
        for result in self._objects():
            for key, value in result.items():
                lists.setdefault(key, []).append(value)
        return lists

    def _objects(self) -> Iterator[dict[str, Any]]:
        return (one.result for one in self._all if isinstance(one.result, dict))


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
