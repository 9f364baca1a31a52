"""Programs that are started without our environment and, being afraid of root, as somebody else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perdure.errors import EmbeddedServerError

# Nothing is inherited: PG* variables and a foreign language would change what the programs do.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How a program that refuses to be root is run: a prefix of its command, or another user."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None

    def give(self, path: Path) -> None:
        """Make `path` and what is in it belong to the user the program will be."""
        if os.geteuid() != 0:
            return
        owner, group = self.user or 0, self.group or 0
        if path.stat().st_uid != owner:
            for below in (path, *path.rglob("*")):
                os.chown(below, owner, group, follow_symlinks=False)

    def popen(self, command: list[str], output: int) -> subprocess.Popen[bytes]:
        """Start `command` in a session of its own, where Ctrl-C in our terminal does not reach it.

        `output` is the descriptor of the file for both of its outputs.
        """
        return subprocess.Popen(  # noqa: S603  (the programs that find_binaries found)
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
        )


def unprivileged() -> Identity:
    """Who runs the server: we, unless we are root; then a user namespace, else the user nobody.

    A namespace works below a closed home folder, too, but most containers forbid it.
    """
    if os.geteuid() != 0:
        return Identity()
    unshare = shutil.which("unshare")
    if unshare:
        prefix = (unshare, "--user", "--map-user=65534", "--map-group=65534")
        if run([*prefix, "true"]).returncode == 0:
            return Identity(prefix=prefix)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL refuses to run as root, and there is no user called nobody: "
            "run as another user, or name the DSN of a server (PERDURE_DSN)"
        ) from None
    return Identity(user=nobody.pw_uid, group=nobody.pw_gid)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, at most 10 s; its outputs are text, a failure is not raised."""
    return subprocess.run(  # noqa: S603  (programs found by name or in a folder of PostgreSQL's)
        command, capture_output=True, text=True, check=False, env=_ENVIRONMENT, timeout=10
    )
