"""Every command: its options and its help; the body is loaded when the command is called.

All errors leave through `main`: one line on standard error, a traceback only with --debug.
"""

# ruff: noqa: PLC0415  (--help and a mistyped command must not pay for a driver)

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from perdure import errors
from perdure.cli import options
from perdure.cli.given import Given

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIGURATION: Final = 78
EXIT_INTERRUPTED: Final = 130
_SPOKEN_ANYWHERE: Final = ("--config", "--schema")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Durable background tasks on PostgreSQL that go on from their checkpoint.",
    epilog="Settings: PERDURE_DSN and its kind, perdure.toml; `perdure config show` lists all.",
)
config = typer.Typer(rich_markup_mode=None, help="Settings: what is in force, and why.")
app.add_typer(config, name="config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 it failed, 2 wrong usage, 78 wrong configuration.
    """
    words, debug = _arranged(list(sys.argv[1:] if arguments is None else arguments))
    try:
        code = app(args=words or ["--help"], prog_name="perdure", standalone_mode=False)
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
        return _say(str(error), _code(error), debug=debug, several=several)
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


def _usage(error: TyperException) -> str:
    """What was wrong with the words, and where it is told how they should be."""
    text = " ".join(error.format_message().split()).removesuffix(".")
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


def _say_version(wanted: bool) -> None:
    if wanted:
        import perdure

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


def _given(context: typer.Context) -> Given:
    given = context.obj
    return given if isinstance(given, Given) else Given()


# Beginnings.


@app.command()
def demo(as_json: options.Json = False, input: options.Input = None) -> int:
    """Tell the whole story on a PostgreSQL of its own."""
    from perdure.demo import story

    return story.run(as_json=as_json, file=input)


@app.command()
def up(context: typer.Context, application: options.Application = None) -> int:
    """Develop: PostgreSQL of its own, migrate, worker.

    A PostgreSQL is started in .perdure if no DSN is given; all ends with Ctrl-C, the data stays.
    """
    from perdure.cli import up as body

    return body.up(_given(context), application)


@app.command()
def migrate(context: typer.Context, sql: options.Sql = False, to: options.Revision = "head") -> int:
    """Make the schema, or bring it up to date."""
    from perdure.cli import migrations

    return migrations.migrate(_given(context), sql=sql, to=to)


@app.command()
def grant(context: typer.Context, role: options.Role, login: options.Login) -> int:
    """Give a login the rights of a role."""
    from perdure.cli import migrations

    return migrations.grant(_given(context), role, login)


@app.command()
def doctor(
    context: typer.Context,
    strict: options.Strict = False,
    repair: options.Repair = False,
    as_json: options.Json = False,
) -> int:
    """Say what is wrong in the database, and what to do."""
    from perdure.cli import doctor as body

    return body.doctor(_given(context), strict=strict, repair=repair, as_json=as_json)


@config.command("show")
def config_show(
    context: typer.Context, application: options.Application = None, as_json: options.Json = False
) -> int:
    """Print every setting with where it came from.

    Secrets are masked. With -A what the service's builder says is shown, too.
    """
    from perdure.cli import config as body

    return body.show(_given(context), application, as_json=as_json)


# Workers.


@app.command()
def worker(
    context: typer.Context,
    application: options.Application = None,
    queues: options.WorkerQueues = None,
    concurrency: options.Concurrency = None,
    processes: options.Processes = None,
    burst: options.Burst = False,
    tasks_most: options.TasksMost = None,
    memory_most_mb: options.MemoryMost = None,
    supervisor_pid: options.SupervisorPid = None,
) -> int:
    """Run tasks until SIGTERM; a second one does not wait for them. SIGHUP reads settings again."""
    from perdure.cli import lean

    lean.load_structlog()
    from perdure.cli import worker as body

    wanted = body.Wanted(
        application, tuple(queues or ()), concurrency, processes, burst, tasks_most, memory_most_mb
    )
    return body.work(_given(context), wanted, supervisor_pid)


@app.command()
def workers(context: typer.Context, as_json: options.Json = False) -> int:
    """List the worker processes."""
    from perdure.cli import admin

    return admin.workers(_given(context), as_json=as_json)


@app.command()
def health(as_json: options.Json = False) -> int:
    """Say whether the workers of this machine live.

    For probes there is `python -m perdure.cli.health`, which loads the standard library only.
    """
    from perdure.cli import health as body

    return body.check(as_json=as_json)


# Tasks.


@app.command()
def enqueue(
    context: typer.Context,
    name: options.TaskName,
    metadata: options.Metadata = "{}",
    delay: options.Delay = None,
    run_at: options.RunAt = None,
    unique_key: options.UniqueKey = None,
    unique_policy: options.UniquePolicy = None,
    queue: options.TaskQueue = None,
    priority: options.Priority = None,
    tags: options.Tags = None,
    headers: options.Headers = None,
    max_retries: options.MaxRetries = None,
    as_json: options.Json = False,
) -> int:
    """Enqueue a task by its name."""
    from perdure.cli import tasks

    wanted = tasks.Wanted(
        name, metadata, delay, run_at, unique_key, unique_policy, queue, priority, tags, headers,
        max_retries,
    )  # fmt: skip
    return tasks.enqueue(_given(context), wanted, as_json=as_json)


@app.command()
def wait(
    context: typer.Context,
    id: options.TaskId,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> int:
    """Wait for a task to end, and print its result.

    The result is JSON. Exits with 1 if the task failed or was cancelled, and after the timeout.
    """
    from perdure.cli import tasks

    return tasks.wait(_given(context), id, timeout, as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    states: options.States = None,
    names: options.Names = None,
    queues: options.Queues = None,
    tags: options.Tags = None,
    unique_keys: options.UniqueKeys = None,
    limit: options.Limit = 50,
    after: options.After = None,
    as_json: options.Json = False,
) -> int:
    """List tasks, newest first."""
    from perdure.cli import tasks

    sought = tasks.Sought(states, names, queues, tags, unique_keys)
    return tasks.list_(_given(context), sought, limit=limit, after=after, as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    id: options.TaskId,
    reveal: options.Reveal = False,
    as_json: options.Json = False,
) -> int:
    """Show all of a task, and what happened to it."""
    from perdure.cli import tasks

    return tasks.show(_given(context), id, reveal=reveal, as_json=as_json)


@app.command()
def cancel(context: typer.Context, ids: options.TaskIds, as_json: options.Json = False) -> int:
    """Cancel tasks; running ones are asked to stop."""
    from perdure.cli import tasks

    return tasks.cancel(_given(context), ids, as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    ids: options.TaskIds,
    patch: options.Patch = None,
    execution_metadata: options.Whole = None,
    as_json: options.Json = False,
) -> int:
    """Run failed tasks again, from their checkpoint."""
    from perdure.cli import tasks

    return tasks.retry(_given(context), ids, patch, execution_metadata, as_json=as_json)


@app.command()
def proceed(
    context: typer.Context,
    id: options.OneId = None,
    wait_key: options.WaitKey = None,
    patch: options.Patch = None,
    execution_metadata: options.Whole = None,
    run_at: options.RunAt = None,
    signal_key: options.SignalKey = None,
    as_json: options.Json = False,
) -> int:
    """Let a suspended task go on."""
    from perdure.cli import tasks

    brought = tasks.Brought(patch, execution_metadata, run_at, signal_key)
    return tasks.proceed(_given(context), id, wait_key, brought, as_json=as_json)


# Queues.


@app.command()
def queues(context: typer.Context, as_json: options.Json = False) -> int:
    """List the queues with what is in them."""
    from perdure.cli import admin

    return admin.queues(_given(context), as_json=as_json)


@app.command()
def pause(
    context: typer.Context, queue: options.QueueName, stop_running: options.StopRunning = False
) -> int:
    """Let no worker take tasks of a queue."""
    from perdure.cli import admin

    return admin.pause(_given(context), queue, stop_running=stop_running)


@app.command()
def resume(context: typer.Context, queue: options.QueueName) -> int:
    """Let workers take tasks of a queue again."""
    from perdure.cli import admin

    return admin.resume(_given(context), queue)
