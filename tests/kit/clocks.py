"""Processes whose wall clock is wrong; the monotonic clock is left as it is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.kit.debian import unpacked

from perdure.embedded.binaries import Binaries

SITE = Path(__file__).parent / "shifted"
VARIABLE = "PERDURE_TEST_CLOCK_SHIFT"
LIBRARY = "PERDURE_TEST_FAKETIME"
"""Names the file of libfaketime where it is not installed."""


def shifted(seconds: int, path: str) -> dict[str, str]:
    """The environment of such a process: by libfaketime where there is one, else from within.

    `path` is the PYTHONPATH that it would have. From within only Python's `time` is shifted, which
    is all that the product asks for the time.
    """
    library = _installed()
    if library is None:
        return {"PYTHONPATH": f"{SITE}:{path}", VARIABLE: str(seconds)}
    return {
        "LD_PRELOAD": library,
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


class ServerClock:
    """The wall clock of a PostgreSQL, to be set while it runs.

    Args:
        binaries: its programs.
        folder: an empty one that every user may read.

    Raises PackageMissingError where there is no libfaketime.
    """

    def __init__(self, binaries: Binaries, folder: Path) -> None:
        self.programs = folder / "bin"
        """The folder of programs to start it with."""
        self._file = folder / "clock"
        self.set(0)
        self.programs.mkdir()
        for program in binaries.folder.iterdir():
            (self.programs / program.name).symlink_to(program)
        library = _installed() or _library_below(unpacked("libfaketime") / "usr/lib")
        postgres = self.programs / "postgres"
        postgres.unlink()
        postgres.write_text(
            f"#!/bin/sh\nexec env LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={self._file}"
            " FAKETIME_NO_CACHE=1 FAKETIME_DISABLE_SHM=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
            f' {binaries.folder / "postgres"} "$@"\n'
        )
        postgres.chmod(0o755)

    def set(self, seconds: int, rate: float = 1) -> None:
        """So many seconds off from now on, and so many seconds of it in one."""
        new = self._file.with_name("new")
        new.write_text(f"{seconds:+d}s x{rate}\n")
        new.rename(self._file)


def _installed() -> str | None:
    return os.environ.get(LIBRARY) or _library_below(Path("/usr/lib"))


def _library_below(folder: Path) -> str | None:
    return next(map(str, folder.glob("*/faketime/libfaketime.so.1")), None)
