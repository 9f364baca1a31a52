"""Where a child process begins (`-m perdure.run.isolated`): a seventh of its start is left away."""

from __future__ import annotations

from perdure.run.lean import load_structlog


def main() -> None:
    """Load what it needs without what it never prints, and serve the worker."""
    load_structlog()
    # Not before: what it imports would load rich.
    from perdure.run.child import main as serve  # noqa: PLC0415

    serve()


if __name__ == "__main__":
    main()
