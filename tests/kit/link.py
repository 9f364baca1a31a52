"""A network of its own for some processes, and the link to it, which can be taken down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "perdure"


class LinkError(Exception):
    """This machine does not let us make one."""


class Link:
    """The end that is here; processes beyond it reach this machine at `address` only."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self.address = address

    @property
    def beyond(self) -> list[str]:
        """What stands before a command that is to run beyond it."""
        return ["nsenter", f"--net=/run/netns/{self._name}"]

    def down(self) -> None:
        """From now on packets get lost, both ways, and nobody is told."""
        _ip("link", "set", self._name, "down")

    def up(self) -> None:
        """They pass again."""
        _ip("link", "set", self._name, "up")


@contextmanager
def linked() -> Iterator[Link]:
    """A link of this process's own; LinkError where `ip` or the right to use it is missing."""
    _remove_abandoned()
    name, number = f"{_PREFIX}{os.getpid()}", os.getpid() % 16_384 * 4
    here, there = (f"10.211.{number >> 8}.{number & 255 | last}" for last in (1, 2))
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "there", "netns", name)
        _ip("address", "add", f"{here}/30", "dev", name)
        _ip("-n", name, "address", "add", f"{there}/30", "dev", "there")
        _ip("-n", name, "link", "set", "there", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        link = Link(name, here)
        link.up()
        yield link
    finally:
        _ip("netns", "delete", name)


def _remove_abandoned() -> None:
    """A killed test leaves its namespace behind, and its number may come again."""
    for made in Path("/run/netns").glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{made.name.removeprefix(_PREFIX)}").exists():
            _ip("netns", "delete", made.name)


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise LinkError("no program `ip`: install iproute2") from None
    except subprocess.CalledProcessError as error:
        raise LinkError(f"`ip {' '.join(words)}`: {error.stderr.strip()}") from None
