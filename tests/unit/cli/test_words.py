"""Refusals in the words of the command line."""

from __future__ import annotations

import pytest

from perdure.cli.commands import app
from perdure.cli.words import _OPTIONS, spoken


@pytest.mark.parametrize(
    ("said", "spoken_text"),
    [
        ("run_at and delay exclude each other", "--run-at and delay exclude each other"),
        ("give null to take it back", "give none to take it back"),
        ("nothing else; null is all of them", "nothing else; leave it out for all"),
        ("retry_delays: 1 to 100 numbers", "--retry-delay: 1 to 100 numbers"),
        ("end_at 1 is before start_at 2", "--end 1 is before --start 2"),
        ("the key of my_run_at_home", "the key of my_run_at_home"),
    ],
)
def test_arguments_are_called_as_the_options_are(said: str, spoken_text: str) -> None:
    assert spoken(said) == spoken_text


def test_every_option_that_is_named_is_one() -> None:
    import typer

    group = typer.main.get_command(app)
    known: set[str] = set()
    pending = [group]
    while pending:
        command = pending.pop()
        known |= {option for parameter in command.params for option in parameter.opts}
        pending += getattr(command, "commands", {}).values()
    assert set(_OPTIONS.values()) <= known
