"""Checkpoints and progress on their way: those of one moment share a statement.

A run with a lease of its own may have an open transaction with a checkpoint in it, which a save
would have to wait for, and all endings behind it. Such saves are sent apart and wait for no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from perdure.run.halving import halving
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.faults import is_data_error, is_locked
from perdure.store.queue import Saving
from perdure.tasks.places import LeaseId

Unsaved: TypeAlias = tuple[Saving, "asyncio.Future[bool] | None"]

SAVES_MOST = 200
"""Saves of one statement: one transaction, so this bounds how long locks are held."""
LATER_SECONDS = 0.25
"""Pause before a save that had to wait for an open transaction is tried again."""


class Saves:
    """What was asked to be saved and is not yet; the completer sends it."""

    def __init__(self) -> None:
        self._soon: dict[int, Saving] = {}
        self._asked: deque[Unsaved] = deque()
        self._shared: list[Unsaved] = []
        self._alone: dict[int, deque[Unsaved]] = {}
        """By task: of a run's saves each waits for the one before."""
        self._not_before: dict[int, float] = {}
        """Tasks whose save had to wait for an open transaction: when it is tried again."""

    @property
    def waiting(self) -> bool:
        """Whether anything is to be saved."""
        return bool(self._soon or self._asked or self._shared or self._alone)

    @property
    def delay(self) -> float | None:
        """How long until there is something to send; None: for ever."""
        if self._soon or self._asked or self._shared:
            return 0
        return LATER_SECONDS if self._alone else None

    def ask_soon(self, saving: Saving) -> None:
        """Save with the next flush; the last value of a task wins."""
        self._soon[saving.task_id] = merged(self._soon.get(saving.task_id), saving)

    def ask(self, saving: Saving) -> asyncio.Future[bool]:
        """Save durably; False: the lease is lost."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        soon = self._soon.pop(saving.task_id, None)
        if soon is not None and saving.progress is None:
            saving = saving._replace(progress=soon.progress)
        self._asked.append((saving, answer))
        return answer

    def forget(self, task_id: int) -> Saving | None:
        """A run is over: what it wanted to be saved soon and was not yet; it rides its ending.

        What was put off is tried before that.
        """
        self._not_before.pop(task_id, None)
        return self._soon.pop(task_id, None)

    async def flush(self, session: Session) -> None:
        """Save in the order in which each run has asked; what was not answered stays, in front.

        All that was asked by now: what is settled after this must not overtake a save of its run.
        """
        self._take_asked()
        while self._shared:
            batch = [*of_different_tasks(self._shared[:SAVES_MOST])]
            answers = await _send(partial(queue.save, session), batch, is_data_error)
            del self._shared[: len(batch)]
            for (_, waits), held in zip(batch, answers, strict=True):
                _answer(waits, held)
        while batch := self._due():
            answers = await _send(partial(queue.save_at_once, session), batch, _spoils)
            for (saving, waits), held in zip(batch, answers, strict=True):
                if isinstance(held, Exception) and is_locked(held):
                    self._not_before[saving.task_id] = time.monotonic() + LATER_SECONDS
                else:
                    self._saved(saving.task_id)
                    _answer(waits, held)

    def _take_asked(self) -> None:
        asked, self._asked = self._asked, deque()
        soon, self._soon = self._soon, {}
        for saving, answer in (*asked, *((saving, None) for saving in soon.values())):
            if not saving.alone:
                self._shared.append((saving, answer))
                continue
            before = self._alone.setdefault(saving.task_id, deque())
            if answer is None and before and before[-1][1] is None:
                saving = merged(before.pop()[0], saving)  # noqa: PLW2901  (the last value wins)
            before.append((saving, answer))

    def _due(self) -> list[Unsaved]:
        """The next save of each run, but for those that were put off."""
        now = time.monotonic()
        due = [
            unsaved[0] for task, unsaved in self._alone.items()
            if self._not_before.get(task, now) <= now
        ]  # fmt: skip
        return due[:SAVES_MOST]

    def _saved(self, task_id: int) -> None:
        self._not_before.pop(task_id, None)
        waiting = self._alone[task_id]
        waiting.popleft()
        if not waiting:
            del self._alone[task_id]


async def _send(
    send: Callable[[Sequence[Saving]], Awaitable[Sequence[bool]]],
    batch: Sequence[Unsaved],
    spoils: Callable[[Exception], bool],
) -> list[bool | Exception]:
    """The answers in the order of the batch; the server gets it in the order of locks."""
    order = sorted(range(len(batch)), key=lambda n: _place(batch[n][0]))
    came = await halving(send, [batch[number][0] for number in order], spoils)
    answers = dict(zip(order, came, strict=True))
    return [answers[number] for number in range(len(batch))]


def _spoils(error: Exception) -> bool:
    return is_locked(error) or is_data_error(error)


def _place(saving: Saving) -> tuple[LeaseId, int]:
    return saving.lease, saving.task_id


def _answer(waits: asyncio.Future[bool] | None, held: bool | Exception) -> None:
    """Tell who waits for a save, if anybody still does."""
    if waits is None or waits.done():
        return
    if isinstance(held, Exception):
        waits.set_exception(held)
    else:
        waits.set_result(held)


def of_different_tasks(saves: Iterable[Unsaved]) -> Iterator[Unsaved]:
    """The first of them, up to the second of one task: a statement writes a row once."""
    seen: set[int] = set()
    for saving, answer in saves:
        if saving.task_id in seen:
            return
        seen.add(saving.task_id)
        yield saving, answer


def merged(old: Saving | None, new: Saving) -> Saving:
    """A later save over an earlier one that has not been written: what is missing stays."""
    if old is None:
        return new
    return new._replace(
        saved=new.saved if new.saved is not None else old.saved,
        progress=new.progress if new.progress is not None else old.progress,
        explicit=new.explicit or old.explicit,
    )
