"""Places of the machine that tests take: locks, which end with the process."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def room(folder: Path, places: int, *, alone: bool) -> Iterator[None]:
    """Hold one of so many places, or `alone` half of them: so that fewer others run beside it.

    Whoever waits for places holds the door, so that it is not passed by. One that wants to be alone
    waits for the one before it outside of the door: it must not keep all others waiting.
    """
    with contextlib.ExitStack() as stack:
        door = stack.enter_context((folder / "door").open("w"))
        free = [stack.enter_context((folder / f"place-{n}").open("w")) for n in range(places)]
        if alone:
            turn = stack.enter_context((folder / "turn").open("w"))
            fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(door, fcntl.LOCK_EX)
        wanted = places // 2 if alone else 1
        while wanted:
            taken = next((place for place in free if _take(place)), None)
            if taken is None:
                time.sleep(0.01)
                continue
            free.remove(taken)
            wanted -= 1
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def _take(place: TextIO) -> bool:
    """Try to take a place, without waiting for it."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
