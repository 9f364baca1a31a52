"""The bus that hands events to listeners, whose faults never reach the emitter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from perdure.errors import ConfigurationError
from perdure.run.events import EVENTS, NAMES, Event, ListenerFailed, TaskEvent

E = TypeVar("E", bound=Event)
Listener = Callable[[Any], object]


class Bus:
    """Hands events to listeners, in the order in which they came, in the emitter's thread.

    Listeners may be added and removed at any time and from any thread that is not emitting.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, tuple[Listener, ...]] = {}
        self._heard: frozenset[str | type[Event]] = frozenset()

    def on(self, event: type[E] | str, listener: Callable[[E], object]) -> Callable[[], None]:
        """Call `listener(event)` for a type or a dotted name; `Event` is everything.

        Returns a function that removes it again.

        Raises:
            ConfigurationError: there is no such event, or the listener is a coroutine function.
        """
        names = _names(event)
        if inspect.iscoroutinefunction(listener):
            raise ConfigurationError(
                f"the listener for {', '.join(sorted(names))} is a coroutine function:"
                " listeners are plain functions, called where the event happens"
            )

        def off() -> None:
            for name in names:
                kept = tuple(other for other in self._listeners[name] if other is not entry)
                self._listeners[name] = kept
            self._listen()

        def entry(event: E) -> object:
            return listener(event)

        entry.__qualname__ = getattr(listener, "__qualname__", repr(listener))
        for name in names:
            self._listeners[name] = (*self._listeners.get(name, ()), entry)
        self._listen()
        return off

    def heard(self, event: type[Event] | str) -> bool:
        """Whether anybody listens to a type or a dotted name: if not, do not build the event."""
        return event in self._heard

    def emit(self, event: Event) -> None:
        """Tell everybody who listens. Never raises: a fault becomes a `ListenerFailed`."""
        for listener in self._listeners.get(event.event, ()):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  (whatever a listener does wrong is its own)
                self._report(event, listener, error)

    def _report(self, event: Event, listener: Listener, error: Exception) -> None:
        # A listener of failures that fails itself has nobody left to tell.
        if not isinstance(event, ListenerFailed):
            name = listener.__qualname__
            self.emit(ListenerFailed(heard=event.event, listener=name, error=error))

    def _listen(self) -> None:
        names = {name for name, listeners in self._listeners.items() if listeners}
        types = {kind for kind, covered in _COVERED.items() if names & covered}
        self._heard = frozenset(names | types)


def _names(event: type[Event] | str) -> frozenset[str]:
    """The dotted names that a type, a base of types, or a name stands for."""
    if isinstance(event, str):
        if event in NAMES:
            return frozenset({event})
        nearest = get_close_matches(event, sorted(NAMES), 1)
        hint = (
            f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(NAMES))}"
        )
        raise ConfigurationError(f"there is no event {event!r}; {hint}")
    return _COVERED.get(event) or _covered(event)


def _covered(base: type[Event]) -> frozenset[str]:
    return frozenset(name for kind in EVENTS if issubclass(kind, base) for name in kind.names)


_COVERED: Final = {kind: _covered(kind) for kind in (*EVENTS, TaskEvent, Event)}
"""Kept: each run in a child process has a bus of its own, with all listeners of the log."""
