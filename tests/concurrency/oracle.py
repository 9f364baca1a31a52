"""What must hold after any two operations in any order; no expectation of its own for a pair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import uuid4

from tests.concurrency.explorer import Ran, Side
from tests.concurrency.operations import LEVELS, Aim, Kind
from tests.concurrency.world import JUDGE, STARTED_AT, TYPES, WORKER, World
from tests.invariants import ALWAYS, AT_THE_END, Question

from perdure.store.queue import Settling, move_document
from perdure.tasks.places import Ended, Move, Ready

OF_ALL = frozenset({"recover", "deregister"})
"""They take all tasks of a dead worker. What takes one task of its lease says so (`took`), or moves
it to a lease of its own (`separate`); nothing else does: a cancel and the like write letters."""
TURNS = 12
"""What is left over ends in so many turns of upkeep, claim and finish."""


def _asked_at_once(questions: Sequence[Question]) -> str:
    """One statement for all: the numbers of those that have an answer."""
    parts = [f"select {n} where exists ({q.sql})" for n, q in enumerate(questions)]
    return " union all ".join(parts)


NOW, END = _asked_at_once(ALWAYS), _asked_at_once((*ALWAYS, *AT_THE_END))
UNKNOWN = json.dumps([*json.loads(TYPES), {"name": "z"} | {
    "queue": "default", "priority": 5, "requires": []}])  # fmt: skip
# What the chores of all workers do, with the waiting times over and every suspension answered.
# A function: its plans are made once. It answers how many tasks have not ended.
PREPARED = f"""
    create function step.upkeep() returns bigint language plpgsql as $$
    begin
        if not exists (select from perdure.task_types where name = 'z') then
            perform perdure.register_types('{UNKNOWN}');
        end if;
        perform perdure.recover();
        update perdure.waiting set due_at = clock_timestamp() - interval '1 second'
        where due_at > clock_timestamp();
        perform perdure.promote(100);
        perform perdure.obey(100);
        perform perdure.relane(0, 100);
        perform perdure.serve_openings(100);
        perform perdure.proceed(task_id) from perdure.waiting where reason = 'suspended';
        delete from perdure.leases where task_ids = '{{}}';
        return (
            select count(*) from perdure.tasks as t
            where not exists (select from perdure.outcomes as o where o.task_id = t.id));
    end $$
"""
UPKEEP = "select step.upkeep()"
HELD = """
    select l.id::text, i, l.worker_id, coalesce(p.attempt, 0) + 1,
        coalesce((select array_agg(m.id order by m.id) from perdure.mail as m
            where m.task_id = i and m.kind in ('cancel', 'replaced')), '{}'),
        coalesce(p.marks & 8 > 0, false)
            or exists (select from perdure.instances as n where n.task_id = i)
    from perdure.leases as l cross join unnest(l.task_ids) as i
    left join perdure.progress as p on p.task_id = i
    order by l.id, i
"""
# The signals of upkeep bring nothing.
HEARD = """
    select exists (
            select from perdure.audit where action = 'proceed' and details <> '{}'
                or action = 'signal_unused' and details <> '{}')
        or exists (select from perdure.mail where wait_key is not null)
"""


class Act(NamedTuple):
    """One of the two operations, aimed."""

    kind: Kind
    aim: Aim


class Judge:
    """Looks at one order after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.database
        self.database.execute(PREPARED)

    def look(self) -> None:
        """Raise AssertionError unless what is committed keeps every invariant."""
        if self.database.rows(NOW):
            self.database.check()

    def judge(self, acts: tuple[Act, Act], ran: Ran) -> None:
        """Raise AssertionError unless both have told the truth and everything can still end."""
        if self.world.ranged:  # else each commit has been looked at
            self.look()
        pairs = list(zip(acts, ran.sides, strict=True))
        for act, side in pairs:
            self._answered_truly(act, side)
        took = [act.aim.task for act, side in pairs if act.kind.took(side, act.aim.task)]
        assert len(took) == len(set(took)), "a task was taken out of its lease twice"
        self._was_refused_rightly(pairs)
        # A row of retention takes the history of a task with it.
        kept = {act.kind.name for act in acts}.isdisjoint({"retire", "drop range", "prune"})
        if kept:
            self._holds_what_was_said(pairs)
        for act, side in pairs:
            if act.kind.move is not None:
                self._settle_again(act, side)
        self._finish_all()
        if kept:
            self._has_heard(pairs)

    def _answered_truly(self, act: Act, side: Side) -> None:
        """The business write lives and dies with the transaction; a claim is in its bounds."""
        if act.kind.caller:
            text = "select count(*) from step.business where side = %s"
            assert self.database.value(text, [act.aim.on]) == (side.refused is None)
        if act.kind.name == "claim":
            assert len(side.answers[0]) <= 1, "more was claimed than was asked for"

    def _was_refused_rightly(self, pairs: list[tuple[Act, Side]]) -> None:
        """Who is told that its lease is lost has lost it: to the other, who committed before.

        And a task that was given a lease of its own is in it, unless the other took it from there.
        """
        for (act, side), (other, beside) in (pairs, pairs[::-1]):
            task, name = act.aim.task, act.kind.name
            risky = act.kind.caller and act.aim.level != LEVELS[0]
            assert side.refused != "40001" or risky, f"{name} is to be repeated, at {act.aim.level}"
            taken = _takes(other, beside, task)
            if act.kind.lost(side, task) and self.world.held_at_first(task):
                told = f"{name} was told that its lease is lost"
                assert taken, f"{told}, beside {other.kind.name}, which takes none"
                told_at = side.moments[-1 if side.refused else 0]
                assert beside.moments[-1] < told_at, f"{told}, before it was"
                assert not self.world.holds(self.world.lease_of(task), task), f"{told}: it is not"
            untaken = not taken or other.kind.name == "separate"
            if name == "separate" and side.refused is None and untaken:
                ((own,),) = side.answers[0]
                assert self.world.holds(str(own), task), "a task is not where separate has said"

    def _holds_what_was_said(self, pairs: list[tuple[Act, Side]]) -> None:
        """A checkpoint that was accepted is there, and so is an end, unless it was undone."""
        undone = _retries(pairs)
        page = "select execution_metadata ->> 'page' from perdure.progress where task_id = %s"
        ended = "select state from perdure.outcomes where task_id = %s"
        for act, side in pairs:
            task, kind = act.aim.task, act.kind
            if kind.saved(side, task):
                assert self.database.value(page, [task]) == "1", "a checkpoint was lost"
            state = _end_of(kind)
            if state and kind.took(side, task) and not undone:
                assert self.database.value(ended, [task]) == state, "an end was lost"

    def _settle_again(self, act: Act, side: Side) -> None:
        """Go on as a completer does until it is settled or lost."""
        move = act.kind.move
        if move is None or not side.answers:
            return
        ((_, answer, letters),) = side.answers[0]
        lease = self.world.lease_of(act.aim.task)
        for _ in range(TURNS):
            if answer not in {"mail", "busy"}:
                return
            again = self._decided(move, json.loads(letters or "[]"))
            document = move_document(Settling(lease, act.aim.task, STARTED_AT, again))
            held = self.world.holds(lease, act.aim.task)
            rows = self.world.ask("settle", moves=f"[{document}]", worker=WORKER)
            ((_, answer, letters),) = rows
            assert (answer == "lost") is not held, f"{answer}, and the lease {held=} the task"
        raise AssertionError(f"it is never settled: {answer}")

    def _decided(self, move: Move, letters: list[dict[str, Any]]) -> Move:
        """As `decide_end` would: a cancel wins, a signal lets a suspension go on."""
        known = tuple(letter["id"] for letter in letters)
        kinds = {letter["kind"] for letter in letters}
        if kinds & {"cancel", "replaced"}:
            goal = Ended(state="cancelled", kind="requested", error='{"type": "C"}')
            return replace(move, to=goal, run=None, run_reason=None, known=known)
        if kinds:
            return replace(move, to=Ready(reason="proceeded"), known=known, obeyed=known)
        return move

    def _finish_all(self) -> None:
        """Upkeep, and workers that claim and finish: everything ends, and nothing is left."""
        for _ in range(TURNS):
            if not self.database.value(UPKEEP):
                break
            plain: dict[int, list[tuple[str, int, int]]] = {}
            for lease, task, worker, next_attempt, letters, awaited in self.database.rows(HELD):
                # The first runs may have been recorded already, those claimed since then cannot.
                attempt = 1 if lease in self.world.first_leases else next_attempt
                if letters or awaited:
                    self._settle(lease, task, worker, attempt, tuple(letters))
                else:
                    plain.setdefault(worker, []).append((lease, task, attempt))
            for worker, runs in plain.items():
                assert self.world.finish(worker, runs) == len(runs), "a held task did not end"
            self.world.ask("claim", **self.world.claim_values(JUDGE, str(uuid4())))
        else:
            left = self.database.rows(
                "select id, state, reason, waiting_for from perdure.task_states"
                " where state not in ('completed', 'failed', 'cancelled')"
            )
            raise AssertionError(f"this cannot end: {left}")
        if self.database.rows(END):
            self.database.check_drained()

    def _settle(
        self, lease: str, task: int, worker: int, attempt: int, letters: tuple[int, ...]
    ) -> None:
        """End as who is told to stop, or as a success that others may wait for."""
        goal = Ended(state="completed", result="1")
        if letters:
            goal = Ended(state="cancelled", kind="requested", error='{"type": "C"}')
        move = Move(to=goal, attempt=attempt, known=letters)
        document = move_document(Settling(lease, task, STARTED_AT, move))
        rows = self.world.ask("settle", moves=f"[{document}]", worker=worker)
        assert [row[1] for row in rows] == ["settled"], rows

    def _has_heard(self, pairs: list[tuple[Act, Side]]) -> None:
        """A cancel and a signal that were taken have been obeyed, or are known to be too late."""
        undone = _retries(pairs)
        cancelled = "select cancel_requested_at from perdure.outcomes where task_id = %s"
        for act, side in pairs:
            answer = side.answers[0][0][0] if side.answers and side.answers[0] else None
            if act.kind.name == "cancel" and answer in {"requested", "cancelled"}:
                assert self.database.value(cancelled, [act.aim.task]) or undone, "a cancel was lost"
            elif act.kind.name in {"proceed", "signal"} and answer in {"proceeded", "kept"}:
                assert self.database.value(HEARD), "a signal was lost"


def _retries(pairs: Sequence[tuple[Act, Side]]) -> bool:
    """Whether one of them lets go on what has ended."""
    return not {"retry", "retry where"}.isdisjoint(act.kind.name for act, _ in pairs)


def _takes(act: Act, side: Side, task: int) -> bool:
    """Whether it has taken the task out of its lease, or the lease of it."""
    if side.refused:
        return False
    if act.kind.name in OF_ALL:
        recovered = side.answers[-2]  # the last is the commit
        return any(tasks for _, _, tasks, _ in recovered)
    return act.aim.task == task and (act.kind.name == "separate" or act.kind.took(side, task))


def _end_of(kind: Kind) -> str | None:
    """The state in which a task has ended that this operation took."""
    if kind.move is not None:
        return kind.move.to.state if isinstance(kind.move.to, Ended) else None
    return "completed" if kind.name in {"finish", "complete"} else None
