"""Sends a batch that one value may spoil."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from perdure.store.faults import is_data_error

T = TypeVar("T")
A = TypeVar("A")


async def halving(
    send: Callable[[Sequence[T]], Awaitable[Sequence[A]]],
    batch: Sequence[T],
    spoils: Callable[[Exception], bool] = is_data_error,
) -> list[A | Exception]:
    """Send a batch; the answers in its order, the error in the place of a refused value.

    A value that is refused spoils its batch: it is halved until the value stands alone. Any other
    fault is raised, whatever has been answered by then: all of it may be sent again.
    """
    try:
        return [*await send(batch)]
    except Exception as error:
        if not spoils(error):
            raise
        if len(batch) == 1:
            return [error]
    middle = len(batch) // 2
    first = await halving(send, batch[:middle], spoils)
    return [*first, *await halving(send, batch[middle:], spoils)]
