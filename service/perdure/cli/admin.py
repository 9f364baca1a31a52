"""Commands on queues and workers: queues, set-queue, pause, resume, workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import typer

from perdure.cli.given import Given
from perdure.cli.names import Known, known
from perdure.cli.opening import open_client
from perdure.cli.output import Output
from perdure.client.sync import SyncTaskClient
from perdure.errors import PerdureError
from perdure.store.operations import AS_IT_IS
from perdure.store.views import WorkerState

_SAID: Final = {True: "on", False: "off", None: None}


def queues(given: Given, *, as_json: bool) -> int:
    """Every queue that is used or set."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.queues()
    if as_json:
        output.document(states)
        return 0
    output.table(
        ("queue", "ready", "waiting", "running", "oldest ready s", "failed last hour", "max depth",
         "per worker", "state"),
        [
            (q.queue, q.ready, q.waiting, q.running, q.oldest_ready_seconds, q.failed_last_hour,
             q.max_depth, q.concurrency, "paused" if q.paused else "open")
            for q in states
        ],
        empty="no queue has been used yet",
    )  # fmt: skip
    return 0


def set_queue(
    given: Given, queue: str, *, max_depth: str | None, concurrency: str | None, as_json: bool
) -> int:
    """Bound a queue, or take a bound away."""
    depth, slots = _bound("--max-depth", max_depth, 0), _bound("--concurrency", concurrency, 1)
    if depth == slots == AS_IT_IS:
        raise typer.BadParameter("give --max-depth, --concurrency or both; none takes a bound away")
    if queue == "*":
        raise typer.BadParameter("bounds are of one queue, not of *: set them for each")
    with open_client(given) as client:
        found = known(client, "queue", queue)
        answer = client.set_queue(queue, max_depth=depth, concurrency=slots)
    bounds = {"max_depth": depth, "concurrency": slots}
    said = {name: bound for name, bound in bounds.items() if bound != AS_IT_IS}
    words = (
        f"{name.replace('_', ' ')} {'none' if bound is None else bound}"
        for name, bound in said.items()
    )
    return _told(found, answer, f"queue {queue}: {', '.join(words)}", as_json=as_json, **said)


def _bound(option: str, text: str | None, least: int) -> int | None:
    """What an option says of a bound: nothing, `none`, or a whole number."""
    if text is None:
        return AS_IT_IS
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise typer.BadParameter(
            f"{text!r}: write a whole number, {least} or more, or none", param_hint=option
        )
    return int(text)


def pause(given: Given, queue: str, *, stop_running: bool, as_json: bool) -> int:
    """Pause a queue."""
    ask = partial(SyncTaskClient.pause_queue, stop_running=stop_running)
    return _asked(given, queue, ask, as_json=as_json)


def resume(given: Given, queue: str, *, as_json: bool) -> int:
    """Resume a queue."""
    return _asked(given, queue, SyncTaskClient.resume_queue, as_json=as_json)


def _asked(
    given: Given, queue: str, ask: Callable[[SyncTaskClient, str], str], *, as_json: bool
) -> int:
    """Ask something of a queue, and tell the answer."""
    with open_client(given) as client:
        found = known(client, "queue", queue)
        answer = ask(client, queue)
    text = f"queue {queue} {answer.replace('_', ' ')}"
    return _told(found, answer, text, as_json=as_json)


def constraints(given: Given, *, as_json: bool) -> int:
    """Every constraint that somebody requires, declares or satisfies."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.constraints()
    if as_json:
        output.document(states)
        return 0
    output.table(
        ("name", "declared", "since", "workers", "ready"),
        [
            (c.name, _SAID[c.declared], c.changed_at, c.workers, c.ready)
            for c in states
        ],
        empty="nothing is required or satisfied",
    )  # fmt: skip
    return 0


def set_constraint(
    given: Given, name: str, satisfied: Literal["on", "off", "unset"], *, as_json: bool
) -> int:
    """Say for the whole cluster whether a constraint holds."""
    said = {word: value for value, word in _SAID.items()}.get(satisfied)
    with open_client(given) as client:
        found = known(client, "constraint", name)
        answer = client.set_constraint(name, said)
    text = f"constraint {name} {satisfied} ({answer})"
    return _told(found, answer, text, as_json=as_json)


def workers(given: Given, *, as_json: bool) -> int:
    """Every worker process that has a row."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.workers()
    if as_json:
        output.document(states)
        return 0
    output.table(
        ("id", "name", "state", "running", "slots", "queues", "satisfied", "last beat", "problem"),
        [
            (w.id, w.name, _state(w), w.running, w.slots, w.queues or "all", w.satisfied,
             w.heartbeat_at, w.problem)
            for w in states
        ],
        empty="no worker runs",
    )  # fmt: skip
    return 0


def drain(given: Given, id: int) -> int:
    """Let a worker process take no more tasks."""
    with open_client(given) as client:
        answer = client.drain_worker(id)
    if answer == "not_found":
        raise PerdureError(f"there is no worker {id}: `perdure workers` lists them")
    Output().line(f"worker {id} {answer.replace('_', ' ')}")
    return 0


def _told(found: Known, answer: str, text: str, *, as_json: bool, **said: object) -> int:
    """Say what was done, and that nobody uses the name if so: it may be a typo, or come later."""
    output = Output(as_json=as_json)
    if as_json:
        output.document({found.kind: found.name, "answer": answer, **said, **found.document()})
    output.line(text)
    if found.hint:
        output.line(found.hint)
    return 0


def _state(worker: WorkerState) -> str:
    if not worker.alive:
        return "dead"
    if worker.stopping:
        return "stopping"
    return "draining" if worker.draining else "alive"
