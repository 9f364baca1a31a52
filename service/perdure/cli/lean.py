"""Less memory for a worker, before anything of it is loaded."""

from __future__ import annotations

import sys
from typing import cast


def load_structlog() -> None:
    """Load structlog without rich and pygments: 7 MiB, for tracebacks that no worker prints.

    Its module for development takes rich where it finds it. Whoever wants rich later gets it.
    """
    if "rich" in sys.modules:
        return
    # As if it were not installed.
    cast("dict[str, object]", sys.modules)["rich"] = None
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        del sys.modules["rich"]
