"""Messages between a worker and its child processes: a length, then JSON; nothing is pickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, assert_never

from pydantic import SecretStr

from perdure.settings import Settings
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Claimed, Saved

Message: TypeAlias = dict[str, Any]
"""A JSON object; `what` says what it is about."""

HEADER: Final = struct.Struct(">I")
MESSAGE_BYTES_MAX: Final = 512 * 2**20
"""Beyond the largest payloads that the limits allow, all of one task together."""


def packed(message: Message) -> bytes:
    """A message as it goes through the pipe; ValueError if it is too large."""
    body = json.dumps(message).encode()
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} bytes is too large for a child process")
    return HEADER.pack(len(body)) + body


def settings_document(settings: Settings) -> Message:
    """All settings, the DSN with its secrets, as `TaskService.override` takes them."""
    document: Message = json.loads(json.dumps(settings.model_dump(), default=_plain))
    return document


def _plain(value: object) -> object:
    match value:
        case timedelta():
            return value.total_seconds()
        case SecretStr():
            return value.get_secret_value()
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a setting")


def claimed_document(claimed: Claimed) -> Message:
    """A claimed task."""
    return claimed._asdict()


def claimed_of(document: Message) -> Claimed:
    """The claimed task again."""
    delays = document["retry_delays"]
    return Claimed(**document | {"retry_delays": None if delays is None else tuple(delays)})


def saved_of(document: Sequence[Any] | None) -> Saved | None:
    """What `list(saved)` was made of."""
    return None if document is None else Saved(*document)


def outcome_document(outcome: Outcome[Any, Any]) -> Message:
    """An outcome without its payload, which travels as JSON text beside it."""
    document: Message = {"is": type(outcome).__name__}
    match outcome:
        case Success() | Cancelled():
            return document
        case Failure(final=final):
            return document | {"final": final}
        case Retry():
            return document | {"after": outcome.after_seconds}
        case Suspended(wait_key=wait_key):
            return document | {"until": outcome.until_text, "wait_key": wait_key}
        case unknown:
            assert_never(unknown)


def outcome_of(document: Message) -> Outcome[object, object]:
    """The outcome again, with None for its payload."""
    match document:
        case {"is": "Success"}:
            return Success(None)
        case {"is": "Failure", "final": final}:
            return Failure(None, final=final)
        case {"is": "Retry", "after": after}:
            return Retry(after)
        case {"is": "Suspended", "until": until, "wait_key": wait_key}:
            moment = None if until is None else datetime.fromisoformat(until)
            return Suspended(moment, wait_key)
        case _:
            return Cancelled()
