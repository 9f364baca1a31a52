"""A small volume that a server's data or its WAL lies on, and a ballast that fills it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perdure.embedded import EmbeddedServer

PIECE = b"\0" * 2**14


class NoVolumeError(RuntimeError):
    """Nothing can be mounted here; one line says why."""


@contextmanager
def volume(megabytes: int) -> Iterator[Path]:
    """A file system of its own, in memory; raises NoVolumeError."""
    with tempfile.TemporaryDirectory(prefix="perdure-volume-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # The server is another user where we are root.
        point = folder / "volume"
        point.mkdir()
        options = f"size={megabytes}m,mode=0711"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise NoVolumeError(f"no volume can be mounted: {answer.stderr.strip()}")
        try:
            yield point
        finally:
            subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextmanager
def filled(point: Path) -> Iterator[None]:
    """Nothing is free on the volume, for the life of the block."""
    ballast = point / "ballast"
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while os.write(file, PIECE):
                pass
        yield
    finally:
        os.close(file)
        ballast.unlink()


def move(server: EmbeddedServer, folder: Path, place: Path) -> None:
    """Move a folder of a stopped server to another place; it is found where it was."""
    shutil.move(folder, place)
    server._identity.give(place)
    folder.symlink_to(place)
