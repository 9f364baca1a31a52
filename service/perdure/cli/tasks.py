"""Commands on tasks: enqueue, wait, list, show, cancel, retry, proceed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, TypeAlias

import typer

from perdure.cli.given import Given
from perdure.cli.names import known
from perdure.cli.opening import open_client
from perdure.cli.output import Output, cell
from perdure.cli.values import duration, durations, edge, json_object, moment
from perdure.client.requests import SignalOptions
from perdure.client.results import Patience
from perdure.client.sync import SyncTaskClient
from perdure.errors import PerdureError, TaskCancelled, TaskFailed, TaskNotFound
from perdure.settings import redact
from perdure.store.views import ENDED, TaskView
from perdure.tasks.checkpoints import STATES_PASSED
from perdure.tasks.codec import encode_json
from perdure.tasks.policies import UniquePolicy

Failures: TypeAlias = Mapping[str, tuple[str, ...]]
"""Answers that nothing was done, each with the states in which a task is as was asked anyway."""
_PAYLOADS: Final = ("metadata", "execution_metadata", "steps", "result", "error", "headers")


class Wanted(NamedTuple):
    """What `enqueue` was told, as text where it has to be read."""

    name: str
    metadata: str = "{}"
    delay: str | None = None
    run_at: str | None = None
    unique_key: str | None = None
    unique_policy: UniquePolicy | None = None
    queue: str | None = None
    priority: int | None = None
    tags: list[str] | None = None
    headers: str | None = None
    max_retries: int | None = None
    after: list[str] | None = None
    requires: list[str] | None = None
    expires_at: str | None = None
    deadline_at: str | None = None
    unique_for: str | None = None
    max_delay: str | None = None
    retry_delays: list[str] | None = None


class Sought(NamedTuple):
    """The filters of `list`."""

    state: list[str] | None = None
    name: list[str] | None = None
    queue: list[str] | None = None
    tag: list[str] | None = None
    unique_key: list[str] | None = None


class Brought(NamedTuple):
    """What `proceed` brings, as text where it has to be read."""

    patch: str | None = None
    execution_metadata: str | None = None
    run_at: str | None = None
    signal_key: str | None = None


def enqueue(given: Given, wanted: Wanted, *, as_json: bool) -> int:
    """Enqueue a task; says its id and what the enqueue did."""
    metadata = json_object("--metadata", wanted.metadata)
    headers = json_object("--headers", wanted.headers)
    delay, held, bound = (
        None if text is None else duration(option, text)
        for option, text in (
            ("--delay", wanted.delay), ("--unique-for", wanted.unique_for),
            ("--max-delay", wanted.max_delay),
        )
    )  # fmt: skip
    run_at = moment("--run-at", wanted.run_at)
    after = None if wanted.after is None else [edge("--after", text) for text in wanted.after]
    with open_client(given) as client:
        found = known(client, "task", wanted.name)
        handle = client.enqueue(
            wanted.name, metadata, delay=delay, run_at=run_at, unique_key=wanted.unique_key,
            unique_policy=wanted.unique_policy, queue=wanted.queue, priority=wanted.priority,
            tags=wanted.tags, headers=headers, max_retries=wanted.max_retries, after=after,
            requires=wanted.requires, expires_at=moment("--expires-at", wanted.expires_at),
            deadline_at=moment("--deadline-at", wanted.deadline_at),
            unique_for=held, max_delay=bound,
            retry_delays=durations("--retry-delay", wanted.retry_delays),
        )  # fmt: skip
    output = Output(as_json=as_json)
    if as_json:
        output.document({"id": handle.id, "answer": handle.answer, **found.document()})
    output.line(f"task {handle.id} {handle.answer}")
    if found.typo:
        output.line(found.typo)
    return 0


def wait(given: Given, id: int, timeout: str | None, *, as_json: bool) -> int:
    """Wait for the end of a task and print its result, or all of its end as JSON.

    Raises:
        TaskFailed, TaskCancelled, TaskNotFound, TimeoutError: there is no result.
    """
    output = Output(as_json=as_json)
    seconds = None if timeout is None else duration("--timeout", timeout)
    with open_client(given) as client:
        patience = Patience(seconds)
        with output.following(f"task {id}") as show:
            while (task := _found(client, id)).state not in ENDED:
                show(task.progress)
                patience.wait_sync(f"task {id} has not ended")
    if as_json:
        keys = ("id", "name", "state", "result", "error")
        output.document({key: getattr(task, key) for key in keys})
    if task.state == "failed":
        raise TaskFailed(id, task.error, None)
    if task.state == "cancelled":
        raise TaskCancelled(id, task.error)
    if not as_json:
        output.document(task.result)
    return 0


def list_(given: Given, sought: Sought, *, limit: int, after: int | None, as_json: bool) -> int:
    """One page of the tasks that match, newest first."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        page = client.search(
            state=sought.state, name=sought.name, queue=sought.queue, tag=sought.tag,
            unique_key=sought.unique_key,
        ).page(after=after, limit=limit)  # fmt: skip
    if as_json:
        output.document(page.tasks)
        return 0
    output.table(
        ("id", "name", "state", "queue", "attempt", "created", "waits for"),
        [
            (t.id, t.name, t.state, t.queue, t.attempt, t.created_at, t.waiting_for)
            for t in page.tasks
        ],
        empty="no task matches",
    )
    if page.after is not None:
        output.line(f"there are more: --after {page.after}")
    return 0


def show(given: Given, id: int, *, reveal: bool, as_json: bool) -> int:
    """A task with its history; values of keys that look secret are masked unless `reveal`."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        task = _found(client, id)
        history = client.history(id)
    values = asdict(task)
    if not reveal:
        values |= {key: redact(values[key]) for key in _PAYLOADS}
    events = [asdict(entry) for entry in history]
    if not reveal:
        events = [event | {"details": redact(event["details"])} for event in events]
    if as_json:
        output.document(values | {"history": events})
        return 0
    said = values["error"] or next(filter(None, map(_error_of, reversed(events))), None)
    label = "error" if values["error"] else "last error"
    trace = (said or {}).get("traceback") or ""
    about = {} if said is None else {label: _reason(said), "traceback": trace.rstrip() or None}
    about |= {"steps": _steps(task), "states": _states(task)}
    output.record(f"task {task.id}", {**values, "id": None, "error": None, **about})
    output.line("")
    output.table(
        ("at", "event", "attempt", "by", "details"),
        [
            (e["at"], e["event"], e["attempt"], e["actor"] or _worker(e["worker_id"]), _details(e))
            for e in events
        ],
        empty="nothing has happened to it",
    )
    return 0


def _steps(task: TaskView) -> str | None:
    """The steps that are done, a line each, with the size of what they brought."""
    sizes = {
        name: len(encode_json(value).encode())
        for name, value in (task.steps or {}).items()
        if name != STATES_PASSED
    }
    return "\n".join(f"{cell(name)}: done, {size} bytes" for name, size in sizes.items()) or None


def _states(task: TaskView) -> str | None:
    """The states that a state machine's task has come to last, each run on a line."""
    runs: dict[int, list[str]] = {}
    for attempt, state in (task.steps or {}).get(STATES_PASSED, []):
        runs.setdefault(attempt, []).append(cell(state))
    return "\n".join(f"run {run}: {', '.join(said)}" for run, said in runs.items()) or None


def _error_of(event: dict[str, Any]) -> dict[str, Any] | None:
    """The stored error of a run that failed, from its event of the history."""
    error = (event["details"] or {}).get("error")
    return error if isinstance(error, dict) else None


def _reason(error: dict[str, Any]) -> str:
    """A stored error without its traceback: `ValueError: no such page`, or the typed error."""
    texts = [error.get("type"), error.get("message")]
    typed = error.get("error")
    texts.append(None if typed is None else json.dumps(typed))
    return ": ".join(filter(None, texts)) or str(error.get("kind") or "unknown")


def _details(event: dict[str, Any]) -> str | None:
    """What else is known of an event, on one line, the reason of a failure first."""
    error = _error_of(event)
    known = {key: value for key, value in (event["details"] or {}).items() if key != "error"}
    told = [] if error is None else [_reason(error)]
    return ", ".join([*told, *(f"{key} {cell(value)}" for key, value in known.items())]) or None


def cancel(given: Given, ids: Sequence[int], *, as_json: bool) -> int:
    """Cancel; one that was cancelled before is not a failure."""
    failures = {"not_found": (), "ended": ("cancelled",)}
    return each(given, ids, SyncTaskClient.cancel, failures=failures, as_json=as_json)


def retry(
    given: Given,
    ids: Sequence[int],
    patch: str | None,
    whole: str | None,
    *,
    with_dependents: bool,
    as_json: bool,
) -> int:
    """Run again, from a mended checkpoint if one is brought; else a live one is not a failure."""
    change, checkpoint = json_object("--patch", patch), json_object("--execution-metadata", whole)

    def again(client: SyncTaskClient, id: int) -> str:
        return client.retry(
            id, patch=change, execution_metadata=checkpoint, with_dependents=with_dependents
        )

    failures: Failures = {"not_found": (), "completed": (), "key_taken": ()}
    if not change is checkpoint is None:
        failures = {**failures, "live": ()}
    return each(given, ids, again, failures=failures, as_json=as_json)


def proceed(
    given: Given, id: int | None, wait_key: str | None, brought: Brought, *, as_json: bool
) -> int:
    """Let the task with this id, or the one that waits for the key, go on."""
    if (id is None) == (wait_key is None):
        raise typer.BadParameter("give the ID of a task, or --wait-key, and not both")
    signal: SignalOptions = {
        "patch": json_object("--patch", brought.patch),
        "execution_metadata": json_object("--execution-metadata", brought.execution_metadata),
        "run_at": moment("--run-at", brought.run_at),
        "signal_key": brought.signal_key,
    }

    def send(client: SyncTaskClient, _one: int) -> str:
        if wait_key is not None:
            return client.proceed_waiting(wait_key, **signal)
        return client.proceed(_one, **signal)

    failures: Failures = {"not_found": (), "ended": (), "ambiguous": ()}
    return each(given, [id or 0], send, failures=failures, as_json=as_json, key=wait_key)


def each(
    given: Given,
    ids: Sequence[int],
    act: Callable[[SyncTaskClient, int], str],
    *,
    failures: Failures,
    as_json: bool,
    key: str | None = None,
) -> int:
    """Do it to each task and print what each answered; PerdureError if one is not as asked."""
    output = Output(as_json=as_json)
    documents: list[dict[str, object]] = []
    refused: list[str] = []
    name = "id" if key is None else "wait_key"
    with open_client(given) as client:
        for one in ids:
            what = f"task {one}" if key is None else f"wait key {key}"
            answer = act(client, one)
            documents.append({name: one if key is None else key, "answer": answer})
            text, state = answer, None
            if failures.get(answer):
                state = _found(client, one).state
                documents[-1]["state"] = state
                text = f"{answer} ({state})"
            output.line(f"{what} {text}")
            if answer in failures and state not in failures[answer]:
                refused.append(f"{what}: {text}")
    if as_json:
        output.document(documents)
    if refused:
        raise PerdureError(f"nothing was done to {', '.join(refused)}")
    return 0


def _found(client: SyncTaskClient, id: int) -> TaskView:
    task = client.get(id)
    if task is None:
        raise TaskNotFound(
            f"there is no task {id}: removed by retention, never there, or not yours to see"
        )
    return task


def _worker(worker_id: int | None) -> str | None:
    return None if worker_id is None else f"worker {worker_id}"
