"""The systems that are measured side by side: one adapter each, the same work for all of them."""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.adapter import Peer

NAMES = ("perdure", "pgqueuer", "graphile-worker", "awa", "procrastinate")


def peer(name: str) -> Peer:
    """The adapter of this name; its library is imported only now.

    Raises:
        SystemExit: there is no such peer, or it is not installed.
    """
    if name not in NAMES:
        raise SystemExit(f"there is no peer {name!r}: choose from {', '.join(NAMES)}")
    try:
        module = import_module(f"benchmarks.peers.{name.replace('-', '_')}")
    except ImportError as error:
        raise SystemExit(f"{error}: run it with `uv run --group bench`") from error
    found: Peer = module.PEER
    return found
