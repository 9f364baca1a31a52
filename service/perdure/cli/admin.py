"""Commands on queues and workers: queues, pause, resume, workers."""

from __future__ import annotations

from perdure.cli.given import Given
from perdure.cli.opening import open_client
from perdure.cli.output import Output
from perdure.store.views import WorkerState


def queues(given: Given, *, as_json: bool) -> int:
    """Every queue that is used or set."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.queues()
    if as_json:
        output.document(states)
        return 0
    output.table(
        ("queue", "ready", "waiting", "running", "oldest ready s", "failed last hour", "state"),
        [
            (q.queue, q.ready, q.waiting, q.running, q.oldest_ready_seconds, q.failed_last_hour,
             "paused" if q.paused else "open")
            for q in states
        ],
        empty="no queue has been used yet",
    )  # fmt: skip
    return 0


def pause(given: Given, queue: str, *, stop_running: bool) -> int:
    """Pause a queue."""
    with open_client(given) as client:
        answer = client.pause_queue(queue, stop_running=stop_running)
    Output().line(f"queue {queue} {answer.replace('_', ' ')}")
    return 0


def resume(given: Given, queue: str) -> int:
    """Resume a queue."""
    with open_client(given) as client:
        answer = client.resume_queue(queue)
    Output().line(f"queue {queue} {answer.replace('_', ' ')}")
    return 0


def workers(given: Given, *, as_json: bool) -> int:
    """Every worker process that has a row."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.workers()
    if as_json:
        output.document(states)
        return 0
    output.table(
        ("id", "name", "state", "running", "slots", "queues", "last beat", "problem"),
        [
            (w.id, w.name, _state(w), w.running, w.slots, w.queues or "all", w.heartbeat_at,
             w.problem)
            for w in states
        ],
        empty="no worker runs",
    )  # fmt: skip
    return 0


def _state(worker: WorkerState) -> str:
    if not worker.alive:
        return "dead"
    return "stopping" if worker.stopping else "alive"
