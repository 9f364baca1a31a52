"""A worker process of the tests: `python -m tests.kit.work module:service [option=value ...]`.

The environment says where the database is; options are dotted settings, `burst=1`, and `lives=n`:
the process is a new worker after each of its first ends.
"""

from __future__ import annotations

import importlib
import sys

from perdure.run.lean import load_structlog
from perdure.run.options import Options


def main() -> int:
    """Run the service that the first argument names until it is told to stop."""
    load_structlog()
    application, *values = sys.argv[1:]
    module, _, name = application.partition(":")
    service = getattr(importlib.import_module(module), name)
    given = dict(value.split("=", 1) for value in values)
    lives = int(given.pop("lives", "1"))
    options = Options(burst=bool(given.pop("burst", "")), application=application)
    service.override(given)
    codes = {int(service.run(options)) for _ in range(lives)}
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
