"""The command line as typer sees it: its groups, and what may be said before any command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.given import Given

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Durable background tasks on PostgreSQL that go on from their checkpoint.",
    epilog="Settings: PERDURE_DSN and its kind, perdure.toml; `perdure config show` lists all.",
)
config = typer.Typer(rich_markup_mode=None, help="Settings: what is in force, and why.")
app.add_typer(config, name="config")
schedules = typer.Typer(
    rich_markup_mode=None, help="Schedules: what fires when, and what became of it."
)
app.add_typer(schedules, name="schedules")
workers = typer.Typer(rich_markup_mode=None)
app.add_typer(workers, name="workers")


def _say_version(wanted: bool) -> None:
    if wanted:
        import perdure  # noqa: PLC0415  (its version is read from the installation)

        typer.echo(f"perdure {perdure.__version__}")
        raise typer.Exit


@app.callback()
def before(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file instead of perdure.toml.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option(metavar="NAME", help="Schema of the installation.")
    ] = None,
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Durable background tasks on PostgreSQL that go on from their checkpoint."""
    context.obj = Given(config, schema)


def given(context: typer.Context) -> Given:
    """What was said before the command."""
    said = context.obj
    return said if isinstance(said, Given) else Given()
