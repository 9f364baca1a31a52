"""What was asked to be saved, and what becomes of it when a flush fails half-way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from perdure.run import saves
from perdure.store import queue
from perdure.store.queue import Saving
from perdure.tasks.places import LeaseId

SESSION: Any = None
"""What is sent goes to the test instead."""


@dataclass(eq=False)
class Run:
    """As much of a run as `Saves` asks for."""

    lease: LeaseId
    moving: bool = False
    rewound: bool = False

    def saving(self) -> Saving:
        return Saving(self.lease, int(self.lease), attempt=1, started_at=0.0, progress="{}")


async def test_a_save_of_a_lease_that_its_run_has_left_is_refused_after_a_failover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = saves.Saves()
    run, other = Run("1"), Run("2")
    sent: list[int] = []

    async def first_refused_then_lost(_: Any, batch: Sequence[Saving]) -> list[bool]:
        sent.extend(saving.task_id for saving in batch)
        if sent == [1]:
            run.moving = True
            return [False]
        if sent == [1, 2]:
            raise psycopg.OperationalError
        return [True] * len(batch)

    monkeypatch.setattr(saves, "SAVES_MOST", 1)
    monkeypatch.setattr(queue, "save", first_refused_then_lost)
    monkeypatch.setattr(queue, "save_at_once", first_refused_then_lost)
    answers = [asked.ask(each.saving(), each) for each in (run, other)]
    with pytest.raises(psycopg.OperationalError):
        await asked.flush(SESSION)
    run.rewound = True
    await asked.flush(SESSION)
    assert sent == [1, 2, 2]
    assert [await answer for answer in answers] == [False, True]
