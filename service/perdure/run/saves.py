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
from typing import NamedTuple, Protocol

from perdure.run.halving import halving
from perdure.store import queue
from perdure.store.database import Session
from perdure.store.faults import is_data_error, is_locked
from perdure.store.queue import Saving
from perdure.tasks.places import LeaseId

SAVES_MOST = 200
"""Saves of one statement: one transaction, so this bounds how long locks are held."""
LATER_SECONDS = 0.25
"""Pause before a save that had to wait for an open transaction is tried again."""


class Saver(Protocol):
    """A run that saves. Its lease changes once; `moving`: it is asked for, and may have already."""

    lease: LeaseId

    @property
    def moving(self) -> bool:
        """Whether it is just being asked for."""

    @property
    def rewound(self) -> bool:
        """Whether a standby has taken over that may lack what the run has saved before."""


class Unsaved(NamedTuple):
    """A save, who waits for it, if anybody does, and whose it is, if that matters."""

    saving: Saving
    answer: asyncio.Future[bool] | None
    run: Saver | None

    @property
    def misplaced(self) -> bool:
        """Whether it names a lease that its run has changed, or is about to."""
        run = self.run
        return run is not None and (run.moving or run.lease != self.saving.lease)

    @property
    def rewound(self) -> bool:
        """Whether it must not be written any more."""
        return self.run is not None and self.run.rewound

    @property
    def current(self) -> Saving:
        """Under the lease that the run has now."""
        return self.saving if self.run is None else self.saving._replace(lease=self.run.lease)


class Saves:
    """What was asked to be saved and is not yet; the completer sends it."""

    def __init__(self) -> None:
        self._soon: dict[int, Unsaved] = {}
        self._asked: deque[Unsaved] = deque()
        self._shared: list[Unsaved] = []
        self._misplaced: list[Unsaved] = []
        """Refused under a lease that their run has left meanwhile."""
        self._alone: dict[int, deque[Unsaved]] = {}
        """By task: of a run's saves each waits for the one before."""
        self._not_before: dict[int, float] = {}
        """Tasks whose save had to wait for an open transaction: when it is tried again."""

    @property
    def waiting(self) -> bool:
        """Whether anything is to be saved."""
        return self.delay is not None

    @property
    def delay(self) -> float | None:
        """How long until there is something to send; None: for ever."""
        if self._soon or self._asked or self._shared or self._misplaced:
            return 0
        return LATER_SECONDS if self._alone else None

    def ask_soon(self, saving: Saving, run: Saver) -> None:
        """Save with the next flush; the last value of a task wins."""
        before = self._soon.get(saving.task_id)
        self._soon[saving.task_id] = Unsaved(merged(before, saving), None, run)

    def ask(self, saving: Saving, run: Saver | None) -> asyncio.Future[bool]:
        """Save durably; False: the lease is lost."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        soon = self._soon.pop(saving.task_id, None)
        if soon is not None and saving.progress is None:
            saving = saving._replace(progress=soon.saving.progress)
        self._asked.append(Unsaved(saving, answer, run))
        return answer

    def forget(self, task_id: int) -> Saving | None:
        """A run is over: what it wanted to be saved soon and was not yet; it rides its ending.

        What was put off is tried before that.
        """
        self._not_before.pop(task_id, None)
        soon = self._soon.pop(task_id, None)
        return None if soon is None else soon.saving

    async def flush(self, session: Session) -> None:
        """Save in the order in which each run has asked; what was not answered stays, in front.

        All that was asked by now: what is settled after this must not overtake a save of its run.
        """
        self._take_asked()
        self._refuse_rewound()
        while self._shared:
            batch = [*of_different_tasks(self._shared[:SAVES_MOST])]
            answers = await _send(partial(queue.save, session), batch, is_data_error)
            del self._shared[: len(batch)]
            for unsaved, held in zip(batch, answers, strict=True):
                if held is False and unsaved.misplaced:
                    self._misplaced.append(unsaved)
                else:
                    _answer(unsaved.answer, held)
        while self._misplaced:
            unsaved = self._misplaced.pop()
            self._alone.setdefault(unsaved.saving.task_id, deque()).appendleft(unsaved)
        while batch := self._due():
            answers = await _send(partial(queue.save_at_once, session), batch, _spoils)
            for unsaved, held in zip(batch, answers, strict=True):
                task_id = unsaved.saving.task_id
                if _again(unsaved, held):
                    self._not_before[task_id] = time.monotonic() + LATER_SECONDS
                else:
                    self._saved(task_id)
                    _answer(unsaved.answer, held)

    def _take_asked(self) -> None:
        asked, self._asked = self._asked, deque()
        soon, self._soon = self._soon, {}
        for unsaved in (*asked, *soon.values()):
            task_id = unsaved.saving.task_id
            if not unsaved.saving.alone and task_id not in self._alone:
                self._shared.append(unsaved)
                continue
            before = self._alone.setdefault(task_id, deque())
            if unsaved.answer is None and before and before[-1].answer is None:
                saving = merged(before.pop(), unsaved.saving)
                before.append(unsaved._replace(saving=saving))
            else:
                before.append(unsaved)

    def _refuse_rewound(self) -> None:
        """What rests on saves that a standby which has taken over may lack is not written."""
        alone = [unsaved for waiting in self._alone.values() for unsaved in waiting]
        gone = [unsaved for unsaved in (*self._shared, *alone) if unsaved.rewound]
        if gone:
            self._shared = [unsaved for unsaved in self._shared if not unsaved.rewound]
            for unsaved in gone:
                self._alone.pop(unsaved.saving.task_id, None)
                self._not_before.pop(unsaved.saving.task_id, None)
                _answer(unsaved.answer, held=False)

    def _due(self) -> list[Unsaved]:
        """The next save of each run, but for those that were put off."""
        now = time.monotonic()
        due = [
            unsaved[0]._replace(saving=unsaved[0].current)
            for task, unsaved in self._alone.items()
            if self._not_before.get(task, now) <= now
        ]
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
    order = sorted(range(len(batch)), key=lambda n: _place(batch[n].saving))
    came = await halving(send, [batch[number].saving for number in order], spoils)
    answers = dict(zip(order, came, strict=True))
    return [answers[number] for number in range(len(batch))]


def _spoils(error: Exception) -> bool:
    return is_locked(error) or is_data_error(error)


def _again(unsaved: Unsaved, held: bool | Exception) -> bool:
    """Whether a save of a run with a lease of its own is to be tried again."""
    return is_locked(held) if isinstance(held, Exception) else not held and unsaved.misplaced


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
    for unsaved in saves:
        if unsaved.saving.task_id in seen:
            return
        seen.add(unsaved.saving.task_id)
        yield unsaved


def merged(before: Unsaved | None, new: Saving) -> Saving:
    """A later save over an earlier one that has not been written: what is missing stays."""
    if before is None:
        return new
    old = before.saving
    return new._replace(
        saved=new.saved if new.saved is not None else old.saved,
        progress=new.progress if new.progress is not None else old.progress,
        explicit=new.explicit or old.explicit,
    )
