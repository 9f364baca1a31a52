"""Debian's packages that tests need and a machine may lack: unpacked, not installed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

DOWNLOAD_SECONDS = 120


class PackageMissingError(RuntimeError):
    """This machine lacks it and cannot fetch Debian's; one line says why."""


def unpacked(package: str, libraries: Sequence[str] = ()) -> Path:
    """The folder with the files of a package, and of those it depends on that begin so.

    It is unpacked once into the folder for temporary files. Raises PackageMissingError.
    """
    cache = Path(tempfile.gettempdir()) / f"perdure-{package}-{os.geteuid()}"
    if not cache.exists():
        _unpack(package, tuple(libraries), cache)
    if cache.stat().st_uid != os.geteuid():
        raise PackageMissingError(f"{cache} is not ours: remove it, or install {package}")
    return cache


def _unpack(package: str, libraries: tuple[str, ...], cache: Path) -> None:
    """Download the packages and unpack them beside `cache`, which is then there at once or not."""
    with tempfile.TemporaryDirectory(prefix=f"{cache.name}-", dir=cache.parent) as name:
        new = Path(name)
        try:
            names = [name for name in _depends(package) if name.startswith(libraries)]
            _do(["apt-get", "download", "-q", package, *names], new)
            for file in new.glob("*.deb"):
                _do(["dpkg", "-x", str(file), str(new / "root")], new)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise PackageMissingError(
                f"no {package} here, and Debian's cannot be fetched: {said[-1]}"
            ) from error
        (new / "root").chmod(0o755)
        with contextlib.suppress(OSError):  # another process was faster
            (new / "root").rename(cache)


def _depends(package: str) -> list[str]:
    """Names of the packages that Debian's needs; they differ between releases."""
    lines = _do(["apt-cache", "depends", package], Path("/")).splitlines()
    named = (line.strip() for line in lines)
    return [line.removeprefix("Depends: ") for line in named if line.startswith("Depends: ")]


def _do(command: list[str], folder: Path) -> str:
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
    ).stdout
