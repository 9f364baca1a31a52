"""Commands on schedules that are there: all of `perdure schedules` but put."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import typer

from perdure.cli.given import Given
from perdure.cli.opening import open_client
from perdure.cli.output import Output
from perdure.cli.putting import When, said
from perdure.cli.times import in_words, local, now
from perdure.cli.values import moment
from perdure.errors import PerdureError, ScheduleNotFound
from perdure.settings import redact, show_duration
from perdure.store.schedule_views import ScheduleState
from perdure.tasks.preview import preview_of
from perdure.tasks.triggers import Cron, Trigger
from perdure.tasks.triggers import as_json as trigger_json

FIRES_SHOWN: Final = 10
_OVER: Final = ("finished", "broken")


def list_(given: Given, *, as_json: bool) -> int:
    """Every schedule, by key."""
    output = Output(as_json=as_json)
    with open_client(given) as client:
        states = client.schedules()
    if as_json:
        output.document([_document(state) for state in states])
        return 0
    at = now()
    output.table(
        ("key", "task", "when", "state", "next", "in", "last", "live", "problem"),
        [
            (s.key, s.name, said(s.trigger), s.state, local(s.next_fire_at),
             in_words(s.next_fire_at, at), in_words(s.last_fire_at, at), s.live, s.problem)
            for s in states
        ],
        empty="there is no schedule",
    )  # fmt: skip
    return 0


def show(given: Given, key: str, *, reveal: bool, as_json: bool) -> int:
    """A schedule with its last fires; values of keys that look secret are masked unless `reveal`.

    Raises:
        ScheduleNotFound: there is none of that key.
    """
    output = Output(as_json=as_json)
    with open_client(given) as client:
        view = client.get_schedule(key)
        fires = client.schedule_fires(key, limit=FIRES_SHOWN)
    if view is None:
        raise ScheduleNotFound(f"there is no schedule {key!r}")
    if not reveal:
        view = replace(view, metadata=redact(view.metadata), headers=redact(view.headers))
    if as_json:
        output.document(_document(view) | {"fires": [asdict(fire) for fire in fires]})
        return 0
    at = now()
    values = {name: _cell(value) for name, value in _fields(view).items()} | {"key": None}
    values["trigger"] = said(view.trigger)
    for name in ("next_fire_at", "last_fire_at"):
        if values[name] is not None:
            values[name] = f"{values[name]} ({in_words(getattr(view, name), at)})"
    output.record(f"schedule {key}", values)
    output.line("")
    output.table(
        ("instant", "", "what became of it", "count", "task", "after s"),
        [
            (local(f.fire_at), in_words(f.fire_at, at), f.fate, f.count, f.task_id,
             (f.decided_at - f.fire_at).total_seconds())
            for f in fires
        ],
        empty="no instant of it has come yet",
    )  # fmt: skip
    return 0


def pause(given: Given, key: str) -> int:
    """Pause a schedule."""
    with open_client(given) as client:
        return _told(key, client.pause_schedule(key))


def resume(given: Given, key: str, *, catch_up: bool) -> int:
    """Resume a schedule; one that was not paused goes on, unless its state says that it cannot."""
    with open_client(given) as client:
        answer = client.resume_schedule(key, catch_up=catch_up)
        view = client.get_schedule(key) if answer == "not_paused" else None
    return _told(key, view.state if view is not None and view.state in _OVER else answer)


def delete(given: Given, key: str) -> int:
    """Remove a schedule."""
    with open_client(given) as client:
        return _told(key, client.delete_schedule(key))


def run(given: Given, key: str, *, force: bool, as_json: bool) -> int:
    """One extra task.

    Raises:
        PerdureError: none was made, because of an earlier one that lives.
    """
    output = Output(as_json=as_json)
    with open_client(given) as client:
        answer, task_id = client.run_schedule(key, force=force)
    if as_json:
        output.document({"key": key, "answer": answer, "task_id": task_id})
    if answer == "skipped":
        raise PerdureError(
            f"schedule {key} skipped: an earlier task of it still lives; --force does not mind"
        )
    if task_id is None:
        return _told(key, answer)
    output.line(f"schedule {key} {answer}: task {task_id}")
    return 0


def override(given: Given, key: str, at: str, *, as_json: bool) -> int:
    """Move the next instant once, or take that back.

    Raises:
        PerdureError: there is no next instant.
    """
    output = Output(as_json=as_json)
    instant = None if at == "none" else moment("TIME", at)
    with open_client(given) as client:
        answer = client.override_next(key, instant)
    if as_json:
        output.document({"key": key, "answer": answer, "at": instant})
    if answer == "finished":
        raise PerdureError(f"schedule {key} is finished: it has no next instant")
    if answer == "not_found":
        return _told(key, answer)
    news = "at its own time" if instant is None else f"at {local(instant)}, once"
    output.line(f"schedule {key} fires next {news}")
    return 0


def preview(given: Given, key: str | None, when: When, *, count: int, as_json: bool) -> int:
    """The next instants: of a schedule, or of a trigger, which needs no database.

    Raises:
        ScheduleNotFound: there is none of that key.
    """
    if (key is None) == (when == When()):
        raise typer.BadParameter("give the KEY of a schedule, or a trigger, and not both")
    output = Output(as_json=as_json)
    at, state = now(), "active"
    trigger: Trigger | dict[str, Any]
    if key is None:
        trigger = when.trigger()
        instants = preview_of(trigger, at, count)
    else:
        with open_client(given) as client:
            instants = client.preview_schedule(key, count)
            view = client.get_schedule(key)
        if view is None:
            raise ScheduleNotFound(f"there is no schedule {key!r}")
        trigger, state = view.trigger, view.state
    if as_json:
        output.document({"key": key, "state": state, "instants": instants})
        return 0
    if state == "paused":
        output.line("it is paused: so it would fire if it were resumed now")
    zone = ZoneInfo(trigger.timezone) if isinstance(trigger, Cron) else None
    rows = [(i, local(t), in_words(t, at), _in(zone, t)) for i, t in enumerate(instants, 1)]
    foreign = zone is not None and any(row[1] != row[3] for row in rows)
    headers = ("#", "at", "in", str(zone))
    width = len(headers) if foreign else len(headers) - 1
    empty = "it never fires" if state == "active" else f"it is {state}: it does not fire"
    output.table(headers[:width], [row[:width] for row in rows], empty=empty)
    return 0


def _told(key: str, answer: str) -> int:
    """Say what was answered; an error where there is no schedule, or one that fires no more."""
    if answer == "not_found":
        raise ScheduleNotFound(f"there is no schedule {key!r}")
    if answer in _OVER:
        raise PerdureError(f"schedule {key} is {answer}: nothing was done; put it anew")
    Output().line(f"schedule {key} {answer.replace('_', ' ')}")
    return 0


def _fields(state: ScheduleState) -> dict[str, Any]:
    """Its fields by name; the trigger as it is."""
    values = asdict(replace(state, trigger={}))
    return values | {"trigger": state.trigger}


def _document(state: ScheduleState) -> dict[str, Any]:
    """It as JSON: lengths of time in seconds."""
    values = {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in _fields(state).items()
    }
    if not isinstance(state.trigger, dict):
        values["trigger"] = trigger_json(state.trigger)
    return values


def _cell(value: Any) -> Any:
    if isinstance(value, timedelta):
        return show_duration(value)
    return local(value) if isinstance(value, datetime) else value


def _in(zone: ZoneInfo | None, value: datetime) -> str | None:
    return None if zone is None else value.astimezone(zone).isoformat(" ", timespec="seconds")
