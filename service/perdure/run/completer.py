"""Loop: gathers endings, writes plain ones in one statement and settles the rest; also checkpoints.

A run is handed in once, after its code has stopped. Nothing is dropped while its lease may live: a
lost connection leaves the backlog as it is, and after the next connect the same statements are sent
again. The fence makes that safe: what had been written answers "own", what is not ours "lost".
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from perdure.run.bus import Bus
from perdure.run.events import TaskEnded, TaskLost, TasksCompleted
from perdure.run.halving import halving
from perdure.run.holdings import Holdings
from perdure.run.loop import Loop
from perdure.run.saves import Saver, Saves
from perdure.store import queue
from perdure.store.database import Database, Session
from perdure.store.queue import Done, Saving, Settled, Settling
from perdure.tasks.places import Claimed, LeaseId, Mail, Move

SETTLE_MOST = 200
"""Moves of one statement: one transaction, so this bounds how long locks are held."""
FLUSH_BYTES = 16 * 2**20
"""Results that one statement carries, but for the last one: a server takes no more than 1 GiB."""
BUSY_SECONDS = 0.02
"""Pause before a lease that somebody had locked is asked again."""


class Rewindable(Protocol):
    """A run whose end was decided by what it had written."""

    @property
    def rewound(self) -> bool:
        """Whether a standby has taken over that may lack it."""

    def rewind(self) -> Handed:
        """What is written instead of its end: it goes on from what is there."""


class Handed(NamedTuple):
    """A move on its way: `decide` is asked again when there is mail that it did not know.

    refused: what decides instead when the database refuses the value itself.
    settled: told what became of it: the move that was made, or None for a lost lease.
    run: whose end it is, if what it knows may have been lost with a server.
    """

    settling: Settling
    decide: Callable[[Sequence[Mail]], Move]
    refused: Callable[[BaseException], Callable[[Sequence[Mail]], Move]]
    settled: Callable[[Move | None], None]
    refusals: int = 0
    run: Rewindable | None = None


class Plain(Done, Rewindable, Protocol):
    """A run whose end is a plain success: a result and perhaps a checkpoint are to be written."""

    claimed: Claimed
    started: float
    ended: float

    def refuse(self, error: BaseException) -> Handed:
        """What is written instead if the database refuses the result itself."""


class Completer:
    """Owns one connection of its own, so that handlers can never use up what endings need."""

    def __init__(
        self,
        database: Database,
        worker_id: Callable[[], int],
        holdings: Holdings,
        *,
        bus: Bus,
        rng: random.Random,
        batch: Callable[[], int],
        queue_of: Callable[[int], str],
        relieved: Callable[[], None],
    ) -> None:
        self.loop = Loop("completer", self.once, bus=bus, rng=rng)
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self._database = database
        self._worker_id = worker_id
        self._holdings = holdings
        self._bus = bus
        self._batch = batch
        self._queue_of = queue_of
        self._relieved = relieved
        self._session: Session | None = None
        self._cut_off: list[int] = []
        self._timeline = database.timeline.number
        self._plain: deque[Plain] = deque()
        self._moves: deque[Handed] = deque()
        self._saves = Saves()
        self._flying = 0

    @property
    def backlog(self) -> int:
        """Endings that are not durable yet."""
        return len(self._plain) + len(self._moves) + self._flying

    def end(self, run: Plain) -> None:
        """Hand in a plain success."""
        if run.rewound:
            self.hand_in(run.rewind())
            return
        if not self._plain:
            self.loop.wake()
        self._plain.append(run)

    def hand_in(self, handed: Handed) -> None:
        """Hand in any other end of a run, or a move of a task that was not begun."""
        run = handed.run
        self._moves.append(handed if run is None or not run.rewound else run.rewind())
        self.loop.wake()

    def save_soon(self, saving: Saving, run: Saver) -> None:
        """Save with the next flush; the last value of a run wins."""
        self._saves.ask_soon(saving, run)
        self.loop.wake()

    async def save(self, saving: Saving, run: Saver | None = None) -> bool:
        """Save durably; False: the lease is lost. Calls of one moment share a commit."""
        answer = self._saves.ask(saving, run)
        self.loop.wake()
        return await answer

    async def overtake(self, run: Saver) -> None:
        """The run saves in a transaction now: what it wanted to be saved soon must not follow."""
        await self._saves.overtake(run)

    def forget(self, run: Saver) -> Saving | None:
        """A run is over: what it wanted to be saved soon and was not yet; it rides its ending."""
        return self._saves.forget(run)

    async def drained(self) -> None:
        """Flush until nothing is left; the caller bounds the time."""
        while self.backlog or self._saves.waiting:
            self.loop.wake()
            await asyncio.sleep(BUSY_SECONDS / 4)

    async def close(self) -> None:
        """Stop and close the connection."""
        await self.loop.cancel()
        if self._session is not None:
            await self._session.close()

    async def once(self) -> float | None:
        """One flush: saves, then plain endings, then moves; then wait for the next hand-in."""
        session = await self._connected()
        if self._timeline != self._database.timeline.number:
            self._timeline = self._database.timeline.number
            self._rewind()
        if self._saves.waiting:
            await self._saves.flush(session)
        held_back = False
        ended = bool(self._plain or self._moves)
        if self._plain:
            held_back |= await self._flush_plain(session)
        if self._moves:
            held_back |= await self._flush_moves(session)
        if ended:
            self._relieved()
        if held_back:
            return BUSY_SECONDS
        return 0 if self._plain or self._moves else self._saves.delay

    def _rewind(self) -> None:
        """A standby has taken over: ends that rest on what it may lack are not written."""
        plain, moves = self._plain, self._moves
        self._plain = deque(run for run in plain if not run.rewound)
        self._moves = deque(
            handed.run.rewind() if handed.run is not None and handed.run.rewound else handed
            for handed in moves
        )
        self._moves += [run.rewind() for run in plain if run.rewound]

    async def _connected(self) -> Session:
        """The connection; a lost one is ended first, so that nothing which was sent on it can be
        written after what is sent from now on: a checkpoint must not go back."""
        session = self._session
        if session is None or session.broken:
            if session is not None and not session.pooled:
                self._cut_off.append(session.backend_pid)
            self._session = session = await self._database.session(application="perdure flush")
        while self._cut_off:
            await queue.end_session(session, self._cut_off[-1])
            self._cut_off.pop()
        return session

    async def _flush_plain(self, session: Session) -> bool:
        """Write plain successes; whether some were held back by a locked lease."""
        batch = self._next_plain()
        self._flying = len(batch)
        try:
            fates = await halving(partial(queue.finish, session, self._worker_id()), batch)
        except BaseException:
            self._plain.extendleft(reversed(batch))
            raise
        finally:
            self._flying = 0
        wrote: list[Plain] = []
        again: list[Plain] = []
        for run, fate in zip(batch, fates, strict=True):
            if fate == "own":
                wrote.append(run)
            elif fate == "held":
                again.append(run)
            elif isinstance(fate, Exception):
                self._moves.append(run.refuse(fate))
            else:
                self._holdings.gave(run.lease, run.task_id)
                self._lost(run.task_id, run.claimed.name, run.attempt)
        self._plain.extendleft(reversed(again))
        if wrote:
            self._wrote(wrote)
        return bool(again)

    def _next_plain(self) -> list[Plain]:
        """The next to write, within the bounds of one statement."""
        most, size = max(self._batch(), 1) * 2, 0
        batch: list[Plain] = []
        while self._plain and len(batch) < most and size < FLUSH_BYTES:
            run = self._plain.popleft()
            size += len(run.result) + (run.saved.size if run.saved else 0)
            batch.append(run)
        return batch

    def _wrote(self, runs: Sequence[Plain]) -> None:
        """What follows from a flush, counted for the batch as a whole."""
        self._holdings.gave_all(runs)
        spent: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for run in runs:
            spent[run.claimed.name, run.claimed.lane].append(run.ended - run.started)
        for (name, lane), seconds in spent.items():
            self.tally(name, self._queue_of(lane), "completed", sum(seconds), len(seconds))
        one = runs[0] if len(runs) == 1 else None
        self._bus.emit(
            TasksCompleted(
                count=len(runs),
                task_id=None if one is None else one.task_id,
                name=None if one is None else one.claimed.name,
            )
        )
        if self._bus.heard("task.completed"):
            for run in runs:
                self._bus.emit(
                    TaskEnded(
                        task_id=run.task_id, name=run.claimed.name, attempt=run.attempt,
                        state="completed", seconds=run.ended - run.started,
                    )
                )  # fmt: skip

    async def _flush_moves(self, session: Session) -> bool:
        """Settle moves; whether some were held back by a locked lease."""
        batch = [self._moves.popleft() for _ in range(min(len(self._moves), SETTLE_MOST))]
        batch.sort(key=lambda handed: _place(handed.settling))
        self._flying = len(batch)
        try:
            answers = await halving(
                partial(queue.settle, session, self._worker_id()), [h.settling for h in batch]
            )
            unsure = [
                handed for handed, answer in zip(batch, answers, strict=True)
                if not isinstance(answer, Exception) and answer.answer == "lost"
            ]  # fmt: skip
            fates = await self._own_or_lost(session, unsure) if unsure else []
        except BaseException:
            self._moves.extendleft(reversed(batch))
            raise
        finally:
            self._flying = 0
        for handed, fate in zip(unsure, fates, strict=True):
            self._holdings.gave(handed.settling.lease, handed.settling.task_id)
            handed.settled(handed.settling.move if fate == "own" else None)
        return self._take_answers(zip(batch, answers, strict=True))

    def _take_answers(self, answers: Iterable[tuple[Handed, Settled | Exception]]) -> bool:
        """What follows from them, but for the lost ones; whether some were held back."""
        held_back = False
        failure: Exception | None = None
        for handed, answer in answers:
            settling = handed.settling
            if isinstance(answer, Exception):
                if handed.refusals:
                    # Not even its refusal can be written: told, and tried again.
                    failure = answer
                    self._moves.append(handed)
                else:
                    self._moves.append(_refusal(handed, answer))
            elif answer.answer == "settled":
                self._holdings.gave(settling.lease, settling.task_id)
                handed.settled(settling.move)
            elif answer.answer == "mail":
                move = handed.decide(answer.letters)
                self._moves.append(handed._replace(settling=settling._replace(move=move)))
            elif answer.answer == "busy":
                held_back = True
                self._moves.append(handed)
        if failure is not None:
            raise failure
        return held_back

    async def _own_or_lost(self, session: Session, unsure: Sequence[Handed]) -> list[str]:
        """A lease that no longer holds the task: our own end whose reply was lost, or another's."""
        runs = [
            (h.settling.lease, h.settling.task_id, h.settling.move.attempt or -1) for h in unsure
        ]
        return await queue.fates(session, self._worker_id(), runs)

    def take_counts(self) -> dict[tuple[str, str, str], tuple[int, float]]:
        """What has ended since the last call: how many, and seconds, by (name, queue, state)."""
        counts, seconds = self._counts, self._seconds
        self._counts, self._seconds = Counter(), defaultdict(float)
        return {key: (count, seconds[key]) for key, count in counts.items()}

    def tally(self, name: str, queue_name: str, state: str, seconds: float, count: int = 1) -> None:
        """Count ended tasks, and the seconds that they ran in all, for the statistics."""
        self._counts[name, queue_name, state] += count
        self._seconds[name, queue_name, state] += seconds

    def _lost(self, task_id: int, name: str, attempt: int) -> None:
        if self._bus.heard("task.lost"):
            self._bus.emit(TaskLost(task_id=task_id, name=name, attempt=attempt))


def _place(item: Settling | Saving) -> tuple[LeaseId, int]:
    """Where it stands in a statement: two workers lock in one order."""
    return item.lease, item.task_id


def _refusal(handed: Handed, error: Exception) -> Handed:
    decide = handed.refused(error)
    settling = handed.settling._replace(move=decide(()), progress=None)
    return handed._replace(settling=settling, decide=decide, refusals=1)
