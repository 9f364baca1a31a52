"""A small model in memory of where every task is, why, and what has been told to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure.tasks.places import Ended, Move, Ready, State, Waiting, state_of

Signal = dict[str, Any]


@dataclass
class Letter:
    """Mail, numbered as it was posted; `until` is when it is forgotten, if it is for a wait key."""

    kind: str
    signal: Signal = field(default_factory=dict)
    until: float | None = None
    number: int = field(default_factory=itertools.count().__next__)


@dataclass
class Task:
    """One task. `known` says that the database knows of the run under way, `saved` that its start
    was written."""

    id: int
    name: str
    priority: int
    key: str | None = None
    max_retries: int | None = None
    place: str = "ready"
    why: str = "first"
    waits: str | None = None
    due: float | None = None
    wait_key: str | None = None
    after: set[int] = field(default_factory=set)
    end: str | None = None
    kind: str | None = None
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    crashes: int = 0
    data: dict[str, Any] | None = None
    mail: list[Letter] = field(default_factory=list)
    known: bool = False
    saved: bool = False

    @property
    def state(self) -> State:
        """The state that people see."""
        if self.after:
            return "blocked"
        word = self.end if self.place == "ended" else self.waits
        return state_of(self.place, word)  # type: ignore[arg-type]

    @property
    def reason(self) -> str | None:
        """The reason that people see beside it."""
        return {"ended": self.kind, "waiting": self.waits}.get(self.place, self.why)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return any(letter.kind in {"cancel", "replaced"} for letter in self.mail)


class Model:
    """All tasks, the keys, the mail of wait keys, and a clock in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tasks: dict[int, Task] = {}
        self.keys: dict[str, int] = {}
        self.key_mail: dict[str, list[Letter]] = {}

    def at(self, *places: str) -> list[Task]:
        """The tasks in these places, by id."""
        return [self.tasks[i] for i in sorted(self.tasks) if self.tasks[i].place in places]

    def holder(self, key: str) -> Task | None:
        """The live task of the key that was enqueued, or retried, last."""
        named = self.tasks.get(self.keys.get(key, 0))
        live = [task for task in self.at("ready", "waiting", "running") if task.key == key]
        return named if named in live else live[-1] if live else None

    def hold(self, key: str, policy: str) -> tuple[int | None, str, set[int]]:
        """For an enqueue of the key: the holder if it is kept, the answer, what to wait for."""
        holder = self.holder(key)
        if holder is None:
            return None, "created", set()
        if policy == "keep" and not (holder.place == "running" and holder.stopping):
            return holder.id, "kept", set()
        if holder.place != "running":
            after = set(holder.after)
            self.finish(holder, "cancelled", "replaced")
        else:
            after = {holder.id}
            if policy == "keep":
                return None, "created", after
            self.withdraw(holder, "replaced")
        return None, "replaced", after

    def admit(self, task: Task, delay: float | None) -> None:
        """A fresh row of the ledger."""
        self.tasks[task.id] = task
        task.due = None if delay is None else self.now + delay
        for before in task.after:
            self.tasks[before].mail.append(Letter("follower"))
        if task.key is not None:
            self.keys[task.key] = task.id
        if task.after:
            task.place, task.waits = "waiting", "replaces"
        elif task.due is not None and task.due > self.now:
            task.place, task.waits = "waiting", "delay"
        else:
            task.due = None

    def put(
        self, task: Task, why: str | None, due: float | None = None, wait_key: str | None = None
    ) -> None:
        """The door into ready and waiting."""
        task.why = why or task.why
        task.known = task.saved = False
        task.place, task.waits, task.due, task.wait_key = "ready", None, None, None
        if (
            task.after
            or (due is not None and due > self.now)
            or (why == "suspended" and due is None)
        ):
            task.place, task.waits, task.due, task.wait_key = (
                "waiting",
                why or "delay",
                due,
                wait_key,
            )

    def finish(self, task: Task, end: str, kind: str | None, *, plain: bool = False) -> None:
        """The task has ended; a plain success leaves mail and followers to promotion."""
        task.place, task.end, task.kind = "ended", end, kind
        task.waits = task.due = task.wait_key = None
        if plain:
            return
        task.after = set()
        self.forget(task)

    def forget(self, task: Task) -> None:
        """Remove the mail of an ended task and release its followers."""
        task.mail = []
        for follower in [t for t in self.tasks.values() if task.id in t.after]:
            follower.after.remove(task.id)
            if not follower.after:
                follower.waits = "delay"
                if follower.due is None or follower.due <= self.now:
                    self.put(follower, None)

    def withdraw(self, task: Task, why: str = "requested") -> str:
        """Cancel."""
        if task.place == "running":
            if not task.stopping:
                task.mail.append(Letter("replaced" if why == "replaced" else "cancel"))
            return "requested"
        if task.place == "ended":
            return "ended"
        self.finish(task, "cancelled", why)
        return "cancelled"

    def retry(self, task: Task) -> str:
        """Run again what has failed or was cancelled."""
        if task.waits == "retry":
            self.put(task, "retry")
            return "hastened"
        if task.place != "ended":
            return "live"
        if task.end == "completed":
            return "completed"
        if task.key is not None:
            if self.holder(task.key) is not None:
                return "key_taken"
            self.keys[task.key] = task.id
        task.failures = task.crashes = 0
        task.end = task.kind = None
        task.mail = []
        self.put(task, "requeued")
        return "retried"

    def proceed(self, task: Task, signal: Signal) -> str:
        """A signal for one task."""
        if task.place == "ended":
            return "ended"
        rests = task.waits in {"suspended", "proceeded"}
        if not (rests or (task.place == "ready" and task.why == "proceeded")):
            task.mail.append(Letter("proceed", signal))
            return "kept"
        self.apply(task, signal)
        due = None if "in" not in signal else signal["at"]
        self.put(task, "proceeded", due)
        return "scheduled" if task.place == "waiting" else "proceeded"

    def proceed_waiting(self, key: str, signal: Signal, keep_for: float) -> str:
        """A signal for whoever waits with the key."""
        waiting = self.suspended_with(key)
        if len(waiting) > 1:
            return "ambiguous"
        if waiting:
            return self.proceed(waiting[0], signal)
        if not keep_for:
            return "not_found"
        letter = Letter("proceed", signal, self.now + keep_for)
        self.key_mail.setdefault(key, []).append(letter)
        return "kept"

    def suspended_with(self, key: str) -> list[Task]:
        """Those that are suspended with the wait key."""
        return [t for t in self.at("waiting") if t.wait_key == key and t.waits == "suspended"]

    @staticmethod
    def apply(task: Task, signal: Signal) -> None:
        """The patch of a signal."""
        if "patch" in signal:
            task.data = {**(task.data or {}), **signal["patch"]}

    def letters(self, task: Task, move: Move) -> list[Letter]:
        """What settle has to find in the mail for this move, in the order of posting."""
        if isinstance(move.to, Ended) and move.to.state == "completed":
            return []
        rests = bool(move.obeyed) or (
            isinstance(move.to, Waiting) and move.to.reason == "suspended"
        )
        own = [
            m
            for m in task.mail
            if m.kind in {"cancel", "replaced"} or (rests and m.kind == "proceed")
        ]
        kept = self.key_mail.get(move.wait_key or "", []) if rests else []
        heard = own + [m for m in kept if (m.until or 0) > self.now]
        return sorted(heard, key=lambda letter: letter.number)

    def settle(self, task: Task, move: Move, obeyed: list[Letter]) -> None:
        """Carry out a move."""
        task.attempt = max(task.attempt, move.attempt or 0)
        task.failures += move.failures
        task.interruptions += move.interruptions
        for letter in obeyed:
            self.apply(task, letter.signal)
            task.mail = [m for m in task.mail if m is not letter]
            for key, kept in self.key_mail.items():
                self.key_mail[key] = [m for m in kept if m is not letter]
        match move.to:
            case Ended(state=state, kind=kind):
                self.finish(task, state, kind)
            case Ready(reason=reason):
                self.put(task, reason)
            case Waiting(reason="proceeded"):
                self.put(task, "proceeded", obeyed[-1].signal["at"])
            case Waiting(reason=why, delay=delay, until=until, wait_key=wait_key):
                due = self.now + 60 if until else None if delay is None else self.now + delay
                self.put(task, why, due, wait_key)

    def promote(self) -> int:
        """Move what is due; how many."""
        due = [
            t for t in self.at("waiting") if t.due is not None and t.due <= self.now and not t.after
        ]
        for task in due:
            why = {"suspended": "until", "delay": None, "newer_checkpoint": None}
            self.put(task, why.get(task.waits or "", task.waits))
        return len(due)

    def obey(self) -> None:
        """Obey the mail of tasks in no lease, and of wait keys."""
        for key, kept in self.key_mail.items():
            self.key_mail[key] = [m for m in kept if (m.until or 0) >= self.now]
        for task in self.at("ended"):
            if task.mail:
                self.forget(task)
        for task in self.at("ready", "waiting"):
            if task.stopping:
                first = next(m.kind for m in task.mail if m.kind in {"cancel", "replaced"})
                self.finish(task, "cancelled", "requested" if first == "cancel" else "replaced")
            elif task.waits == "suspended":
                signals = [m for m in task.mail if m.kind == "proceed"]
                task.mail = [m for m in task.mail if m.kind != "proceed"]
                for letter in signals:
                    self.proceed(task, letter.signal)
        for key, kept in self.key_mail.items():
            pairs = list(zip(self.suspended_with(key), kept, strict=False))
            for task, letter in pairs:
                self.proceed(task, letter.signal)
            self.key_mail[key] = kept[len(pairs) :]

    def recover(self, held: list[Task]) -> None:
        """The worker that held these has died."""
        for task in held:
            if not task.known:
                self.put(task, None)
                continue
            task.attempt += 0 if task.saved else 1
            task.crashes += 1
            self.put(task, "crash")

    def picked(self, names: Sequence[str], priorities: Sequence[int], at_most: int) -> list[Task]:
        """What a claim takes that picks lane by lane within each priority."""
        ready = self.at("ready")
        picks = itertools.product(priorities, names)
        found = [t for p, n in picks for t in ready if (t.priority, t.name) == (p, n)]
        return found[:at_most]
