"""The faults that peers are put under, for our own adapter alone, shortened."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.peers.judge import play
from tests.faults.peers.perdure import SYSTEM
from tests.faults.peers.scene import SHORT_PER_BATCH
from tests.faults.peers.strikes import Cut, Fault, Kill
from tests.kit.databases import Server

BATCHES = 16


@pytest.mark.parametrize(("fault", "broken_off"), [(Kill(), True), (Cut(), False)])
def test_a_fault_loses_no_task_and_doubles_no_effect(
    server: Server, tmp_path: Path, fault: Fault, broken_off: bool
) -> None:
    outcome = play(SYSTEM, fault, server, tmp_path, batches=BATCHES)
    assert outcome.tasks == BATCHES * (SHORT_PER_BATCH + 1)
    assert outcome.faults == 1
    assert bool(outcome.recovered) == broken_off
    assert (outcome.lost, outcome.duplicated, outcome.stuck, outcome.failed) == (0, 0, 0, 0)
