"""The commands on schedules: their words; bodies are loaded when they are called."""

# ruff: noqa: PLC0415  (--help and a mistyped command must not pay for a driver)

from __future__ import annotations

import typer

from perdure.cli import options
from perdure.cli import schedule_options as own
from perdure.cli.app import given
from perdure.cli.app import schedules as app


@app.command("list")
def list_(context: typer.Context, as_json: options.Json = False) -> int:
    """List all schedules with when they fire next."""
    from perdure.cli import schedules

    return schedules.list_(given(context), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    key: own.Key,
    reveal: options.Reveal = False,
    as_json: options.Json = False,
) -> int:
    """Show all of a schedule, and what became of its last instants."""
    from perdure.cli import schedules

    return schedules.show(given(context), key, reveal=reveal, as_json=as_json)


@app.command()
def put(
    context: typer.Context,
    key: own.Key,
    name: options.TaskName,
    metadata: options.Metadata = "{}",
    every: own.Interval = None,
    cron: own.CronText = None,
    once: own.At = None,
    timezone: own.Zone = None,
    start: own.Start = None,
    end: own.End = None,
    jitter: own.Jitter = None,
    flex: own.Flex = None,
    misfire_grace: own.MisfireGrace = None,
    expires_after: own.ExpiresAfter = None,
    catch_up: own.CatchUp = "latest",
    max_catch_up: own.CatchUpMost = 100,
    overlap: own.Overlap = "skip",
    queue: options.TaskQueue = None,
    priority: options.Priority = None,
    tags: options.Tags = None,
    requires: options.Requires = None,
    headers: options.Headers = None,
    max_retries: options.MaxRetries = None,
    policy: own.Policy = "update",
    reset_phase: own.Anew = False,
    dry_run: own.DryRun = False,
    as_json: options.Json = False,
) -> int:
    """Make a schedule, or change it: give one of --every, --cron and --once."""
    from perdure.cli import putting

    when = putting.When(every, cron, once, timezone, start, end)
    wanted = putting.Wanted(
        key, name, metadata, when, jitter, flex, misfire_grace, expires_after, catch_up,
        max_catch_up, overlap, queue, priority, tags, requires, headers, max_retries, policy,
        reset_phase,
    )  # fmt: skip
    return putting.put(given(context), wanted, dry_run=dry_run, as_json=as_json)


@app.command()
def pause(context: typer.Context, key: own.Key) -> int:
    """Let nothing of a schedule fire; what runs goes on."""
    from perdure.cli import schedules

    return schedules.pause(given(context), key)


@app.command()
def resume(context: typer.Context, key: own.Key, catch_up: own.CatchUpNow = False) -> int:
    """Let a paused schedule go on with its next instant from now on."""
    from perdure.cli import schedules

    return schedules.resume(given(context), key, catch_up=catch_up)


@app.command()
def run(
    context: typer.Context, key: own.Key, force: own.Force = False, as_json: options.Json = False
) -> int:
    """Make one extra task of a schedule now; nothing else of it changes."""
    from perdure.cli import schedules

    return schedules.run(given(context), key, force=force, as_json=as_json)


@app.command()
def override(
    context: typer.Context, key: own.Key, at: own.NextAt, as_json: options.Json = False
) -> int:
    """Have the next instant of a schedule happen at another time, once."""
    from perdure.cli import schedules

    return schedules.override(given(context), key, at, as_json=as_json)


@app.command()
def preview(
    context: typer.Context,
    key: own.OneKey = None,
    every: own.Interval = None,
    cron: own.CronText = None,
    once: own.At = None,
    timezone: own.Zone = None,
    start: own.Start = None,
    end: own.End = None,
    count: own.Count = 10,
    as_json: options.Json = False,
) -> int:
    """Print the next instants of a schedule, or of --every, --cron, --once without a database."""
    from perdure.cli import schedules
    from perdure.cli.putting import When

    when = When(every, cron, once, timezone, start, end)
    return schedules.preview(given(context), key, when, count=count, as_json=as_json)


@app.command()
def delete(context: typer.Context, key: own.Key) -> int:
    """Remove a schedule; tasks that it has made go on."""
    from perdure.cli import schedules

    return schedules.delete(given(context), key)
