"""Log lines: which events are written, their fields, both forms, and what never gets out."""

from __future__ import annotations

import io
import json
import logging
from typing import Any, Literal

import pytest
import structlog

from perdure.run import logs
from perdure.run.bus import Bus
from perdure.run.events import (
    EVENTS,
    NAMES,
    Event,
    ListenerFailed,
    QueuePaused,
    Reloaded,
    TaskEnded,
    TasksClaimed,
    TasksCompleted,
    WorkerStopping,
    run_fields,
)
from perdure.settings import Logging, load, masker

HOSTILE = "a\x1b[31m\nERROR forged=1 \u202e\x9b\ud800 ' task_id=9"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(stream: io.StringIO, **settings: Any) -> io.StringIO:
    logs.configure(Logging(**settings), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def ended(state: Literal["completed", "failed"], name: str = "mail.send") -> TaskEnded:
    return TaskEnded(task_id=7, name=name, attempt=2, state=state, seconds=1 / 3)


def test_every_event_has_a_level_and_nothing_else_has() -> None:
    assert set(logs.LEVELS) == NAMES


def test_at_info_a_flush_is_one_line_and_single_completions_are_not_even_built() -> None:
    stream, bus = configured(io.StringIO()), Bus()
    logs.attach(bus)
    assert not bus.heard("task.completed")
    assert not bus.heard("task.started")
    assert not bus.heard(TasksClaimed)
    bus.emit(TasksCompleted(count=500))
    bus.emit(ended("completed"))
    bus.emit(ended("failed"))
    completed, failed = lines(stream)
    assert (completed["event"], completed["count"], completed["level"]) == (
        "tasks.completed",
        500,
        "info",
    )
    assert (failed["event"], failed["level"], failed["logger"]) == (
        "task.failed",
        "error",
        "perdure",
    )
    assert (failed["task_id"], failed["name"], failed["attempt"]) == (7, "mail.send", 2)
    assert failed["seconds"] == 0.333333
    assert "kind" not in failed
    assert failed["timestamp"].endswith("Z")


def test_at_debug_each_completion_is_a_line_and_detaching_ends_all() -> None:
    stream, bus = configured(io.StringIO(), level="debug"), Bus()
    detach = logs.attach(bus, "debug")
    bus.emit(ended("completed"))
    detach()
    bus.emit(ended("completed"))
    assert [line["event"] for line in lines(stream)] == ["task.completed"]
    assert not any(bus.heard(kind) for kind in EVENTS)


def test_auto_is_console_on_a_terminal_and_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus()
    logs.attach(bus)
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = configured(Terminal())
    bus.emit(QueuePaused(queue="imports"))
    text = terminal.getvalue()
    assert "queue.paused" in text
    assert "queue=imports" in text
    assert "\x1b" not in text
    monkeypatch.delenv("NO_COLOR")
    colored = configured(Terminal())
    bus.emit(ended("failed"))
    assert "\x1b[" in colored.getvalue()
    assert configured(Terminal(), format="json").getvalue() == ""
    bus.emit(QueuePaused(queue="imports"))
    assert terminal.getvalue() == text, "a second configure replaces the first"


def test_a_foreign_line_and_a_structlog_line_carry_the_fields_of_their_run() -> None:
    stream = configured(io.StringIO())
    worker = 5
    token = run_fields.set({"task_id": 7, "name": "mail.send", "worker_id": worker, "attempt": 2})
    try:
        logging.getLogger("business").info("sent %s", "well")
        structlog.get_logger("other").info("sent", attempt=3)
    finally:
        run_fields.reset(token)
    logging.getLogger("business").info("outside")
    foreign, own, outside = lines(stream)
    assert (foreign["event"], foreign["logger"], foreign["task_id"]) == ("sent well", "business", 7)
    assert foreign["worker_id"] == worker
    assert (own["event"], own["task_id"], own["attempt"]) == ("sent", 7, 3)
    assert "task_id" not in outside


def test_lines_below_the_level_are_not_written() -> None:
    stream = configured(io.StringIO(), level="warning")
    logging.getLogger("business").info("quiet")
    structlog.get_logger("business").info("quiet")
    logging.getLogger("business").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_text_from_outside_can_neither_end_nor_forge_a_line_on_the_console() -> None:
    stream, bus = configured(io.StringIO(), format="console"), Bus()
    logs.attach(bus)
    bus.emit(ended("failed", HOSTILE))
    bus.emit(Reloaded(applied=(HOSTILE,)))
    logging.getLogger("business").warning("said %s", HOSTILE)
    text = stream.getvalue()
    assert len(text.splitlines()) == 3
    assert not logs._CONTROL.search(text.replace("\n", ""))
    assert r"name='a\x1b[31m\nERROR forged=1 \u202e\x9b\ud800 \' task_id=9'" in text
    assert r'applied=["a\u001b[31m\nERROR forged=1' in text


def test_an_exception_on_the_console_is_indented_and_escaped() -> None:
    stream = configured(io.StringIO(), format="console")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("business").exception("failed")
    first, *rest = stream.getvalue().rstrip("\n").split("\n")
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert any("\\x1b[31m" in line for line in rest)
    assert not logs._CONTROL.search("".join(rest))


def test_a_traceback_in_json_has_frames_but_no_locals() -> None:
    stream, bus = configured(io.StringIO()), Bus()
    logs.attach(bus)

    def listener(event: Event) -> None:
        password = "hunter2"
        raise ValueError(len(password))

    bus.on(QueuePaused, listener)
    bus.emit(QueuePaused(queue="imports"))
    fault = next(line for line in lines(stream) if line["event"] == "listener.failed")
    assert fault["heard"] == "queue.paused"
    (trace,) = fault["exception"]
    assert trace["exc_type"] == "ValueError"
    assert trace["frames"][-1]["name"] == "listener"
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked_wherever_they_stand_in_a_line(form: Literal["json", "console"]) -> None:
    dsn = "postgresql://u:hunt%22er2@h/d"
    stream = io.StringIO()
    hide = masker(load(environ={"PERDURE_DSN": dsn}).settings)
    logs.configure(Logging(format=form), hide=hide, stream=stream)
    log = logging.getLogger("business")
    log.warning("cannot reach %s", dsn)
    structlog.get_logger("business").warning(
        "x", nested={"a": ['hunt"er2']}, object=ValueError(dsn)
    )
    try:
        raise ValueError('password=hunt"er2')
    except ValueError:
        log.exception("failed with %s", "hunt%22er2")
    text = stream.getvalue()
    assert "er2" not in text
    assert text.count("***") >= 5
    if form == "json":
        assert len(lines(stream)) == 3


def test_without_our_configuration_an_event_is_a_readable_line_of_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus()
    logs.attach(bus)
    with caplog.at_level("INFO", "perdure"):
        bus.emit(WorkerStopping(worker_id=1, reason="shutdown"))
        bus.emit(ListenerFailed(heard="task.failed", listener="f", error=ValueError("x")))
    stopping, failed = caplog.records
    assert stopping.getMessage() == f"worker.stopping worker_id={1} reason=shutdown"
    assert failed.exc_info is not None
    assert failed.exc_info[0] is ValueError
