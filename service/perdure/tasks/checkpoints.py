"""Versions, upgrades and steps of execution metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from perdure.errors import InvalidPayload, NewerCheckpoint
from perdure.tasks.codec import Payload, clean_text, encode_json

T = TypeVar("T")

Upgrade: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the JSON object of one version into that of the next."""

STATES_PASSED: Final = "states passed"
"""Where a state machine keeps, beside the steps, the last states: [attempt, name] of each."""


def load_execution_metadata(
    payload: Payload[T],
    version: int,
    upgrades: Mapping[int, Upgrade],
    text: str | None,
    saved_version: int,
) -> T:
    """The execution metadata that a run starts with.

    `text` is what was saved, of `saved_version`; None: nothing yet, which gives the defaults of the
    type. `version` is the newest that this code knows, and `upgrades[n]` turns n into n + 1.
    Raises NewerCheckpoint if `saved_version` is above `version`, and InvalidPayload if an upgrade
    fails or the value does not fit the type.
    """
    if saved_version > version:
        raise NewerCheckpoint(
            f"the saved execution metadata is of version {saved_version}, this worker knows"
            f" {version}: a newer worker has to run the task"
        )
    if text is None:
        return payload.load("null" if payload.is_none else "{}")
    if saved_version == version:
        return payload.load(text)
    value = json.loads(text)
    for number in range(saved_version, version):
        try:
            value = upgrades[number](value)
        except Exception as error:  # an upgrade is the user's and may raise anything
            raise InvalidPayload(
                f"the upgrade from version {number} failed:"
                f" {type(error).__name__}: {clean_text(error, 2000)}"
            ) from error
    return payload.load(encode_json(value))


def missing_upgrades(version: int, upgrades: Mapping[int, Upgrade]) -> list[int]:
    """The versions below `version` that no upgrade starts from; empty if all are there."""
    return [number for number in range(1, version) if number not in upgrades]


def load_steps(text: str | None) -> dict[str, str]:
    """Steps that are done: name to JSON text of the value. `text` is a JSON object, or None."""
    if text is None:
        return {}
    return {name: encode_json(value) for name, value in json.loads(text).items()}


def dump_steps(steps: Mapping[str, str]) -> str | None:
    """The JSON object text of steps as `load_steps` gives them; None if there are none."""
    if not steps:
        return None
    return "{" + ",".join(f"{encode_json(name)}:{value}" for name, value in steps.items()) + "}"
