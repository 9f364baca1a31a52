"""Run one command line: all errors leave here, as one line on standard error.

A traceback is shown only with --debug.
"""

# ruff: noqa: PLC0415  (--help and a mistyped command must not pay for a driver)

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import typer
from typer.exceptions import TyperException

from perdure import errors
from perdure.cli import commands

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIGURATION: Final = 78
EXIT_INTERRUPTED: Final = 130
_SPOKEN_ANYWHERE: Final = ("--config", "--schema")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 it failed, 2 wrong usage, 78 wrong configuration.
    """
    words, debug = _arranged(list(sys.argv[1:] if arguments is None else arguments))
    try:
        code = commands.app(args=words or ["--help"], prog_name="perdure", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        return _say(_usage(error), error.exit_code, debug=debug)
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (errors.PerdureError, TimeoutError) as error:
        # One line per wrong setting, or the end of the server's log.
        several = isinstance(error, errors.ConfigurationError | errors.EmbeddedServerError)
        return _say(_told(error), _code(error), debug=debug, several=several)
    except Exception as error:  # noqa: BLE001  (the last one who could tell people)
        text = f"{type(error).__name__}: {error} (--debug shows where)"
        return _say(text, EXIT_FAILED, debug=debug)
    return code if isinstance(code, int) else 0


def _arranged(words: list[str]) -> tuple[list[str], bool]:
    """What may be said before a command may be said behind it, too: such words are moved ahead."""
    ahead: list[str] = []
    rest: list[str] = []
    debug = False
    while words and words[0] != "--":
        word = words.pop(0)
        if word == "--debug":
            debug = True
        elif word in _SPOKEN_ANYWHERE and words:
            ahead += [word, words.pop(0)]
        elif word.startswith(tuple(f"{name}=" for name in _SPOKEN_ANYWHERE)):
            ahead.append(word)
        else:
            rest.append(word)
    return [*ahead, *rest, *words], debug


def _code(error: Exception) -> int:
    if isinstance(error, errors.ConfigurationError):
        return EXIT_CONFIGURATION
    wrong_words = isinstance(error, errors.InvalidArgument | errors.UnencodableValue)
    return EXIT_USAGE if wrong_words else EXIT_FAILED


def _told(error: Exception) -> str:
    """What an error says; a refusal of what was typed speaks of options."""
    if not isinstance(error, errors.InvalidArgument | errors.QueueFull | errors.KeyTaken):
        return str(error)
    from perdure.cli import words

    return words.spoken(str(error))


def _usage(error: TyperException) -> str:
    """What was wrong with the words, and where it is told how they should be."""
    text = (
        " ".join(error.format_message().split()).replace(": Value error, ", ": ").removesuffix(".")
    )
    text = text if text.endswith("?") else f"{text}."
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text} See `{context.command_path} --help`."


def _say(text: str, code: int, *, debug: bool, several: bool = False) -> int:
    """Tell people why on standard error, without secrets: on one line, or on `several` of ours."""
    if debug:
        text = f"{text}\n{traceback.format_exc()}".rstrip()
    lines = text.split("\n") if debug or several else [text]
    if code != EXIT_USAGE:
        from perdure import settings
        from perdure.cli import output

        lines = [output.clean(settings.mask(line)) for line in lines]
    sys.stderr.write("\n".join([f"perdure: {lines[0]}", *lines[1:]]) + "\n")
    return code
