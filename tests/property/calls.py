"""The shipped statements as a hand-made worker calls them, each answer held against the model."""

from __future__ import annotations

import json
from itertools import product
from typing import Any
from uuid import uuid4

from tests.kit.databases import Database
from tests.property.places import Model, Task

from perdure.store.database import statements
from perdure.store.operations import Entry
from perdure.store.queue import (
    Saving,
    Settling,
    array_literal,
    move_document,
    saved_document,
    saving_document,
)
from perdure.tasks.decide import Ending, decide_end
from perdure.tasks.outcomes import Cancelled, Failure, Outcome, Retry, Success
from perdure.tasks.places import Claimed, LeaseId, Mail, Move, Saved
from perdure.tasks.policies import RetryDefaults, RetryPolicy

TABLES = ("tasks", "outcomes", "ready", "leases", "waiting", "progress", "attempts", "mail",
          "edges", "unique_keys", "workers", "queues", "audit")  # fmt: skip
NAMES, UNKNOWN = ("a", "b"), "z"
PRIORITIES = (0, 5, 9)
MINUTE = 60.0
TYPES = json.dumps([{"name": name, "queue": "q", "priority": 5} for name in NAMES])
COUNTERS = ("attempt", "failures", "interruptions", "crashes")
OUTCOMES: dict[str, Outcome[Any, Any] | None] = {
    "success": Success(1),
    "again": Retry(after=0),
    "later": Retry(after=MINUTE),
    "given up": Failure(1, final=True),
    "cancelled": Cancelled(),
    "interrupted": None,
}


class Run:
    """A task that a worker holds, as it was claimed; `begun`: its handler runs."""

    def __init__(self, claimed: Claimed, worker: int) -> None:
        self.claimed = claimed
        self.worker = worker
        self.begun = False

    @property
    def attempt(self) -> int:
        """The number of this run."""
        return self.claimed.attempt + 1

    def end(self, outcome: Outcome[Any, Any] | None, mail: list[Mail]) -> Move:
        """The move for its end; None is a run that was stopped for a shutdown."""
        ending = Ending(
            attempt=self.attempt, outcome=outcome,
            result="1" if isinstance(outcome, Success) else None,
            unwound=outcome is None, stop_reason="shutdown" if outcome is None else None,
        )  # fmt: skip
        defaults = RetryDefaults()
        return decide_end(self.claimed, ending, mail, retry=RetryPolicy(), defaults=defaults, u=0.0)


class Calls:
    """A database, the model of it, and what its workers believe to hold."""

    def __init__(self, database: Database) -> None:
        self.database = database
        tables = ", ".join(f"perdure.{table}" for table in TABLES)
        database.execute(f"truncate {tables} restart identity")
        database.execute("set jit = off")  # views of empty tables look expensive
        self.lanes = dict(database.rows("select name, id from perdure.lanes where id > 0"))
        self.model = Model()
        self.runs: dict[int, Run] = {}
        self.lost: list[tuple[int, Run]] = []
        self.workers = 0
        self.alive = [self.register(), self.register()]

    def ask(self, verb: str, /, **values: Any) -> list[tuple[Any, ...]]:
        """Run a shipped statement; its rows, or the number of rows that it changed."""
        cursor = self.database.connection.execute(statements("perdure")[verb], values)
        return cursor.fetchall() if cursor.description else [(cursor.rowcount,)]

    def register(self) -> int:
        """A new worker."""
        self.workers += 1
        self.ask("register", id=self.workers, name="w", host="h", pid=self.workers, version="1",
                 lease_seconds=1e6, queues=["q"], names=list(NAMES), slots=9, draining=False,
                 schedules=[])  # fmt: skip
        return self.workers

    def enqueue(self, entry: dict[str, Any]) -> None:
        """One task by the function."""
        values = Entry(**{"unique_policy": "keep", **entry})._asdict()
        ((id_, answer),) = self.ask("enqueue", **values)
        self._enqueued(entry, id_, answer)

    def enqueue_many(self, entries: list[dict[str, Any]]) -> None:
        """Several by the function: those with keys come last, in the order of their keys."""
        rows = sorted(self.ask("enqueue_many", tasks=json.dumps(entries)))
        assert [position for position, _, _ in rows] == list(range(len(entries)))
        order = sorted(range(len(entries)), key=lambda n: entries[n].get("unique_key", ""))
        for n in order:
            self._enqueued(entries[n], *rows[n][1:])

    def insert(self, name: str, priority: int, delay: float | None, count: int) -> None:
        """So many rows by one INSERT."""
        rows = self.database.rows(
            "insert into perdure.tasks (name, priority, run_at) select %s, %s,"
            " clock_timestamp() + make_interval(secs => %s::float8) from generate_series(1, %s)"
            " returning id", [name, priority, delay, count],
        )  # fmt: skip
        for (id_,) in rows:
            self.model.admit(Task(id_, name, priority), delay)

    def _enqueued(self, entry: dict[str, Any], id_: int, answer: str) -> None:
        held, expected, after = None, "created", set[int]()
        if key := entry.get("unique_key"):
            held, expected, after = self.model.hold(key, entry.get("unique_policy", "keep"))
        assert answer == expected
        if held is not None:
            assert id_ == held
            return
        task = Task(id_, entry["name"], entry["priority"], key, entry.get("max_retries"))
        task.after = after
        self.model.admit(task, entry.get("delay"))

    def claim(self, worker: int, at_most: int) -> None:
        """All lanes and priorities in order."""
        lease = str(uuid4())
        picks = list(product(PRIORITIES, NAMES))
        expected = self.model.picked(NAMES, PRIORITIES, at_most)
        rows = self.ask(
            "claim", worker=worker, lanes=array_literal(self.lanes[name] for _, name in picks),
            priorities=array_literal(priority for priority, _ in picks),
            after=array_literal(0 for _ in picks), shares=array_literal(at_most for _ in picks),
            at_most=at_most, leases=array_literal([lease]), body_bytes=2048,
        )  # fmt: skip
        assert sorted(row[3] for row in rows) == sorted(task.id for task in expected)
        for _, _, priority, id_, name, _, text in rows:
            task = self.model.tasks[id_]
            details = json.loads(text or "{}")
            counters = {key: details.get(key) or 0 for key in COUNTERS}
            assert counters == {key: getattr(task, key) for key in COUNTERS}
            assert (priority, name) == (task.priority, task.name)
            assert (details.get("reason") or "first") == task.why
            assert json.loads(details.get("execution_metadata") or "null") == task.data
            task.place = "running"
            claimed = Claimed(lease, id_, name, "{}", max_retries=task.max_retries, **counters)
            self.runs[id_] = Run(claimed, worker)

    def beat(self, worker: int) -> dict[str, Any]:
        """A beat of one worker: what it heard."""
        mine = [id_ for id_, run in self.runs.items() if run.worker == worker]
        running = [id_ for id_ in mine if self.runs[id_].begun]
        (row,) = self.ask(
            "beat", worker=worker, running=array_literal(running), lease_seconds=1e6,
            held=array_literal({self.runs[id_].claimed.lease for id_ in mine}), problem=None,
            looks_in=None, satisfied=[],
        )  # fmt: skip
        keys = ("alive", "at", "lost", "letters", "dead", "due_in", "unlaned", "mail", "paused")
        heard = dict(zip(keys, row, strict=False))
        for id_ in running:
            self.model.tasks[id_].known = True
        assert (heard["alive"], heard["lost"], heard["dead"]) == (True, [], False)
        letters = heard["letters"] or ()
        told = {letter["task_id"] for letter in letters if letter["kind"] != "follower"}
        assert told == {id_ for id_ in mine if self.model.tasks[id_].stopping}
        timed = [t for t in self.model.at("waiting") if t.due is not None and not t.after]
        assert (heard["due_in"] is None) == (not timed)
        assert heard["unlaned"] == any(t.name == UNKNOWN for t in self.model.at("ready"))
        return heard

    def save(self, task: Task, run: Run, checkpoint: int | None) -> None:
        """The start is written, or a checkpoint saved."""
        saved = None if checkpoint is None else Saved(json.dumps({"x": checkpoint}), 1, None)
        saving = Saving(run.claimed.lease, task.id, run.attempt, 1.0, saved)
        assert self.ask("save", saves=f"[{saving_document(saving)}]") == [(1, True)]
        run.begun = task.known = task.saved = True
        task.attempt = run.attempt
        if checkpoint is not None:
            task.crashes, task.data = 0, {"x": checkpoint}

    def finish_plain(self, run: Run, done: list[int], checkpoint: int | None) -> None:
        """Plain successes of one lease; the first of them may leave a checkpoint."""
        attempts = [self.runs[id_].attempt for id_ in done]
        assert self._finish(run, done, attempts, checkpoint) == len(done)
        for id_, attempt in zip(done, attempts, strict=True):
            del self.runs[id_]
            task = self.model.tasks[id_]
            task.attempt = attempt
            if checkpoint is not None and id_ == done[0]:
                task.crashes, task.data = 0, {"x": checkpoint}
            self.model.finish(task, "completed", None, plain=True)

    def _finish(
        self, run: Run, done: list[int], attempts: list[int], checkpoint: int | None
    ) -> int:
        ones = array_literal(1 for _ in done)
        saved = None if checkpoint is None else Saved(json.dumps({"x": checkpoint}), 1, None)
        ((changed,),) = self.ask(
            "finish_plain", worker=run.worker, leases=array_literal([run.claimed.lease]),
            lease=ones, task=array_literal(done), attempt=array_literal(attempts), started=ones,
            result=json.dumps([{} for _ in done]),
            saved="[]" if saved is None else f"[{saved_document(saved)}]",
        )  # fmt: skip
        return int(changed)

    def settle(self, task: Task, run: Run, outcome: Outcome[Any, Any] | None) -> None:
        """The run ends; what is in the mail is heard first, once."""
        mail: list[Mail] = []
        for heard in (False, True):
            move = run.end(outcome, mail)
            letters = self.model.letters(task, move)
            answer, text = self._settle(task.id, run, move)
            if answer == "settled":
                assert heard or not letters
                break
            assert (answer, heard) == ("mail", False)
            mail = [Mail(**letter) for letter in json.loads(text)]
            assert [m.kind for m in mail] == [letter.kind for letter in letters]
        self.model.settle(task, move, letters if move.obeyed else [])
        del self.runs[task.id]

    def _settle(self, id_: int, run: Run, move: Move) -> tuple[str, str]:
        document = move_document(Settling(run.claimed.lease, id_, 1.0, move))
        ((_, answer, letters),) = self.ask("settle", moves=f"[{document}]", worker=run.worker)
        return answer, letters

    def hand_back(self, back: list[int]) -> None:
        """Tasks that were claimed and not begun."""
        leases = {self.runs[id_].claimed.lease for id_ in back}
        assert self._hand_back(leases, back) == sorted(back)
        for id_ in back:
            del self.runs[id_]
            self.model.put(self.model.tasks[id_], None)

    def _hand_back(self, leases: set[LeaseId], ids: list[int]) -> list[int]:
        ((back,),) = self.ask("hand_back", leases=array_literal(leases), tasks=array_literal(ids))
        return sorted(back)

    def kill(self, worker: int, *, reported_only: bool) -> None:
        """A worker dies and is recovered; another takes its place."""
        held = sorted(id_ for id_, run in self.runs.items() if run.worker == worker)
        tasks = [self.model.tasks[id_] for id_ in held]
        self.ask("report_dead", host="h", pid=worker)
        found = self.ask("recover", reported_only=reported_only)
        assert found == [(worker, "w", len(held), sum(task.known for task in tasks))]
        self.model.recover(tasks)
        self.lost += [(id_, self.runs.pop(id_)) for id_ in held]
        self.alive = [other for other in self.alive if other != worker] + [self.register()]

    def refused(self, id_: int, run: Run) -> None:
        """Nothing that a worker writes under a lease which it has lost has an effect."""
        assert self._settle(id_, run, run.end(Success(1), []))[0] == "lost"
        saving = Saving(run.claimed.lease, id_, run.attempt, 1.0, Saved("{}", 1, None))
        assert self.ask("save", saves=f"[{saving_document(saving)}]") == [(1, False)]
        assert self._hand_back({run.claimed.lease}, [id_]) == []
        assert self._finish(run, [id_], [run.attempt], 7) == 0

    def pass_time(self, seconds: float) -> None:
        """Time moves by moving the times of all rows the other way."""
        self.model.now += seconds
        for table, column in (("waiting", "due_at"), ("mail", "keep_until"),
                              ("leases", "claimed_at"), ("workers", "heartbeat_at")):  # fmt: skip
            self.database.execute(
                f"update perdure.{table} set {column} = {column} - make_interval(secs => %s)",
                [seconds],
            )
        self.database.execute(
            "update perdure.mail set body = jsonb_set(body, '{run_at}',"
            " to_jsonb((body ->> 'run_at')::timestamptz - make_interval(secs => %s)))"
            " where body ? 'run_at'", [seconds],
        )  # fmt: skip
