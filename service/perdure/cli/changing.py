"""Bodies of the commands that change tasks: one by one, or all that match, counted first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import NamedTuple

import typer

from perdure.cli import tasks
from perdure.cli.change_options import CLEARABLE
from perdure.cli.given import Given
from perdure.cli.opening import open_client
from perdure.cli.output import Output
from perdure.cli.times import in_words, local, now
from perdure.cli.values import duration, durations, json_object, moment
from perdure.client.requests import UpdateOptions
from perdure.client.sync import SyncTaskClient


class Matching(NamedTuple):
    """Which tasks are meant, where no ids are given; `yes`: they are not only counted."""

    name: str | None = None
    state: str | None = None
    tag: str | None = None
    unique_key: str | None = None
    queue: str | None = None
    yes: bool = False

    @property
    def is_said(self) -> bool:
        """Whether anything says which."""
        return any(value is not None for value in self[:-1])


class Ended(NamedTuple):
    """The same for tasks that are to run again."""

    name: str | None = None
    state: str | None = None
    since: str | None = None
    error_type: str | None = None
    yes: bool = False

    @property
    def is_said(self) -> bool:
        """As `Matching.is_said`."""
        return any(value is not None for value in self[:-1])


class Mended(NamedTuple):
    """What a task is to run again with, and whether those that ended for it do, too."""

    patch: str | None = None
    execution_metadata: str | None = None
    with_dependents: bool = False


class Asked(NamedTuple):
    """What is asked anew, as text where it has to be read."""

    metadata: str | None = None
    queue: str | None = None
    priority: int | None = None
    delay: str | None = None
    run_at: str | None = None
    tags: list[str] | None = None
    requires: list[str] | None = None
    headers: str | None = None
    max_retries: int | None = None
    retry_delays: list[str] | None = None
    expires_at: str | None = None
    deadline_at: str | None = None
    clear: list[str] | None = None


def cancel(given: Given, ids: Sequence[int], which: Matching, *, as_json: bool) -> int:
    """Cancel these, or all that match."""
    if _by_ids(ids, which):
        return tasks.cancel(given, ids, as_json=as_json)
    with open_client(given) as client:
        done = client.cancel_where(
            name=which.name, state=which.state, tag=which.tag, unique_key=which.unique_key,
            queue=which.queue, dry_run=not which.yes,
        )  # fmt: skip
    counted = f"{done.cancelled} cancelled, {done.requested} asked to stop"
    return _told(asdict(done), counted, done=which.yes, as_json=as_json)


def retry(
    given: Given,
    ids: Sequence[int],
    which: Ended,
    brought: Mended,
    *,
    as_json: bool,
) -> int:
    """Run these again, or all failed (or cancelled) ones that match."""
    if _by_ids(ids, which):
        return tasks.retry(
            given, ids, brought.patch, brought.execution_metadata,
            with_dependents=brought.with_dependents, as_json=as_json,
        )  # fmt: skip
    if brought != Mended():
        raise typer.BadParameter("this can be said of tasks that are given by their ids alone")
    since = moment("--since", which.since)
    with open_client(given) as client:
        count = client.retry_where(
            name=which.name, state=which.state or "failed", since=since,
            error_type=which.error_type, dry_run=not which.yes,
        )  # fmt: skip
    return _told({"retried": count}, f"{count} retried", done=which.yes, as_json=as_json)


def reschedule(
    given: Given,
    ids: Sequence[int],
    which: Matching,
    delay: str | None,
    run_at: str | None,
    *,
    as_json: bool,
) -> int:
    """Move the time of these, or of all that match."""
    seconds = None if delay is None else duration("--delay", delay)
    at = moment("--run-at", run_at)
    if (seconds is None) == (at is None):
        raise typer.BadParameter("give --delay or --run-at, and not both")
    if _by_ids(ids, which):
        return _update(given, ids, {"delay": seconds, "run_at": at}, as_json=as_json)
    with open_client(given) as client:
        count = client.reschedule_where(
            name=which.name, state=which.state, tag=which.tag, unique_key=which.unique_key,
            queue=which.queue, delay=seconds, run_at=at, dry_run=not which.yes,
        )  # fmt: skip
    told = {"rescheduled": count}
    return _told(told, f"{count} rescheduled", done=which.yes, as_json=as_json)


def update(given: Given, id: int, asked: Asked, *, as_json: bool) -> int:
    """Change what was asked of a task."""
    changes: UpdateOptions = {
        "metadata": json_object("--metadata", asked.metadata),
        "queue": asked.queue,
        "priority": asked.priority,
        "delay": None if asked.delay is None else duration("--delay", asked.delay),
        "run_at": moment("--run-at", asked.run_at),
        "tags": asked.tags,
        "requires": asked.requires,
        "headers": json_object("--headers", asked.headers),
        "max_retries": asked.max_retries,
        "retry_delays": durations("--retry-delay", asked.retry_delays),
        "expires_at": moment("--expires-at", asked.expires_at),
        "deadline_at": moment("--deadline-at", asked.deadline_at),
    }
    changes["clear"] = asked.clear and [_cleared(option, changes) for option in asked.clear]
    if not any(value is not None for value in changes.values()):
        raise typer.BadParameter("say what to change: --metadata, --queue, --delay or another")
    return _update(given, [id], changes, as_json=as_json)


def run_now(given: Given, ids: Sequence[int], *, as_json: bool) -> int:
    """Let these run at once; one that is pending or runs does so already."""
    failures = {"not_found": (), "not_waiting": ("pending", "running")}
    return tasks.each(given, ids, SyncTaskClient.run_now, failures=failures, as_json=as_json)


def prune(
    given: Given, older_than: str, states: list[str] | None, *, yes: bool, as_json: bool
) -> int:
    """Remove what ended longer ago than that, or count it."""
    seconds = duration("--older-than", older_than)
    at = now()
    with open_client(given) as client:
        total = client.prune(seconds, states=states, dry_run=True)
        if yes:
            counted = total
            with Output(as_json=as_json).following("prune") as show:
                total = client.prune(
                    seconds,
                    states=states,
                    told=lambda done: show({"done": done, "total": counted}),
                )
    before = at - timedelta(seconds=seconds)
    text = f"{total} removed that ended before {local(before)} ({in_words(before, at)})"
    told = {"pruned": total, "ended_before": before}
    return _told(told, text, done=yes, as_json=as_json)


def _update(given: Given, ids: Sequence[int], changes: UpdateOptions, *, as_json: bool) -> int:
    def change(client: SyncTaskClient, id: int) -> str:
        return client.update(id, **changes)

    failures: tasks.Failures = {"not_found": (), "not_applied": ()}
    return tasks.each(given, ids, change, failures=failures, as_json=as_json)


def _cleared(said: str, changes: UpdateOptions) -> str:
    """What an option changes, however it was spelled: `tag`, `--tag`, `tags`."""
    word = said.removeprefix("--").replace("_", "-")
    word = word if word in CLEARABLE else word.removesuffix("s")
    if word not in CLEARABLE:
        raise typer.BadParameter(f"{said!r}: write {', '.join(CLEARABLE)}", param_hint="--clear")
    name = CLEARABLE[word]
    if changes.get(name) is not None:
        raise typer.BadParameter(f"--{word} is given, too: leave one out", param_hint="--clear")
    return name


def _by_ids(ids: Sequence[int], which: Matching | Ended) -> bool:
    if bool(ids) == which.is_said:
        raise typer.BadParameter("give the IDs of tasks, or options that say which, and not both")
    return bool(ids)


def _told(counts: Mapping[str, object], text: str, *, done: bool, as_json: bool) -> int:
    output = Output(as_json=as_json)
    if as_json:
        output.document({**counts, "done": done})
    output.line(text if done else f"it would be: {text}; --yes does it")
    return 0
