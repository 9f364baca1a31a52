"""Values of options that are more than a word: JSON, lengths of time, moments."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, overload

import typer

from perdure.declare.kind import Edge
from perdure.settings import parse_duration

INPUT_BYTES_MAX: Final = 64 * 2**20
"""What is read of a file or of standard input: more than any limit of a payload."""


def json_object(option: str, text: str | None) -> Any:
    """A JSON object that is written out, in a file (@FILE), or on standard input (-)."""
    if text is None:
        return None
    source = text
    try:
        if text == "-":
            source = "standard input"
            text = sys.stdin.read(INPUT_BYTES_MAX)
        elif text.startswith("@"):
            source = text[1:]
            text = Path(source).read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(
            f"{source} cannot be read: {error.strerror}", param_hint=option
        ) from None
    except ValueError as error:
        # The text is not repeated: it may be long, and hold what nobody else should see.
        raise typer.BadParameter(f"this is not JSON: {error}", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("this must be a JSON object: {...}", param_hint=option)
    return value


def edge(option: str, text: str) -> Edge:
    """A task to follow: its id, and after a colon what its failure means."""
    number, _, rule = text.partition(":")
    rules: dict[str, Literal["fail", "cancel", "run"]] = {
        "": "fail", "fail": "fail", "cancel": "cancel", "run": "run",
    }  # fmt: skip
    if not number.isdecimal() or rule not in rules:
        raise typer.BadParameter(
            f"{text!r}: write the id of a task, or ID:RULE with fail, cancel or run",
            param_hint=option,
        )
    return Edge(int(number), on_failure=rules[rule])


def duration(option: str, text: str) -> float:
    """Seconds of a length of time such as `5m`."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def durations(option: str, texts: Sequence[str] | None) -> list[float] | None:
    """The same for an option that may be repeated; None where it is not said."""
    return [duration(option, text) for text in texts] if texts else None


@overload
def moment(option: str, text: str) -> datetime: ...
@overload
def moment(option: str, text: str | None) -> datetime | None: ...
def moment(option: str, text: str | None) -> datetime | None:
    """A time with a zone, in ISO 8601."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.utcoffset() is None:
        raise typer.BadParameter(
            f"{text!r}: write ISO 8601 with a zone, such as 2030-01-31T08:00:00+01:00",
            param_hint=option,
        )
    return value
