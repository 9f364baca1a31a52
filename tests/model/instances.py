"""Who gets an instance of one key, statement by statement: seat, let_in, hand_over, serve_openings.

Each transaction sees what is committed and its own changes, as each statement of read committed
does; rows that another has locked are waited for, or passed over where the SQL says so. Between any
two statements everything else may happen, a transaction may stay open, or roll back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

Row: TypeAlias = tuple[str, int, int]
"""(holds, number, task), (waits, task, 0), (opening, task that left it, which of them)."""


class Transaction(NamedTuple):
    """One that enqueues or ends `task`, or a beat's; `at` is what it does next."""

    kind: str
    task: int = 0
    at: str = "begin"
    added: frozenset[Row] = frozenset()
    removed: frozenset[Row] = frozenset()
    locked: frozenset[Row] = frozenset()
    picked: frozenset[Row] = frozenset()
    free: tuple[int, ...] = ()
    found: int = 0
    aborts: int = 0

    def remove(self, row: Row) -> Transaction:
        """Without a row; one of its own was never there for others."""
        if row in self.added:
            return self._replace(added=self.added - {row})
        return self._replace(removed=self.removed | {row}, locked=self.locked | {row})


class State(NamedTuple):
    """What is committed, and the transactions."""

    rows: frozenset[Row]
    running: tuple[Transaction, ...]


class Instances:
    """The protocol; each defence is a method or a value that a variant takes out."""

    one_row_per_number = True
    handshakes = True
    locks_before_it_looks = True
    keeps_openings_of_full_keys = True
    tells_of_those_passed_over = True
    takes_numbers_as_counted = True

    def __init__(
        self,
        *,
        most: int,
        tasks: int,
        beats: int = 1,
        aborts: int = 0,
        held: int = 0,
        above: int = 0,
    ) -> None:
        self.most = most
        self.tasks = range(1, tasks + 1)
        self._held = range(1, held + 1)
        self._above = above
        self._beats = beats
        self._aborts = aborts

    def start(self) -> State:
        """Each task has somebody to end it and, but for those that are there, to enqueue it.

        Numbers of those that are there may lie `above` the limit, which has been lowered since.
        """
        aborts = self._aborts
        running = [Transaction("out", task, aborts=aborts) for task in self.tasks]
        running += [Transaction("in", t, aborts=aborts) for t in self.tasks if t not in self._held]
        running += [Transaction("beat", -number) for number in range(self._beats)]
        return State(
            frozenset(("holds", task + self._above, task) for task in self._held), tuple(running)
        )

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Every single step that can be taken."""
        for place, one in enumerate(state.running):
            if one.at == "done":
                continue
            others = state.running[:place] + state.running[place + 1 :]
            for after in getattr(self, f"_{one.at}")(state, one, others):
                label = f"{one.kind} {one.task}: {one.at} -> {after.at}"
                rows = state.rows
                if one.at == "commit":
                    rows = (rows - one.removed) | one.added
                left = (*state.running[:place], after, *state.running[place + 1 :])
                yield label, State(rows, left)
            if one.aborts and one.at != "begin":
                again = Transaction(one.kind, one.task, aborts=one.aborts - 1)
                left = (*state.running[:place], again, *state.running[place + 1 :])
                yield f"{one.kind} {one.task}: rolls back", State(state.rows, left)

    def invariants(self) -> Mapping[str, Callable[[State], bool]]:
        """Return what must never be in what is committed."""
        return {"more than allowed": self._too_many, "nobody is to look": self._forgotten}

    def all_ended(self, state: State) -> bool:
        return all(one.at == "done" or one.kind == "beat" for one in state.running)

    def canonical(self, state: State) -> State:
        """Return the state itself: few enough are left without looking for likeness."""
        return state

    def _too_many(self, state: State) -> bool:
        return _count_of(state, "holds") > self.most

    def _forgotten(self, state: State) -> bool:
        """Tell whether one is free, somebody waits, and nobody is to look."""
        free = _count_of(state, "holds") < self.most
        return free and _count_of(state, "waits") > 0 and _count_of(state, "opening") == 0

    def _begin(self, state: State, one: Transaction, others: Others) -> Iterator[Transaction]:
        taken = _locked(others)
        if one.kind == "in":
            waits, opening = ("waits", one.task, 0), ("opening", one.task, 0)
            yield one._replace(at="count", added=one.added | {waits, opening})
        elif one.kind == "beat":
            picked = frozenset(r for r in state.rows if r[0] == "opening" and r not in taken)
            if picked:
                yield one._replace(at="count", picked=picked, locked=one.locked | picked)
        else:
            for row in state.rows:
                if row[0] == "holds" and row[2] == one.task:
                    if not self.locks_before_it_looks:
                        yield one._replace(
                            at="hand_over", found=self._next(state, one, others) or -1
                        )
                    elif row not in taken:
                        yield one._replace(at="hand_over", locked=one.locked | {row})

    def _hand_over(self, state: State, one: Transaction, others: Others) -> Iterator[Transaction]:
        (row,) = (r for r in state.rows if r[0] == "holds" and r[2] == one.task)
        if row in _locked(others):
            return
        found = self._next(state, one, others)
        waiting = bool(_seen(state, one, "waits"))
        if not self.locks_before_it_looks:
            found, waiting = (found, waiting) if one.found == found else (0, one.found > 0)
        one = one.remove(row)
        if found:
            after = one.remove(("waits", found, 0))
            yield after._replace(at="commit", added=after.added | {("holds", row[1], found)})
        elif waiting and self.tells_of_those_passed_over:
            yield one._replace(at="count", added=one.added | {("opening", one.task, 1)})
        else:
            yield one._replace(at="commit")

    def _count(self, state: State, one: Transaction, _: Others) -> Iterator[Transaction]:
        free = self._free(state, one)
        yield one._replace(at="let_in" if free else "judge", free=free)

    def _let_in(self, state: State, one: Transaction, others: Others) -> Iterator[Transaction]:
        free = (
            one.free if self.takes_numbers_as_counted else self._lowest(state, one, len(one.free))
        )
        offers = tuple(zip(free, self._waiting(state, one, others), strict=False))
        if not offers:
            yield one._replace(at="judge")
            return
        in_doubt = {
            row[1] for other in others for row in other.added | other.removed if row[0] == "holds"
        }
        if self.one_row_per_number and any(number in in_doubt for number, _ in offers):
            # It waits for the other to commit, and if that takes long it leaves its openings.
            yield one._replace(at="commit", free=())
            return
        taken = {row[1] for row in _seen(state, one, "holds")} if self.one_row_per_number else set()
        for number, task in offers:
            if number not in taken:
                one = one.remove(("waits", task, 0))
                one = one._replace(added=one.added | {("holds", number, task)})
        yield one._replace(at="count", free=())

    def _free(self, state: State, one: Transaction) -> tuple[int, ...]:
        """As many numbers as may be given, the lowest that nobody has."""
        return self._lowest(state, one, self.most - len(_seen(state, one, "holds")))

    @staticmethod
    def _lowest(state: State, one: Transaction, count: int) -> tuple[int, ...]:
        held = {row[1] for row in _seen(state, one, "holds")}
        numbers = (number for number in range(1, count + len(held) + 1) if number not in held)
        return tuple(numbers)[: max(count, 0)]

    def _judge(self, state: State, one: Transaction, others: Others) -> Iterator[Transaction]:
        openings = one.picked | {row for row in one.added if row[0] == "opening"}
        served = one
        for row in openings:
            served = served.remove(row)
        served = served._replace(at="commit", picked=frozenset())
        if not _seen(state, one, "waits"):
            yield served
        elif one.free:
            yield one._replace(at="commit")
        elif one.kind != "beat":
            yield one._replace(at="commit") if self.keeps_openings_of_full_keys else served
        else:
            free = _seen(state, one, "holds") - _locked(others)
            if len(free) >= self.most or not self.handshakes:
                yield served._replace(locked=served.locked | free)
            else:
                yield one._replace(at="commit")

    def _commit(self, _: State, one: Transaction, __: Others) -> Iterator[Transaction]:
        again = one.kind == "beat"
        yield Transaction(one.kind, one.task, at="begin" if again else "done")

    @staticmethod
    def _next(state: State, one: Transaction, others: Others) -> int:
        return min(Instances._waiting(state, one, others), default=0)

    @staticmethod
    def _waiting(state: State, one: Transaction, others: Others) -> list[int]:
        """Those whom it can pick, in the order of their ids."""
        return sorted(row[1] for row in _seen(state, one, "waits") - _locked(others))


Others: TypeAlias = tuple[Transaction, ...]


def _count_of(state: State, what: str) -> int:
    """How many such rows are committed."""
    return sum(row[0] == what for row in state.rows)


def _seen(state: State, one: Transaction, what: str) -> frozenset[Row]:
    """Rows as a statement of this transaction sees them."""
    rows = (state.rows - one.removed) | one.added
    return frozenset(row for row in rows if row[0] == what)


def _locked(others: Others) -> frozenset[Row]:
    return frozenset().union(*(other.locked for other in others))
