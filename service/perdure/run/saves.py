"""Checkpoints and progress on their way: those of one moment share a statement.

A run with a lease of its own may have an open transaction with a checkpoint in it, which a save
would have to wait for, and all endings behind it. Such saves are sent apart and wait for no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableSequence, Sequence
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
LATER_MOST = 8
"""Of these so many in one flush: each costs a wait, and endings are behind them."""


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
    def apart(self) -> bool:
        """Whether it is sent apart, because it must wait for no lock."""
        return self.run is not None and self.saving.alone

    @property
    def overtaken(self) -> Unsaved:
        """What is left of it once its run saves in a transaction, which it must not wait for."""
        return self._replace(saving=self.saving._replace(saved=None, alone=True))

    @property
    def current(self) -> Saving:
        """Under the lease that the run has now."""
        return self.saving if self.run is None else self.saving._replace(lease=self.run.lease)


class Saves:
    """What was asked to be saved and is not yet; the completer sends it.

    By run, not by task: a run that has lost its lease may still ask, beside the next one here.
    """

    def __init__(self) -> None:
        self._soon: dict[Saver, Unsaved] = {}
        self._asked: deque[Unsaved] = deque()
        self._shared: list[Unsaved] = []
        self._misplaced: list[Unsaved] = []
        """Refused under a lease that their run has left meanwhile."""
        self._alone: dict[Saver, deque[Unsaved]] = {}
        """Of a run's saves each waits for the one before."""
        self._not_before: dict[Saver, float] = {}
        """Runs whose save had to wait for an open transaction: when it is tried again."""
        self._sent: dict[Saver, asyncio.Event] = {}
        """Runs of which a save may have been written, but has not been answered."""

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
        """Save with the next flush; the last value of a run wins."""
        self._soon[run] = Unsaved(merged(self._soon.get(run), saving), None, run)

    def ask(self, saving: Saving, run: Saver | None) -> asyncio.Future[bool]:
        """Save durably; False: the lease is lost."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        soon = None if run is None else self._soon.pop(run, None)
        if soon is not None and saving.progress is None:
            saving = saving._replace(progress=soon.saving.progress)
        self._asked.append(Unsaved(saving, answer, run))
        return answer

    async def overtake(self, run: Saver) -> None:
        """The run saves in a transaction now: what it wanted to be saved soon must not follow.

        Nor what it has given up. What may be written already is waited for: until it is answered,
        it might come later.
        """
        if (soon := self._soon.pop(run, None)) and soon.saving.progress is not None:
            self._soon[run] = soon.overtaken
        queues: list[MutableSequence[Unsaved]] = [self._asked, self._shared, self._misplaced]
        for waiting in (*queues, self._alone.get(run, deque())):
            for place, unsaved in enumerate(waiting):
                if unsaved.run is run:
                    waiting[place] = unsaved.overtaken
        if (sent := self._sent.get(run)) is not None:
            await sent.wait()

    def forget(self, run: Saver) -> Saving | None:
        """A run is over: what it wanted to be saved soon and was not yet; it rides its ending.

        What was put off is tried before that.
        """
        self._not_before.pop(run, None)
        soon = self._soon.pop(run, None)
        return None if soon is None else soon.saving

    async def flush(self, session: Session) -> None:
        """Save in the order in which each run has asked; what was not answered stays, in front.

        All that was asked by now: what is settled after this must not overtake a save of its run.
        """
        self._take_asked()
        self._refuse_rewound()
        while self._part_overtaken():
            batch = [*of_different_tasks(self._shared[:SAVES_MOST])]
            answers = await self._send(partial(queue.save, session), batch, is_data_error)
            # As they are now: a run may have overtaken its own meanwhile.
            sent, self._shared = self._shared[: len(batch)], self._shared[len(batch) :]
            for unsaved, held in zip(sent, answers, strict=True):
                if held is False and unsaved.misplaced:
                    self._misplaced.append(unsaved)
                else:
                    _answer(unsaved.answer, held)
        misplaced, self._misplaced = self._misplaced, []
        self._put_in_front(misplaced)
        while runs := [run for run in self._alone if run not in self._not_before]:
            await self._send_alone(session, runs)
        now = time.monotonic()
        for run in [run for run, due in self._not_before.items() if due <= now][:LATER_MOST]:
            await self._send_alone(session, [run])

    async def _send_alone(self, session: Session, runs: Iterable[Saver]) -> None:
        """Send the next save of each of these; what meets a lock is put off, behind the others."""
        due = (self._alone[run][0] for run in runs)
        batch = [*of_different_tasks(unsaved._replace(saving=unsaved.current) for unsaved in due)]
        del batch[SAVES_MOST:]
        answers = await self._send(partial(queue.save_at_once, session), batch, _spoils)
        for unsaved, held in zip(batch, answers, strict=True):
            run = unsaved.run
            if run is None:
                continue
            self._not_before.pop(run, None)
            if _again(unsaved, held):
                self._not_before[run] = time.monotonic() + LATER_SECONDS
                continue
            self._alone[run].popleft()
            if not self._alone[run]:
                del self._alone[run]
            _answer(unsaved.answer, held)

    async def _send(
        self,
        send: Callable[[Sequence[Saving]], Awaitable[Sequence[bool]]],
        batch: Sequence[Unsaved],
        spoils: Callable[[Exception], bool],
    ) -> list[bool | Exception]:
        """The answers in the order of the batch; the server gets it in the order of locks."""
        for unsaved in batch:
            if unsaved.run is not None:
                self._sent.setdefault(unsaved.run, asyncio.Event())
        order = sorted(range(len(batch)), key=lambda n: _place(batch[n].saving))
        came = await halving(send, [batch[number].saving for number in order], spoils)
        answers = dict(zip(order, came, strict=True))
        self._settled(batch)
        return [answers[number] for number in range(len(batch))]

    def _settled(self, batch: Iterable[Unsaved]) -> None:
        """Nothing of these is on its way any more."""
        for unsaved in batch:
            if unsaved.run is not None and (sent := self._sent.pop(unsaved.run, None)):
                sent.set()

    def _take_asked(self) -> None:
        asked, self._asked = self._asked, deque()
        soon, self._soon = self._soon, {}
        for unsaved in (*asked, *soon.values()):
            run = unsaved.run
            if run is None or not (unsaved.saving.alone or run in self._alone):
                self._shared.append(unsaved)
                continue
            before = self._alone.setdefault(run, deque())
            if unsaved.answer is None and before and before[-1].answer is None:
                saving = merged(before.pop(), unsaved.saving)
                before.append(unsaved._replace(saving=saving))
            else:
                before.append(unsaved)

    def _part_overtaken(self) -> bool:
        """Take what waits for no lock since its run overtook it out; whether anything is left."""
        if overtaken := [unsaved for unsaved in self._shared if unsaved.apart]:
            self._shared = [unsaved for unsaved in self._shared if not unsaved.apart]
            self._put_in_front(overtaken)
        return bool(self._shared)

    def _put_in_front(self, unsaved: Sequence[Unsaved]) -> None:
        """Have these sent apart, before what their runs have asked for since."""
        for one in reversed(unsaved):
            if one.run is not None:
                self._alone.setdefault(one.run, deque()).appendleft(one)

    def _refuse_rewound(self) -> None:
        """What rests on saves that a standby which has taken over may lack is not written."""
        alone = [unsaved for waiting in self._alone.values() for unsaved in waiting]
        every = (*self._shared, *self._misplaced, *alone)
        if gone := [unsaved for unsaved in every if unsaved.rewound]:
            self._shared = [unsaved for unsaved in self._shared if not unsaved.rewound]
            self._misplaced = [unsaved for unsaved in self._misplaced if not unsaved.rewound]
            for run in [run for run in self._alone if run.rewound]:
                del self._alone[run]
                self._not_before.pop(run, None)
            self._settled(gone)
            for unsaved in gone:
                _answer(unsaved.answer, held=False)


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
