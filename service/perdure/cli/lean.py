"""Less memory for a worker, before anything of it is loaded."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Late:
    """A class that is imported when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(import_module(self._module), self._name)(*arguments, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(import_module(self._module), self._name), attribute)


def load_structlog() -> None:
    """Load structlog without rich and pygments: 7 MiB, for tracebacks that no worker prints.

    Its module for development imports rich where it finds it; it gets the two classes that it
    needs in a form that loads rich with the first traceback that is rendered by them.
    """
    if "rich" in sys.modules:
        return
    console, traceback = ModuleType("rich.console"), ModuleType("rich.traceback")
    console.__dict__["Console"] = _Late("rich.console", "Console")
    traceback.__dict__["Traceback"] = _Late("rich.traceback", "Traceback")
    stand_ins = {each.__name__: each for each in (ModuleType("rich"), console, traceback)}
    sys.modules.update(stand_ins)
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        for name in stand_ins:
            del sys.modules[name]
