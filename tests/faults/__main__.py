"""`python -m tests.faults TIER [--seed S] [--minutes M]`: a tier of the fault suite.

`schedules` is a storm of its own: which instants fired, while workers were killed and frozen.
`pull-request` goes with a change, after the README's test command; `nightly` needs hours.
Progress goes to standard error, one JSON object to standard output; 1 if any part is red.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from typing import Any

from tests.faults.schedules import storm
from tests.faults.tiers import Part, counts, nightly, pull_request
from tests.kit.fleet import PATH
from tests.kit.house import ROOT

SHOWN_LINES = 60
SEED = 7
"""A change is tried with the faults that the one before was tried with."""


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def run(part: Part) -> dict[str, Any]:
    """Run one part; a test that was skipped proves nothing, so it is red."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *part.arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PYTHONPATH": PATH, **part.environment},
    )  # fmt: skip
    found = counts(ended.stdout)
    green = ended.returncode == 0 and not found.get("skipped")
    seconds = round(time.monotonic() - began, 1)
    if not green:
        say("\n".join(ended.stdout.splitlines()[-SHOWN_LINES:]))
    say(f"{'green' if green else 'RED':<6} {seconds:7.1f} s  {part.name}: {json.dumps(found)}")
    return {"part": part.name, "green": green, "seconds": seconds, "counts": found}


def main() -> int:
    """Run the parts of a tier one after the other; none is left out because one before is red."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("tier", choices=["pull-request", "nightly", "schedules"])
    parser.add_argument(
        "--seed",
        type=int,
        help="of the storm, at night of the pairs, too; default: a new one at night, else the same",
    )
    parser.add_argument("--minutes", type=float, help="of the storm: 60 at night, 2 of schedules")
    parser.add_argument("--json", action="store_true", help="which is what it does in any case")
    given = parser.parse_args()
    if given.tier == "schedules":
        found = storm(given.minutes or 2)
        print(json.dumps(found), flush=True)  # noqa: T201
        return 1 if found["findings"] or found["misplaced"] else 0
    at_night = given.tier == "nightly"
    usual = secrets.randbits(32) if at_night else SEED
    seed = usual if given.seed is None else given.seed
    parts = nightly(seed, given.minutes or 60) if at_night else pull_request(seed)
    say(f"{given.tier}: {len(parts)} parts, seed {seed}")
    rows = [run(part) for part in parts]
    red = [row["part"] for row in rows if not row["green"]]
    answer = {
        "tier": given.tier, "seed": seed, "red": red, "parts": rows,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }  # fmt: skip
    print(json.dumps(answer), flush=True)  # noqa: T201
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
