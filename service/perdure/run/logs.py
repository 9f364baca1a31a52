"""Event -> log line: which events are written, at which level, and what a line looks like.

`attach` turns events into records of the standard logger `perdure`, so that an embedded worker
logs where its host does. `configure` is for entry points only: it gives the whole process one form
of line, JSON or console, with the fields of the run that wrote it, secrets masked.

At level info a completed task costs nothing of its own: one line tells of a whole flush. Who asks
for debug gets a line for each start and completion.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TextIO

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from perdure.run.bus import Bus
from perdure.run.events import Event, LifespanFailed, ListenerFailed, LoopFailed, run_fields
from perdure.settings import Logging, colors_wanted, masker

LEVELS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(
        ("tasks.claimed", "tasks.promoted", "task.started", "task.completed", "schedule.fired"),
        logging.DEBUG,
    )
    | dict.fromkeys(
        (
            *("worker.started", "worker.stopping", "worker.stopped", "tasks.completed"),
            *("task.cancelled", "task.suspended", "task.interrupted"),
            *("queue.paused", "queue.resumed", "constraint.changed"),
            *("database.back", "settings.reloaded", "schedule.skipped"),
            *("supervisor.child_started", "supervisor.child_ended"),
        ),
        logging.INFO,
    )
    | dict.fromkeys(
        (
            *("worker.recovered", "task.retrying", "task.lost", "task.overdue", "tasks.unserved"),
            *("beat.failed", "settings.odd", "supervisor.child_failed", "schedule.missed"),
        ),
        logging.WARNING,
    )
    | dict.fromkeys(
        (
            *("task.failed", "database.lost", "tasks.dropped", "schedule.broken"),
            *("settings.refused", "listener.failed", "loop.failed", "lifespan.failed"),
        ),
        logging.ERROR,
    )
)

# Control characters, line ends of Unicode, what turns the direction of writing, lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NEEDS_QUOTES = re.compile(r"[\s\"'=]|\A\Z")
_COLORS = MappingProxyType({"debug": 2, "warning": 33, "error": 31, "critical": 31})
_FAULTS = (LifespanFailed, ListenerFailed, LoopFailed)
_LOGGER = logging.getLogger("perdure")

Clean = Callable[[str], str]


class Line:
    """An event on its way to a log: readable as text, and its fields for our own formatter."""

    __slots__ = ("event", "values")

    def __init__(self, event: Event) -> None:
        self.event = event.event
        self.values: dict[str, object] = {}
        for field in fields(event):
            value = getattr(event, field.name)
            if value is not None and not isinstance(value, Exception):
                self.values[field.name] = round(value, 6) if isinstance(value, float) else value

    def __str__(self) -> str:
        return " ".join((self.event, *(f"{name}={value}" for name, value in self.values.items())))


class _Handler(logging.StreamHandler[TextIO]):
    """The one handler of ours: a second `configure` finds and replaces it."""


def attach(bus: Bus, level: str = "info") -> Callable[[], None]:
    """Write the events of a bus that are of this level or above; returns what ends it.

    What is below the level is not even listened to, so nobody builds it.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    ends = [bus.on(name, _write) for name, of_event in LEVELS.items() if of_event >= least]

    def detach() -> None:
        for end in ends:
            end()

    return detach


def configure(
    settings: Logging, *, hide: Clean | None = None, stream: TextIO | None = None
) -> None:
    """Give every line of this process our form; called by entry points, and again by a reload.

    Args:
        settings: level and format; `auto` is console on a terminal, else JSON.
        hide: removes secrets from a text, `settings.masker(...)`; default: what looks like one.
        stream: where lines go; default standard error.
    """
    stream = stream or sys.stderr
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_run_fields,
        add_log_level,
        add_logger_name,
        TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[_unpack, *shared],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                *(_as_console(stream, hide or masker()) if console else _as_json(hide or masker())),
            ],
        )
    )
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, _Handler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())


def _write(event: Event) -> None:
    error = event.error if isinstance(event, _FAULTS) else None
    _LOGGER.log(LEVELS[event.event], Line(event), exc_info=error)


def _unpack(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The fields of an event, from the record that carries it."""
    message = line["_record"].msg
    if isinstance(message, Line):
        line.update(message.values)
        line["event"] = message.event
    return line


def _add_run_fields(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The fields of the run in whose context the line is written; the line's own ones win."""
    return {**run_fields.get(), **line}


def _as_json(hide: Clean) -> list[Processor]:
    """One JSON object a line, in ASCII; tracebacks without locals, for those hold secrets."""
    tracebacks = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, use_rich=False))

    def clean(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        return {name: _walk(value, hide) for name, value in line.items()}

    return [tracebacks, clean, JSONRenderer()]


def _as_console(stream: TextIO, hide: Clean) -> list[Processor]:
    """One line for people: no text in it can end it, move the cursor or pass for a field."""
    colored = stream.isatty() and colors_wanted()

    def shown(value: object) -> str:
        value = _walk(value, hide)
        if not isinstance(value, str):
            return json.dumps(value)
        text = _escape(value)
        if not _NEEDS_QUOTES.search(text):
            return text
        inner = text.replace("'", r"\'")
        return f"'{inner}'"

    def render(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
        level = str(line.pop("level", "info"))
        head = f"{line.pop('timestamp', '')} {level:<8}"
        if colored and level in _COLORS:
            head = f"\x1b[{_COLORS[level]}m{head}\x1b[0m"
        event = _escape(hide(str(line.pop("event", ""))))
        below = [str(line.pop(name)) for name in ("stack", "exception") if name in line]
        values = [f"{_escape(str(name))}={shown(value)}" for name, value in sorted(line.items())]
        rows = [f"    {_escape(row)}" for text in below for row in hide(text).split("\n")]
        return "\n".join([" ".join([head, event, *values]), *rows])

    return [format_exc_info, render]


def _walk(value: object, clean: Clean) -> object:
    """A value of a line with every text in it cleaned; what JSON does not know becomes text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _walk(item, clean) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_walk(item, clean) for item in value]
    return clean(str(value))


def _escape(text: str) -> str:
    """A text whose control characters are visible, as in a Python literal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
