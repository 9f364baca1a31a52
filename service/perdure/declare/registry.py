"""Registry: name or alias -> definition, and everything that can be wrong with definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, get_args

from perdure.declare.definition import TaskDefinition, WhenFull
from perdure.errors import RegistrationError
from perdure.tasks.checkpoints import missing_upgrades
from perdure.tasks.policies import UNIQUE_POLICIES

SINGLETON_PREFIX: Final = "singleton:"
"""Of the name, and of the unique key, of every singleton, and of nothing else."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
FIELD: Final = re.compile(r"(?!.{201})[^\s.=]+(\.[^\s.=]+)*")
PRIORITY_MAX: Final = 9
INSTANCES_MAX: Final = 10_000
WORD_CHARS_MAX: Final = 128
REQUIRES_MAX: Final = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_OBJECT = frozenset({"array", "string", "integer", "number", "boolean", "null"})


class Registry:
    """All tasks that a service knows; frozen from the beginning.

    RegistrationError, with every problem, unless all definitions are right, alone and together.
    `problems` are those found before.
    """

    __slots__ = ("_by_name", "_definitions")

    def __init__(
        self, definitions: Iterable[TaskDefinition] = (), problems: Sequence[str] = ()
    ) -> None:
        self._definitions = tuple(definitions)
        found = [*problems]
        for definition in dict.fromkeys(self._definitions):
            found += [f"task {definition.name!r}: {text}" for text in problems_of(definition)]
        by_name: dict[str, TaskDefinition] = {}
        found += _add_names(self._definitions, by_name)
        found += _circles(by_name)
        if found:
            raise RegistrationError(found)
        self._by_name: Mapping[str, TaskDefinition] = MappingProxyType(by_name)

    def __getitem__(self, name: str) -> TaskDefinition:
        """The definition of a name or alias; KeyError if there is none."""
        return self._by_name[name]

    def get(self, name: str) -> TaskDefinition | None:
        """The definition of a name or alias, or None."""
        return self._by_name.get(name)

    def names(self) -> tuple[str, ...]:
        """All names and aliases, in the order of their declaration."""
        return tuple(self._by_name)

    def singletons(self) -> tuple[str, ...]:
        """The names of the singletons among them."""
        return tuple(each.name for each in self._definitions if each.singleton)

    def described(self) -> list[dict[str, object]]:
        """What a database is told of each name: defaults, and the JSON Schema for producers."""
        return [
            {
                "name": name,
                "queue": definition.queue or "default",
                "priority": 5 if definition.priority is None else definition.priority,
                "requires": list(definition.requires),
                "description": definition.description,
                **_limit(definition),
                # 0 is the worker's business: what it does not store is kept as others are.
                **({"keep_results": definition.keep_results} if definition.keep_results else {}),
                "schemas": {"metadata": definition.metadata.schema()},
            }
            for definition in self._definitions
            for name in definition.names
        ]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)


def problems_of(definition: TaskDefinition) -> list[str]:
    """What is wrong with one definition, whatever others there are."""
    names = [*definition.names, *filter(None, [definition.on_exhausted])]
    return [
        *(
            f"the name {name!r} is not valid: 1 to 200 letters, digits and . _ : / -, beginning"
            " with a letter or digit"
            for name in names
            if not (isinstance(name, str) and NAME.fullmatch(name))
        ),
        *(
            f"the name {name!r} is a singleton's: use another, or add_singleton"
            for name in definition.names
            if str(name).startswith(SINGLETON_PREFIX) is not definition.singleton
        ),
        *_singleton_problems(definition),
        *_type_problems(definition),
        *_version_problems(definition),
        *_kind_problems(definition),
        *place_problems(definition.queue, definition.priority, definition.requires),
        *_limit_problems(definition),
        *_time_problems(definition),
    ]


def _singleton_problems(definition: TaskDefinition) -> Iterator[str]:
    if definition.name == SINGLETON_PREFIX:
        yield "a singleton has no name: give one to add_singleton"
    if str(definition.on_exhausted).startswith(SINGLETON_PREFIX):
        # The database refuses it: the task that is exhausted could never end.
        yield f"on_exhausted={definition.on_exhausted!r}: workers put a singleton, nobody else does"


def _limit(definition: TaskDefinition) -> dict[str, object]:
    """The limit of a definition, as a database is told of it; aliases share it."""
    limit = definition.max_instances
    if limit is None:
        return {}
    return {
        "max_instances": limit.n,
        "instances_of": definition.name,
        "instances_by": limit.key,
        "when_full": limit.when_full,
    }


def _kind_problems(definition: TaskDefinition) -> Iterator[str]:
    """Values of another type than they must have, where nobody else would look."""
    if not isinstance(definition.description, str | None):
        yield f"described_as({definition.description!r}): give a text"


def _limit_problems(definition: TaskDefinition) -> Iterator[str]:
    limit = definition.max_instances
    if limit is None:
        return
    if not (type(limit.n) is int and 1 <= limit.n <= INSTANCES_MAX):
        yield f"max_instances={limit.n!r}: a whole number from 1 to {INSTANCES_MAX}"
    if limit.key is not None and not (isinstance(limit.key, str) and FIELD.fullmatch(limit.key)):
        yield (
            f"key={limit.key!r} of max_instances: a field of the metadata, as tenant or"
            " customer.region, of at most 200 characters without spaces and ="
        )
    if limit.when_full not in get_args(WhenFull):
        yield (
            f"when_full={limit.when_full!r} of max_instances: use 'queue', 'skip' or"
            " 'cancel_previous'"
        )


def _type_problems(definition: TaskDefinition) -> Iterator[str]:
    for what in ("metadata", "execution_metadata"):
        payload = getattr(definition, what)
        if not payload.is_none and payload.schema().get("type") in _NO_OBJECT:
            yield f"{what}: {payload.type_!r} is not an object in JSON: put it into a model"
    key = definition.unique_key
    if key is not None and key.policy not in UNIQUE_POLICIES:
        known = ", ".join(UNIQUE_POLICIES)
        yield f"unknown policy {key.policy!r} of the unique key: there are {known}"
    if key is not None and not callable(key.function):
        yield "the unique key must be a function of the metadata"


def _version_problems(definition: TaskDefinition) -> Iterator[str]:
    version, upgrades = definition.version, definition.upgrades
    if not isinstance(version, int) or version < 1:
        yield f"version={version!r}: versions of the execution metadata are 1, 2, 3 ..."
        return
    gaps = missing_upgrades(version, upgrades)
    if gaps:
        listed = ", ".join(map(str, gaps))
        yield f"version {version} of the execution metadata has no upgrade from {listed}"
    odd = [number for number in upgrades if number not in range(1, version)]
    if odd:
        yield f"upgrades from {odd} are never used: the version is {version}"
    yield from (
        f"the upgrade from version {number} is not a function"
        for number, upgrade in upgrades.items()
        if not callable(upgrade)
    )


def place_problems(
    queue: str | None, priority: int | None, requires: Sequence[str]
) -> Iterator[str]:
    """What is wrong with where tasks are to go."""
    if queue is not None and (not _is_word(queue) or queue == "*"):
        yield f"the queue {queue!r} is not valid: 1 to 128 characters, no control characters"
    if priority is not None and (type(priority) is not int or not 0 <= priority <= PRIORITY_MAX):
        yield f"priority={priority!r}: 0 (first) to {PRIORITY_MAX}"
    if isinstance(requires, str) or not isinstance(requires, Sequence):
        yield f"requires={requires!r}: give a list of names"
    elif len(requires) > REQUIRES_MAX or not all(map(_is_word, requires)):
        yield f"requires{requires}: at most {REQUIRES_MAX} names of 1 to 128 characters"


def _time_problems(definition: TaskDefinition) -> Iterator[str]:
    handler, retry = definition.handler, definition.retry
    if definition.timeouts.hard is not None and handler.mode == "sync" and not handler.isolated:
        yield (
            "a hard timeout cannot kill a plain function in its thread: make it .isolated(), or"
            " give a soft one"
        )
    for option, classes in (("retry_on", retry.retry_on or ()), ("give_up_on", retry.give_up_on)):
        wrong = [one for one in classes if not _is_exception(one)]
        if wrong:
            yield f"{option}: {', '.join(map(repr, wrong))} is not an exception class"


def _is_word(word: object) -> bool:
    return isinstance(word, str) and 0 < len(word) <= WORD_CHARS_MAX and not _CONTROL.search(word)


def _is_exception(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, BaseException)


def _add_names(
    definitions: Sequence[TaskDefinition], by_name: dict[str, TaskDefinition]
) -> list[str]:
    """Fill the table, names before aliases; what is said twice is a problem."""
    problems: list[str] = []
    owned = [(each.name, each) for each in definitions]
    owned += [(alias, each) for each in definitions for alias in each.aliases]
    for name, definition in owned:
        if not isinstance(name, str):  # which `problems_of` says
            continue
        first = by_name.setdefault(name, definition)
        if first is not definition:
            one, other = first.handler.label, definition.handler.label
            handlers = f"both handled by {one}" if one == other else f"handled by {one} and {other}"
            problems.append(f"the name {name!r} is given to two tasks, {handlers}: rename one")
    problems += [
        f"the alias {alias!r} of task {each.name!r} repeats another of its names"
        for each in dict.fromkeys(definitions)
        for alias in dict.fromkeys(filter(_is_word, each.aliases))
        if each.names.count(alias) > 1
    ]
    problems += [
        f"task {each.name!r} was added twice"
        for each in dict.fromkeys(definitions)
        if definitions.count(each) > 1
    ]
    return problems


def _circles(by_name: Mapping[str, TaskDefinition]) -> list[str]:
    """Tasks whose on_exhausted leads back to themselves; each circle once."""
    circles: dict[frozenset[str], str] = {}
    for start in by_name.values():
        path = [start.name]
        current = start
        while (following := _following(current, by_name)) is not None:
            if following is start:
                way = " -> ".join([*path, start.name])
                text = f"on_exhausted leads back to where it began: {way}"
                circles.setdefault(frozenset(path), text)
                break
            if following.name in path:
                break
            path.append(following.name)
            current = following
    return [*circles.values()]


def _following(
    definition: TaskDefinition, by_name: Mapping[str, TaskDefinition]
) -> TaskDefinition | None:
    name = definition.on_exhausted
    return None if name is None else by_name.get(name)
