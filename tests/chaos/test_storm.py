"""A quarter of a minute of the storm: the command that runs for hours elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.faults.oracle import CLASSES
from tests.kit.fleet import ROOT

COMMAND = [sys.executable, "-m", "tests.chaos.storm", "--minutes", "0.25", "--seed", "7", "--json"]


def test_a_short_storm_leaves_every_class_of_the_oracle_empty() -> None:
    done = subprocess.run(
        COMMAND, check=False, cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: told[name] for name in CLASSES} == dict.fromkeys(CLASSES, 0), done.stderr
    assert done.returncode == 0
    assert told["tasks"] > 100
    assert told["faults"] > 2
