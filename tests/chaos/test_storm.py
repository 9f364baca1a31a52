"""A moment of the storm, with each fault once: the command that runs for hours elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.faults.actions import ACTIONS
from tests.faults.oracle import CLASSES
from tests.kit.fleet import ROOT

COMMAND = [sys.executable, "-m", "tests.chaos.storm", "--minutes", "0.2", "--seed", "7", "--json"]
SECONDS = 300
"""With workers that are slow to start, or a drain that does not come to its end."""


@pytest.mark.alone
@pytest.mark.timeout(SECONDS + 60)
def test_a_short_storm_leaves_every_class_of_the_oracle_empty() -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, said = process.communicate(timeout=SECONDS)
        finally:
            process.terminate()  # It ends whatever it has started.
    told = json.loads(output.splitlines()[-1])
    assert {name: told[name] for name in CLASSES} == dict.fromkeys(CLASSES, 0), said
    assert process.returncode == 0
    assert told["tasks"] > 100
    assert set(told["by_fault"]) == {action.__name__ for action in ACTIONS}
