"""Processes whose wall clock is wrong; the monotonic clock is left as it is."""

from __future__ import annotations

import os
from pathlib import Path

SITE = Path(__file__).parent / "shifted"
VARIABLE = "PERDURE_TEST_CLOCK_SHIFT"
LIBRARY = "PERDURE_TEST_FAKETIME"
"""Names the file of libfaketime where it is not installed."""


def shifted(seconds: int, path: str) -> dict[str, str]:
    """The environment of such a process: by libfaketime where there is one, else from within.

    `path` is the PYTHONPATH that it would have. From within only Python's `time` is shifted, which
    is all that the product asks for the time.
    """
    installed = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    library = os.environ.get(LIBRARY) or next(map(str, installed), None)
    if library is None:
        return {"PYTHONPATH": f"{SITE}:{path}", VARIABLE: str(seconds)}
    return {
        "LD_PRELOAD": library,
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
