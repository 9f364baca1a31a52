"""The bus: who hears what, what nobody hears is not built, and whose fault is whose."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError
from typing import Any, Literal

import pytest

from perdure.errors import ConfigurationError
from perdure.run import events
from perdure.run.bus import Bus
from perdure.run.events import (
    EVENTS,
    NAMES,
    Event,
    ListenerFailed,
    QueuePaused,
    TaskEnded,
    TaskEvent,
    TasksCompleted,
    TaskStarted,
)


def ended(state: Literal["completed", "failed", "cancelled"]) -> TaskEnded:
    return TaskEnded(task_id=7, name="mail.send", attempt=1, state=state, seconds=0.5)


def test_a_listener_hears_its_type_and_nothing_else() -> None:
    bus, heard = Bus(), list[Event]()
    bus.on(TasksCompleted, heard.append)
    bus.emit(TasksCompleted(count=3))
    bus.emit(QueuePaused(queue="imports"))
    assert heard == [TasksCompleted(count=3)]


def test_one_type_may_have_several_names_and_each_can_be_listened_to_alone() -> None:
    bus, failed, all_ended = Bus(), list[Event](), list[Event]()
    bus.on("task.failed", failed.append)
    bus.on(TaskEnded, all_ended.append)
    for state in ("completed", "failed", "cancelled"):
        bus.emit(ended(state))
    assert [event.event for event in failed] == ["task.failed"]
    assert [event.event for event in all_ended] == [
        "task.completed",
        "task.failed",
        "task.cancelled",
    ]


def test_a_base_of_events_stands_for_all_of_them() -> None:
    bus, everything, of_tasks = Bus(), list[Event](), list[Event]()
    bus.on(Event, everything.append)
    bus.on(TaskEvent, of_tasks.append)
    bus.emit(TasksCompleted(count=1))
    bus.emit(TaskStarted(task_id=1, name="a", attempt=1))
    assert len(everything) == 2
    assert len(of_tasks) == 1
    assert all(bus.heard(kind) for kind in EVENTS)
    assert all(bus.heard(name) for name in NAMES)


def test_what_nobody_listens_to_is_not_heard_and_need_not_be_built() -> None:
    bus = Bus()
    assert not bus.heard(TaskEnded)
    assert not bus.heard("task.completed")
    off = bus.on("task.failed", lambda event: None)
    assert bus.heard(TaskEnded)
    assert bus.heard(TaskEvent)
    assert bus.heard("task.failed")
    assert not bus.heard("task.completed")
    assert not bus.heard(TaskStarted)
    off()
    off()
    assert not bus.heard(TaskEnded)


def test_listeners_are_called_in_order_and_removing_one_leaves_its_twin() -> None:
    bus, calls = Bus(), list[str]()

    def first(event: Event) -> None:
        calls.append("first")

    off = bus.on(QueuePaused, first)
    bus.on(QueuePaused, lambda event: calls.append("second"))
    bus.on(QueuePaused, first)
    off()
    bus.emit(QueuePaused(queue="*"))
    assert calls == ["second", "first"]


def test_a_fault_of_a_listener_is_an_event_and_reaches_neither_emitter_nor_neighbours() -> None:
    bus, heard, faults = Bus(), list[Event](), list[ListenerFailed]()

    def broken(event: Event) -> None:
        raise ZeroDivisionError("no")

    bus.on(QueuePaused, broken)
    bus.on(QueuePaused, heard.append)
    bus.on(ListenerFailed, broken)
    bus.on(ListenerFailed, faults.append)
    bus.emit(QueuePaused(queue="imports"))
    assert heard == [QueuePaused(queue="imports")]
    (fault,) = faults
    assert fault.heard == "queue.paused"
    assert "broken" in fault.listener
    assert isinstance(fault.error, ZeroDivisionError)


def test_a_listener_may_add_and_remove_listeners_while_it_is_told() -> None:
    bus, heard = Bus(), list[Event]()

    def once(event: QueuePaused) -> None:
        off()
        bus.on(QueuePaused, heard.append)

    off = bus.on(QueuePaused, once)
    bus.emit(QueuePaused(queue="a"))
    bus.emit(QueuePaused(queue="b"))
    assert heard == [QueuePaused(queue="b")]


def test_unknown_names_and_coroutine_functions_are_refused_with_a_hint() -> None:
    async def listener(event: Event) -> None: ...

    with pytest.raises(ConfigurationError, match=r"did you mean 'task.completed'"):
        Bus().on("task.complete", lambda event: None)
    with pytest.raises(ConfigurationError, match="there are "):
        Bus().on("?", lambda event: None)
    with pytest.raises(ConfigurationError, match="coroutine function"):
        Bus().on(TaskStarted, listener)


def test_the_promised_names_are_there_each_for_one_type() -> None:
    promised = {
        *(f"worker.{what}" for what in ("started", "stopping", "stopped")),
        *(f"task.{what}" for what in ("started", "completed", "failed", "cancelled")),
        *(f"task.{what}" for what in ("retrying", "suspended", "interrupted", "lost")),
        *("queue.paused", "queue.resumed"),
    }
    assert promised <= NAMES
    assert len(NAMES) == sum(len(kind.names) for kind in EVENTS)


def test_every_event_of_the_module_is_listed_frozen_and_without_a_dictionary() -> None:
    found = {
        kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, Event)
    }
    assert found - {Event, TaskEvent} == set(EVENTS)
    event: Any = TasksCompleted(count=1)
    assert not hasattr(event, "__dict__")
    with pytest.raises(FrozenInstanceError):
        event.count = 2
