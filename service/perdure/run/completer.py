"""Loop: gathers endings, writes plain ones in one statement and settles the rest; also checkpoints.

A run is handed in once, after its code has stopped. Nothing is dropped while its lease may live: a
lost connection leaves the backlog as it is, and after the next connect the same statements are sent
again. The fence makes that safe: what had been written answers "own", what is not ours "lost".
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from perdure.run.events import Bus, TaskEnded, TaskLost, TasksCompleted
from perdure.run.holdings import Holdings
from perdure.run.loop import Loop
from perdure.store import queue
from perdure.store.database import Database, Session, is_data_error
from perdure.store.queue import Done, Saving, Settling
from perdure.tasks.places import Mail, Move

SETTLE_MOST = 200
"""Moves of one statement: they share a transaction, so this bounds how long locks are held."""
BUSY_SECONDS = 0.02
"""Pause before a lease that somebody had locked is asked again."""


class Handed(NamedTuple):
    """A move on its way: `decide` is asked again when there is mail that it did not know.

    refused: the ending to write instead when the database refuses the value itself.
    settled: told what became of it: the move that was made, or None for a lost lease.
    """

    settling: Settling
    decide: Callable[[Sequence[Mail]], Move]
    refused: Callable[[BaseException], Move]
    settled: Callable[[Move | None], None]
    refusals: int = 0


class Ended(NamedTuple):
    """A plain success on its way; `refuse` makes what is written instead if the database refuses
    the result itself."""

    done: Done
    name: str
    queue: str
    seconds: float
    refuse: Callable[[BaseException], Handed]


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
        self._relieved = relieved
        self._session: Session | None = None
        self._plain: deque[Ended] = deque()
        self._moves: deque[Handed] = deque()
        self._saves: dict[int, Saving] = {}
        self._answers: deque[tuple[Saving, asyncio.Future[bool]]] = deque()
        self._flying = 0

    @property
    def backlog(self) -> int:
        """Endings that are not durable yet."""
        return len(self._plain) + len(self._moves) + self._flying

    def end(self, ended: Ended) -> None:
        """Hand in a plain success."""
        if not self._plain:
            self.loop.wake()
        self._plain.append(ended)

    def hand_in(self, handed: Handed) -> None:
        """Hand in any other end of a run, or a move of a task that was not begun."""
        self._moves.append(handed)
        self.loop.wake()

    def save_soon(self, saving: Saving) -> None:
        """Save with the next flush; the last value of a task wins."""
        self._saves[saving.task_id] = merged(self._saves.get(saving.task_id), saving)
        self.loop.wake()

    async def save(self, saving: Saving) -> bool:
        """Save durably; False: the lease is lost. Calls of one moment share a commit."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        soon = self._saves.pop(saving.task_id, None)
        if soon is not None and saving.progress is None:
            saving = saving._replace(progress=soon.progress)
        self._answers.append((saving, answer))
        self.loop.wake()
        return await answer

    def forget(self, task_id: int) -> Saving | None:
        """A run is over: what it wanted to be saved soon and was not yet; it rides its ending."""
        return self._saves.pop(task_id, None)

    async def drained(self) -> None:
        """Flush until nothing is left; the caller bounds the time."""
        while self.backlog or self._saves or self._answers:
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
        if self._saves or self._answers:
            await self._flush_saves(session)
        held_back = False
        if self._plain:
            held_back |= await self._flush_plain(session)
        if self._moves:
            held_back |= await self._flush_moves(session)
        self._relieved()
        if held_back:
            return BUSY_SECONDS
        return 0 if self._plain or self._moves or self._saves or self._answers else None

    async def _connected(self) -> Session:
        """The connection; a lost one is ended first, so that nothing which was sent on it can be
        written after what is sent from now on: a checkpoint must not go back."""
        old = self._session
        if old is not None and not old.broken:
            return old
        self._session = session = await self._database.session(application="perdure flush")
        if old is not None and not session.pooled:
            await session.run("end_session", {"pid": old.backend_pid})
        return session

    async def _flush_saves(self, session: Session) -> None:
        soon, self._saves = self._saves, {}
        asked, self._answers = self._answers, deque()
        saves = [*soon.values(), *(saving for saving, _ in asked)]
        saves.sort(key=lambda saving: (saving.lease.int, saving.task_id))
        try:
            answers = dict(
                zip([id(saving) for saving in saves], await queue.save(session, saves), strict=True)
            )
        except BaseException as error:
            if is_data_error(error) and len(saves) > 1:
                await self._save_singly(session, soon, asked)
                return
            for saving, answer in asked:
                if is_data_error(error) and not answer.done():
                    answer.set_exception(error)
                else:
                    self._answers.append((saving, answer))
            if is_data_error(error):
                return
            self._saves = {**soon, **self._saves}
            raise
        for saving, answer in asked:
            if not answer.done():
                answer.set_result(answers[id(saving)])

    async def _save_singly(
        self,
        session: Session,
        soon: dict[int, Saving],
        asked: Sequence[tuple[Saving, asyncio.Future[bool]]],
    ) -> None:
        """One value of a batch was refused: find it, so that the others are saved."""
        for saving in soon.values():
            try:
                await queue.save(session, [saving])
            except Exception as error:  # rare: a value was refused
                if not is_data_error(error):
                    raise
        for saving, answer in asked:
            try:
                held = (await queue.save(session, [saving]))[0]
            except Exception as error:
                if not is_data_error(error):
                    raise
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(held)

    async def _flush_plain(self, session: Session) -> bool:
        """Write plain successes; whether some were held back by a locked lease."""
        most = max(self._batch(), 1) * 2
        batch = [self._plain.popleft() for _ in range(min(len(self._plain), most))]
        self._flying = len(batch)
        try:
            return await self._finish(session, batch)
        finally:
            self._flying = 0

    async def _finish(self, session: Session, batch: list[Ended]) -> bool:
        try:
            fates = await queue.finish(session, self._worker_id(), [ended.done for ended in batch])
        except BaseException as error:
            if is_data_error(error) and len(batch) > 1:
                middle = len(batch) // 2
                first = await self._finish(session, batch[:middle])
                return await self._finish(session, batch[middle:]) or first
            if is_data_error(error):
                self._moves.append(batch[0].refuse(error))
                return False
            self._plain.extendleft(reversed(batch))
            raise
        wrote = 0
        again: list[Ended] = []
        for ended, fate in zip(batch, fates, strict=True):
            if fate == "held":
                again.append(ended)
                continue
            self._holdings.gave(ended.done.lease)
            if fate == "own":
                wrote += 1
                self.tally(ended.name, ended.queue, "completed", ended.seconds)
                self._completed(ended)
            else:
                self._lost(ended.done.task_id, ended.name, ended.done.attempt)
        self._plain.extendleft(reversed(again))
        if wrote:
            self._bus.emit(TasksCompleted(count=wrote))
        return bool(again)

    async def _flush_moves(self, session: Session) -> bool:
        """Settle moves; whether some were held back by a locked lease."""
        batch = [self._moves.popleft() for _ in range(min(len(self._moves), SETTLE_MOST))]
        self._flying = len(batch)
        batch.sort(key=lambda handed: (handed.settling.lease.int, handed.settling.task_id))
        try:
            return await self._settle(session, batch)
        finally:
            self._flying = 0

    async def _settle(self, session: Session, batch: list[Handed]) -> bool:
        try:
            answers = await queue.settle(session, self._worker_id(), [h.settling for h in batch])
        except BaseException as error:
            if is_data_error(error) and len(batch) > 1:
                # One value spoils the batch: halve it until the value stands alone.
                middle = len(batch) // 2
                first = await self._settle(session, batch[:middle])
                return await self._settle(session, batch[middle:]) or first
            if is_data_error(error) and batch[0].refusals == 0:
                move = batch[0].refused(error)
                settling = batch[0].settling._replace(move=move, progress=None)
                self._moves.append(
                    batch[0]._replace(settling=settling, decide=lambda _: move, refusals=1)
                )
                return False
            self._moves.extendleft(reversed(batch))
            raise
        held_back = False
        unsure: list[Handed] = []
        for handed, answer in zip(batch, answers, strict=True):
            settling = handed.settling
            if answer.answer == "settled":
                self._holdings.gave(settling.lease)
                handed.settled(settling.move)
            elif answer.answer == "mail":
                move = handed.decide(answer.letters)
                self._moves.append(handed._replace(settling=settling._replace(move=move)))
            elif answer.answer == "busy":
                held_back = True
                self._moves.append(handed)
            else:
                unsure.append(handed)
        if unsure:
            await self._tell_own_from_lost(session, unsure)
        return held_back

    async def _tell_own_from_lost(self, session: Session, unsure: Sequence[Handed]) -> None:
        """A lease that no longer holds the task: our own end whose reply was lost, or another's."""
        runs = [
            (h.settling.lease, h.settling.task_id, h.settling.move.attempt or -1) for h in unsure
        ]
        fates = await queue.fates(session, self._worker_id(), runs)
        for handed, fate in zip(unsure, fates, strict=True):
            self._holdings.gave(handed.settling.lease)
            handed.settled(handed.settling.move if fate == "own" else None)

    def take_counts(self) -> dict[tuple[str, str, str], tuple[int, float]]:
        """What has ended since the last call: how many, and seconds, by (name, queue, state)."""
        counts, seconds = self._counts, self._seconds
        self._counts, self._seconds = Counter(), defaultdict(float)
        return {key: (count, seconds[key]) for key, count in counts.items()}

    def tally(self, name: str, queue_name: str, state: str, seconds: float) -> None:
        """Count an ended task for the statistics."""
        self._counts[name, queue_name, state] += 1
        self._seconds[name, queue_name, state] += seconds

    def _completed(self, ended: Ended) -> None:
        if self._bus.heard("task.completed"):
            done = ended.done
            self._bus.emit(
                TaskEnded(
                    task_id=done.task_id, name=ended.name, attempt=done.attempt,
                    state="completed", seconds=ended.seconds,
                )
            )  # fmt: skip

    def _lost(self, task_id: int, name: str, attempt: int) -> None:
        if self._bus.heard("task.lost"):
            self._bus.emit(TaskLost(task_id=task_id, name=name, attempt=attempt))


def merged(old: Saving | None, new: Saving) -> Saving:
    """A later save over an earlier one that has not been written: what is missing stays."""
    if old is None:
        return new
    return new._replace(
        saved=new.saved if new.saved is not None else old.saved,
        progress=new.progress if new.progress is not None else old.progress,
        explicit=new.explicit or old.explicit,
    )
