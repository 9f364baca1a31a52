"""`perdure schedules put`: from options to a schedule, and what a dry run would change."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Any, Final, NamedTuple

import typer

from perdure.cli import values
from perdure.cli.given import Given
from perdure.cli.names import known
from perdure.cli.opening import open_client, rolled_back
from perdure.cli.output import Output, cell
from perdure.cli.times import local
from perdure.declare.new_schedule import NewSchedule, PutPolicy, ScheduleOptions
from perdure.errors import InvalidArgument
from perdure.settings import show_duration
from perdure.store.schedule_views import ScheduleView
from perdure.tasks.schedules import CatchUp, Overlap, Timing
from perdure.tasks.triggers import Cron, Every, Once, Trigger

_SPANS: Final = ("jitter", "flex", "misfire_grace", "expires_after")
_RULES: Final = ("catch_up", "max_catch_up", "overlap")
_OF_TASKS: Final = ("queue", "priority", "tags", "requires", "headers", "max_retries")


class When(NamedTuple):
    """A trigger as it was said."""

    every: str | None = None
    cron: str | None = None
    once: str | None = None
    timezone: str | None = None
    start: str | None = None
    end: str | None = None

    def trigger(self) -> Trigger:
        """What was said.

        Raises:
            typer.BadParameter: not exactly one of the three, or what it does not take.
            InvalidArgument: what it cannot be.
        """
        if [self.every, self.cron, self.once].count(None) != 2:  # noqa: PLR2004
            raise typer.BadParameter("give exactly one of --every, --cron and --once")
        if self.timezone is not None and self.cron is None:
            raise typer.BadParameter("--timezone belongs to --cron: others say a zone themselves")
        if self.once is not None and (self.start or self.end):
            raise typer.BadParameter("--once takes neither --start nor --end")
        start = values.moment("--start", self.start)
        end = values.moment("--end", self.end)
        trigger: Trigger
        if self.every is not None:
            trigger = Every(values.duration("--every", self.every), start, end)
        elif self.cron is not None:
            trigger = Cron(self.cron, self.timezone or "UTC", start, end)
        else:
            trigger = Once(values.moment("--once", self.once or ""))
        for problem in trigger.problems():
            raise InvalidArgument(problem)
        return trigger


class Wanted(NamedTuple):
    """What `put` was told, as text where it has to be read."""

    key: str
    name: str
    metadata: str
    when: When
    jitter: str | None
    flex: str | None
    misfire_grace: str | None
    expires_after: str | None
    catch_up: CatchUp
    max_catch_up: int
    overlap: Overlap
    queue: str | None
    priority: int | None
    tags: list[str] | None
    requires: list[str] | None
    headers: str | None
    max_retries: int | None
    policy: PutPolicy
    reset_phase: bool

    def schedule(self) -> NewSchedule:
        """The schedule that was meant; errors as `When.trigger`."""
        options: ScheduleOptions = {
            "jitter": _span("--jitter", self.jitter) or 0,
            "flex": _span("--flex", self.flex) or 0,
            "misfire_grace": _span("--misfire-grace", self.misfire_grace),
            "expires_after": _span("--expires-after", self.expires_after),
            "catch_up": self.catch_up,
            "max_catch_up": self.max_catch_up,
            "overlap": self.overlap,
            "queue": self.queue,
            "priority": self.priority,
            "tags": self.tags,
            "requires": self.requires,
            "headers": values.json_object("--headers", self.headers),
            "max_retries": self.max_retries,
        }
        metadata = values.json_object("--metadata", self.metadata)
        return NewSchedule(self.key, self.name, self.when.trigger(), metadata, options)


def put(given: Given, wanted: Wanted, *, dry_run: bool, as_json: bool) -> int:
    """Put a schedule and say what that did; or put it, undo that, and say what it would change.

    Raises:
        KeyTaken: it is there, and the policy is reject.
    """
    output = Output(as_json=as_json)
    new = wanted.schedule()
    with open_client(given) as client:
        found = known(client, "task", new.name)
        had = client.get_schedule(new.key) if dry_run else None
        with rolled_back(given) if dry_run else nullcontext() as on:
            answer = client.put_schedule(
                new.key, new.name, new.trigger, new.metadata, policy=wanted.policy,
                keep_phase=not wanted.reset_phase, on=on, **new.options,
            )  # fmt: skip
    changes = _changes(had, new) if dry_run else {}
    if as_json:
        told = {"changes": changes} if dry_run else {}
        output.document({"key": new.key, "answer": answer, **told, **found.document()})
    output.line(f"schedule {new.key} {'would be ' if dry_run else ''}{answer}")
    for field, (before, after) in ({} if answer == "kept" else changes).items():
        output.line(f"  {field}: {cell(before)} -> {cell(after)}")
    if found.typo:
        output.line(found.typo)
    return 0


def said(trigger: Trigger | dict[str, Any]) -> str:
    """A trigger as one reads it: `every 90s`, `0 3 * * * Europe/Berlin`, `once 2030-...`."""
    match trigger:
        case Every():
            text = f"every {show_duration(timedelta(seconds=trigger.seconds))}"
        case Cron():
            text = f"{trigger.expression} {trigger.timezone}"
        case Once():
            return f"once {local(trigger.at)}"
        case _:
            return cell(trigger)
    for name, moment in (("from", trigger.start), ("to", trigger.end)):
        if moment is not None:
            text += f" {name} {local(moment)}"
    return text


def _changes(had: ScheduleView | None, new: NewSchedule) -> dict[str, tuple[object, object]]:
    """Field -> what it is and what it would be; all that is said where nothing is there."""
    before = {} if had is None else _of_view(had)
    after = _of_new(new)
    return {
        field: (before.get(field), value)
        for field, value in after.items()
        if before.get(field) != value
    }


def _of_view(view: ScheduleView) -> dict[str, object]:
    task = {name: getattr(view, name) for name in _OF_TASKS}
    task |= {"name": view.name, "metadata": view.metadata, "declared": view.declared}
    return _shown(view.trigger, view, task)


def _of_new(new: NewSchedule) -> dict[str, object]:
    options: dict[str, object] = {**new.options}
    task = {name: options.get(name) for name in _OF_TASKS}
    task |= {"name": new.name, "metadata": new.metadata, "declared": False}
    return _shown(new.trigger, new.timing(), task)


def _shown(
    trigger: Trigger | dict[str, Any], timing: Timing | ScheduleView, task: dict[str, object]
) -> dict[str, object]:
    spans = {name: getattr(timing, name) for name in _SPANS}
    return {
        "when": said(trigger),
        **{name: span if span is None else show_duration(span) for name, span in spans.items()},
        **{name: getattr(timing, name) for name in _RULES},
        **task,
    }


def _span(option: str, text: str | None) -> float | None:
    return None if text is None else values.duration(option, text)
