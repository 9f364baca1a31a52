"""Refusals in the words of the command line."""

from __future__ import annotations

import re

import pytest

from perdure.cli.commands import app
from perdure.cli.words import _OPTIONS, _PHRASES, spoken


@pytest.mark.parametrize(
    ("said", "spoken_text"),
    [
        ("run_at and delay exclude each other", "--run-at and --delay exclude each other"),
        (
            "patch and execution_metadata exclude each other",
            "--patch and --execution-metadata exclude each other",
        ),
        (
            "unique_policy, unique_for and max_delay say what becomes of a unique_key",
            "--unique-policy, --unique-for and --max-delay say what becomes of a --unique-key",
        ),
        ("another unique_policy says what to do", "another --unique-policy says what to do"),
        ("raise it with set_queue", "raise it with `perdure set-queue`"),
        ("put it with policy update", "put it with --policy update"),
        ("catch_up all with overlap skip", "--catch-up all with --overlap skip"),
        ("give overlap queue or allow", "give --overlap queue or allow"),
        ("give null to take it back", "give none to take it back"),
        ("nothing else; null is all of them", "nothing else; leave it out for all"),
        ("retry_delays: 1 to 100 numbers", "--retry-delay: 1 to 100 numbers"),
        ("end_at 1 is before start_at 2", "--end 1 is before --start 2"),
        ("the key of my_run_at_home", "the key of my_run_at_home"),
        (
            "no task 'tags', but \"states\" and `run_at`",
            "no task 'tags', but \"states\" and `run_at`",
        ),
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
    spoken_of = re.findall(r"--[a-z-]+", " ".join([*_OPTIONS.values(), *_PHRASES.values()]))
    assert set(spoken_of) <= known
