"""Messages between a worker and its children: everything comes out as it went in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from perdure.run.pipe import (
    HEADER,
    claimed_document,
    claimed_of,
    outcome_document,
    outcome_of,
    packed,
    saved_of,
    settings_document,
)
from perdure.settings import load
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success, Suspended
from perdure.tasks.places import Claimed, Saved


def travelled(document: Any) -> Any:
    """What the other end gets."""
    data = packed({"it": document})
    (size,) = HEADER.unpack(data[: HEADER.size])
    assert size == len(data) - HEADER.size
    return json.loads(data[HEADER.size :])["it"]


@pytest.mark.parametrize(
    "outcome",
    [
        Success(None),
        Failure(None),
        Failure(None, final=True),
        Retry(),
        Retry(0.0),
        Retry(2.5),
        Suspended(),
        Suspended(until=datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
        Suspended(wait_key="payment:1"),
        Cancelled(),
    ],
)
def test_an_outcome_comes_back_without_its_payload(outcome: Outcome[Any, Any]) -> None:
    assert outcome_of(travelled(outcome_document(outcome))) == outcome


def test_payloads_of_outcomes_do_not_travel_with_them() -> None:
    assert outcome_document(Success("secret")) == outcome_document(Success(None))
    assert outcome_document(Retry(timedelta(minutes=1), "secret")) == {"is": "Retry", "after": 60.0}


@pytest.mark.parametrize("delays", [None, (), (1.0, 60.0)])
def test_a_claimed_task_comes_back_with_its_types(delays: tuple[float, ...] | None) -> None:
    claimed = Claimed(
        lease=str(uuid4()), task_id=7, name="a", metadata='{"a":"\\ud800"}', steps="{}",
        retry_delays=delays, max_retries=-1, headers='{"b":"\u2028é"}',
        schedule_key="nightly", fire_at=1782864000.123456,
    )  # fmt: skip
    assert claimed_of(travelled(claimed_document(claimed))) == claimed


@pytest.mark.parametrize("saved", [None, Saved(None, 1, None), Saved('{"page":1}', 2, "{}")])
def test_a_checkpoint_comes_back(saved: Saved | None) -> None:
    assert saved_of(travelled(saved and list(saved))) == saved


def test_settings_come_back_with_the_secrets_that_a_connection_needs() -> None:
    given = {
        "dsn": "postgresql://me:geheim@localhost/db",
        "execution": {"stop_grace": "1500ms", "child_memory_mb": 512, "prefetch": 5},
        "scheduling.scheduler_retry_delays": "1s, 1h 30m",
        "retention.completed": "5000d",
        "limits.result_bytes": "2MiB",
    }
    settings = load(command_line=given, environ={}).settings
    there = load(command_line=travelled(settings_document(settings)), environ={}).settings
    assert there == settings
    assert there.dsn is not None
    assert there.dsn.get_secret_value() == "postgresql://me:geheim@localhost/db"
