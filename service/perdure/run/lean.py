"""Less memory and time for a worker and its children, before anything of them is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Late:
    """A class that is imported when it is used."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._load()(*arguments, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._load(), attribute)


def _console() -> Any:
    from rich.console import Console  # noqa: PLC0415  (that is the point)

    return Console


def _traceback() -> Any:
    from rich.traceback import Traceback  # noqa: PLC0415

    return Traceback


def load_structlog() -> None:
    """Load structlog without rich and pygments: 7 MiB, for tracebacks that no worker prints.

    Its module for development imports rich where it finds it; it gets the two classes that it
    needs in a form that loads rich with the first traceback that is rendered by them.
    """
    if "rich" in sys.modules:
        return
    console, traceback = ModuleType("rich.console"), ModuleType("rich.traceback")
    console.__dict__["Console"] = _Late(_console)
    traceback.__dict__["Traceback"] = _Late(_traceback)
    stand_ins = {each.__name__: each for each in (ModuleType("rich"), console, traceback)}
    sys.modules.update(stand_ins)
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        for name in stand_ins:
            del sys.modules[name]
