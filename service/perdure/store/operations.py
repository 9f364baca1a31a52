"""Each public SQL function as a value: its statement, its arguments, how to read the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from perdure.store.database import Params, Row
from perdure.store.views import (
    BulkCancelled,
    ConstraintState,
    HistoryEntry,
    QueueState,
    TaskSummary,
    TaskView,
    WorkerState,
)
from perdure.tasks.places import InputRow

A = TypeVar("A")
Added: TypeAlias = tuple[int, str]
"""A task's id, and what the enqueue did: created, kept, replaced, appended, updated."""
Repeat: TypeAlias = Literal["read", "same", "never"]
NameKind: TypeAlias = Literal["task", "queue", "constraint", "schedule"]
"""What a name may be of."""

DOCUMENT_TASKS_MAX: Final = 10_000
PRUNE_LOOKS: Final = 10_000
"""Ended tasks that one step of `prune` looks at: a fraction of a second, whatever it finds."""
DOCUMENT_BYTES_MAX: Final = 16 * 2**20
"""Where a document of `enqueue_many` is cut, counted in characters of JSON text."""
SLICE_TASKS: Final = 200
"""Entries that are made between two turns of an event loop: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[A]):
    """One call of the database; who executes it, and on which connection, is not its business.

    `repeat` says what may be done when the reply was lost: a `read` changes nothing, doing it
    twice leaves the `same`, or it must `never` be repeated.
    """

    statement: str
    params: Params
    read: Callable[[Sequence[Row]], A]
    repeat: Repeat = "never"


class Entry(NamedTuple):
    """A task that is to be enqueued, as SQL takes it: JSON as text, durations in seconds.

    `request_id`: a uuid, by which an enqueue under a key that comes again is known.
    """

    name: str
    metadata: str = "{}"
    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    run_at: datetime | None = None
    unique_key: str | None = None
    unique_policy: str | None = None
    tags: Sequence[str] | None = None
    requires: Sequence[str] | None = None
    headers: str | None = None
    max_retries: int | None = None
    retry_delays: Sequence[float] | None = None
    execution_metadata: str | None = None
    request_id: str | None = None
    after: str | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    unique_for: float | None = None
    max_delay: float | None = None

    @property
    def is_known_again(self) -> bool:
        """Whether it does no more when it comes again because its answer was lost.

        The row of a key names its latest request. Whoever comes between changes nothing for one
        that leaves a single task in line; one that appends would do so twice.
        """
        return self.unique_key is not None and self.unique_policy != "append"


_PLAIN = Entry("")[2:]
_JSON_MEMBERS = frozenset({"headers", "execution_metadata", "after"})


def enqueue(entry: Entry) -> Operation[Added]:
    """One task; a statement of its own."""
    params = entry._asdict()
    params["unique_policy"] = entry.unique_policy or "keep"
    repeat: Repeat = "same" if entry.is_known_again else "never"
    return Operation("enqueue", params, lambda rows: (rows[0][0], rows[0][1]), repeat)


def enqueue_many(document: str, *, known_again: bool = False) -> Operation[list[Added]]:
    """A JSON array of tasks; answers in its order. `known_again`: each of them is."""
    repeat: Repeat = "same" if known_again else "never"
    return Operation("enqueue_many", {"tasks": document}, _in_order, repeat)


def documents(entries: Iterable[str]) -> Iterator[Operation[list[Added]] | None]:
    """The entries in documents, none larger than its bounds; an entry is never divided.

    None now and then: a moment at which an event loop may give others their turn.
    """
    parts: list[str] = []
    size = 0
    for entry in entries:
        if parts and (len(parts) == DOCUMENT_TASKS_MAX or size + len(entry) > DOCUMENT_BYTES_MAX):
            yield enqueue_many(f"[{','.join(parts)}]")
            parts, size = [], 0
        parts.append(entry)
        size += len(entry)
        if len(parts) % SLICE_TASKS == 0:
            yield None
    if parts:
        yield enqueue_many(f"[{','.join(parts)}]")


def as_json(entry: Entry) -> str:
    """The entry as a member of such a document."""
    head = f'{{"name":{json.dumps(entry.name)},"metadata":{entry.metadata}'
    if entry[2:] == _PLAIN:
        return head + "}"
    members = [head]
    for name, value in zip(entry._fields[2:], entry[2:], strict=True):
        if value is None:
            continue
        if isinstance(value, datetime):
            text = f'"{value.isoformat()}"'
        else:
            text = str(value) if name in _JSON_MEMBERS else json.dumps(value)
        members.append(f'"{name}":{text}')
    return ",".join(members) + "}"


def inputs(id: int) -> Operation[list[InputRow]]:
    """What the tasks that one follows have come to, in the order in which they were said."""
    return Operation("inputs", {"task": id}, lambda rows: [InputRow(*r) for r in rows], "read")


def task(id: int) -> Operation[TaskView | None]:
    """Everything about one task; None for an unknown one."""
    return Operation("task", {"id": id}, lambda rows: TaskView(*rows[0]) if rows else None, "read")


def result(id: int) -> Operation[tuple[str, str | None, str | None] | None]:
    """State, result and error record (JSON texts) of a task; None for an unknown one."""
    return Operation("result", {"id": id}, lambda rows: _three(rows[0]) if rows else None, "read")


def watch(ids: Sequence[int]) -> Operation[list[TaskSummary]]:
    """These tasks without payloads, by id; unknown ones are left out."""
    params = {"ids": list(ids)}
    return Operation("watch", params, lambda rows: [TaskSummary(*r) for r in rows], "read")


def history(id: int) -> Operation[list[HistoryEntry]]:
    """What happened to a task, in order of time; empty for an unknown one."""
    return Operation("history", {"id": id}, lambda rows: [HistoryEntry(*r) for r in rows], "read")


def cancel(id: int) -> Operation[str]:
    """Answers cancelled, requested, ended, not_found."""
    return Operation("cancel", {"id": id}, _text, "same")


def retry(
    id: int,
    patch: str | None = None,
    execution_metadata: str | None = None,
    *,
    with_dependents: bool = False,
) -> Operation[str]:
    """JSON texts. Answers retried, hastened, live, completed, key_taken, not_found."""
    params = {
        "id": id, "patch": patch, "execution_metadata": execution_metadata,
        "with_dependents": with_dependents,
    }  # fmt: skip
    return Operation("retry", params, _text)


class Change(NamedTuple):
    """What is asked anew of a task, as `Entry`; None leaves it. `clear`: to their defaults."""

    metadata: str | None = None
    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    run_at: datetime | None = None
    tags: Sequence[str] | None = None
    requires: Sequence[str] | None = None
    headers: str | None = None
    max_retries: int | None = None
    retry_delays: Sequence[float] | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    clear: Sequence[str] | None = None


def update(id: int, change: Change) -> Operation[str]:
    """Answers applied, applied_next_run, not_applied, not_found."""
    return Operation("update_task", {"id": id, **change._asdict()}, _text, "same")


def run_now(id: int) -> Operation[str]:
    """Answers hastened, not_waiting, not_found."""
    return Operation("run_now", {"id": id}, _text)


def repeat(id: int) -> Operation[int | None]:
    """Answers the id of the copy; None for an unknown task."""
    return Operation("repeat", {"id": id}, _first)


def erase(id: int) -> Operation[str]:
    """Answers erased, live, not_found."""
    return Operation("erase", {"id": id}, _text, "same")


class Signal(NamedTuple):
    """What a proceed brings: merge patch or the whole (JSON texts), a time, a key."""

    patch: str | None = None
    execution_metadata: str | None = None
    run_at: datetime | None = None
    signal_key: str | None = None

    @property
    def repeat(self) -> Repeat:
        """Only a signal with a key is known again."""
        return "never" if self.signal_key is None else "same"


def proceed(id: int, signal: Signal) -> Operation[str]:
    """Answers proceeded, scheduled, kept, repeated, ended, not_found."""
    return Operation("proceed", {"id": id, **signal._asdict()}, _text, signal.repeat)


def proceed_waiting(wait_key: str, signal: Signal, keep_for: float) -> Operation[str]:
    """`keep_for` in seconds. Answers as `proceed`, or ambiguous."""
    params = {"wait_key": wait_key, "keep_for": keep_for, **signal._asdict()}
    return Operation("proceed_waiting", params, _text)


def cancel_where(
    *,
    name: str | None,
    state: str | None,
    tag: str | None,
    unique_key: str | None,
    queue: str | None,
    dry_run: bool,
) -> Operation[BulkCancelled]:
    """Cancels all that match; PD004 without a filter."""
    params: dict[str, object] = {
        "name": name, "state": state, "tag": tag, "unique_key": unique_key, "queue": queue,
        "dry_run": dry_run,
    }  # fmt: skip
    return Operation("cancel_where", params, lambda rows: BulkCancelled(*rows[0]), _counts(dry_run))


def retry_where(
    *,
    name: str | None,
    state: str,
    since: datetime | None,
    error_type: str | None,
    dry_run: bool,
) -> Operation[int]:
    """Runs all that match again; answers how many."""
    params: dict[str, object] = {
        "name": name, "state": state, "since": since, "error_type": error_type, "dry_run": dry_run
    }  # fmt: skip
    return Operation("retry_where", params, _first, _counts(dry_run))


def reschedule_where(
    *,
    name: str | None,
    state: str | None,
    tag: str | None,
    unique_key: str | None,
    queue: str | None,
    delay: float | None,
    run_at: datetime | None,
    dry_run: bool,
) -> Operation[int]:
    """Moves the time of all that match; answers how many."""
    params: dict[str, object] = {
        "name": name, "state": state, "tag": tag, "unique_key": unique_key, "queue": queue,
        "delay": delay, "run_at": run_at, "dry_run": dry_run,
    }  # fmt: skip
    return Operation("reschedule_where", params, _first, _counts(dry_run))


def prune_after(
    older_than: float, states: Sequence[str] | None, *, dry_run: bool, after: int, at_most: int
) -> Operation[tuple[int, int | None]]:
    """A look at ended tasks: how many went, after which id the next begins, None at the end."""
    params: dict[str, object] = {
        "older_than": older_than, "states": None if states is None else list(states),
        "dry_run": dry_run, "after": after, "at_most": at_most,
    }  # fmt: skip
    return Operation("prune_after", params, lambda rows: (rows[0][0], rows[0][1]), "same")


def pause_queue(name: str, *, stop_running: bool) -> Operation[str]:
    """Answers paused or already_paused."""
    return Operation("pause_queue", {"name": name, "stop_running": stop_running}, _text, "same")


def resume_queue(name: str) -> Operation[str]:
    """Answers resumed or not_paused."""
    return Operation("resume_queue", {"name": name}, _text, "same")


AS_IT_IS: Final = -1
"""For `set_queue`: the bound stays."""


def set_queue(name: str, *, max_depth: int | None, concurrency: int | None) -> Operation[str]:
    """Answers set."""
    params: dict[str, object] = {"name": name, "max_depth": max_depth, "concurrency": concurrency}
    return Operation("set_queue", params, _text, "same")


def set_constraint(name: str, satisfied: bool | None) -> Operation[str]:
    """Answers changed or unchanged."""
    return Operation("set_constraint", {"name": name, "satisfied": satisfied}, _text, "same")


def constraint_states() -> Operation[list[ConstraintState]]:
    """Every constraint that somebody requires, declares or satisfies, by name."""
    return Operation(
        "constraint_states", {}, lambda rows: [ConstraintState(*r) for r in rows], "read"
    )


def queue_depth(queue: str) -> Operation[int]:
    """Answers due plus running."""
    return Operation("queue_depth", {"queue": queue}, _first, "read")


def queue_states() -> Operation[list[QueueState]]:
    """Every queue that is used or set, by name."""
    return Operation("queue_states", {}, lambda rows: [QueueState(*r) for r in rows], "read")


def known_names(kind: NameKind) -> Operation[list[str]]:
    """The names of a kind that somebody uses, in their order."""
    return Operation("known_names", {"kind": kind}, lambda rows: [row[0] for row in rows], "read")


def drain_worker(id: int) -> Operation[str]:
    """Answers draining, already_draining or not_found."""
    return Operation("drain_worker", {"id": id}, _text, "same")


def worker_states() -> Operation[list[WorkerState]]:
    """Every worker process, by name."""
    return Operation("worker_states", {}, lambda rows: [WorkerState(*r) for r in rows], "read")


def _counts(dry_run: bool) -> Repeat:
    return "read" if dry_run else "never"


def _first(rows: Sequence[Row]) -> Any:
    return rows[0][0]


def _text(rows: Sequence[Row]) -> str:
    return str(rows[0][0])


def _three(row: Row) -> tuple[str, str | None, str | None]:
    return row[0], row[1], row[2]


def _in_order(rows: Sequence[Row]) -> list[Added]:
    return [(task_id, answer) for _, task_id, answer in sorted(rows)]
