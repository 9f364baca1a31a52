"""python -m perdure.cli.health: are the workers of this machine alive? Standard library only."""

from __future__ import annotations

import json
import sys
from typing import Final

from perdure.run.pulse import pulses

SECONDS_MAX: Final = 15.0
"""A loop that has not turned for this long hangs: it turns twice a second."""


def check(*, as_json: bool = False) -> int:
    """0 if workers of this user run here and the loop of each turns, else 1."""
    found = list(pulses())
    late = [name for name, seconds in found if seconds > SECONDS_MAX]
    alive = bool(found) and not late
    if as_json:
        workers = [{"file": name, "seconds": round(seconds, 3)} for name, seconds in found]
        sys.stdout.write(f"{json.dumps({'alive': alive, 'workers': workers})}\n")
    elif alive:
        oldest = max(seconds for _, seconds in found)
        sys.stdout.write(f"alive: workers {len(found)}, last beat {oldest:.1f} s ago\n")
    if not alive:
        why = f"hangs for more than {SECONDS_MAX:.0f} s: {', '.join(late)}" if late else "none here"
        sys.stderr.write(f"perdure: no healthy worker: {why}\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(check(as_json="--json" in sys.argv[1:]))
