"""The commands that change tasks: their words; bodies are loaded when they are called."""

# ruff: noqa: PLC0415  (--help and a mistyped command must not pay for a driver)

from __future__ import annotations

import typer

from perdure.cli import change_options as own
from perdure.cli import options
from perdure.cli.app import app, given


@app.command()
def cancel(
    context: typer.Context,
    ids: own.Ids = None,
    name: own.Name = None,
    state: own.State = None,
    tag: own.Tag = None,
    unique_key: own.UniqueKey = None,
    queue: own.Queue = None,
    yes: own.Yes = False,
    as_json: options.Json = False,
) -> int:
    """Cancel tasks; running ones are asked to stop."""
    from perdure.cli import changing

    which = changing.Matching(name, state, tag, unique_key, queue, yes)
    return changing.cancel(given(context), ids or [], which, as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    ids: own.Ids = None,
    name: own.Name = None,
    state: own.StateToRetry = None,
    since: own.Since = None,
    error_type: own.ErrorType = None,
    yes: own.Yes = False,
    patch: options.Patch = None,
    execution_metadata: options.Whole = None,
    with_dependents: options.WithDependents = False,
    as_json: options.Json = False,
) -> int:
    """Run failed tasks again, from their checkpoint.

    By their ids cancelled ones, too; options that say which take them with --state cancelled.
    """
    from perdure.cli import changing

    which = changing.Ended(name, state, since, error_type, yes)
    brought = changing.Mended(patch, execution_metadata, with_dependents)
    return changing.retry(given(context), ids or [], which, brought, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    id: options.TaskId,
    metadata: own.Metadata = None,
    queue: options.TaskQueue = None,
    priority: options.Priority = None,
    delay: options.Delay = None,
    run_at: options.RunAt = None,
    tags: options.Tags = None,
    requires: options.Requires = None,
    headers: options.Headers = None,
    max_retries: options.MaxRetries = None,
    retry_delays: options.RetryDelays = None,
    expires_at: options.ExpiresAt = None,
    deadline_at: options.DeadlineAt = None,
    clear: own.Clear = None,
    as_json: options.Json = False,
) -> int:
    """Change what was asked of a task that has not ended.

    What is not said stays. A running task goes on as it began; its next run sees the change.
    """
    from perdure.cli import changing

    asked = changing.Asked(
        metadata, queue, priority, delay, run_at, tags, requires, headers, max_retries,
        retry_delays, expires_at, deadline_at, clear,
    )  # fmt: skip
    return changing.update(given(context), id, asked, as_json=as_json)


@app.command("run-now")
def run_now(context: typer.Context, ids: options.TaskIds, as_json: options.Json = False) -> int:
    """Run tasks that wait for a time at once."""
    from perdure.cli import changing

    return changing.run_now(given(context), ids, as_json=as_json)


@app.command()
def reschedule(
    context: typer.Context,
    ids: own.Ids = None,
    delay: options.Delay = None,
    run_at: options.RunAt = None,
    name: own.Name = None,
    state: own.State = None,
    tag: own.Tag = None,
    unique_key: own.UniqueKey = None,
    queue: own.Queue = None,
    yes: own.Yes = False,
    as_json: options.Json = False,
) -> int:
    """Move the time of tasks that wait, or are pending."""
    from perdure.cli import changing

    which = changing.Matching(name, state, tag, unique_key, queue, yes)
    return changing.reschedule(given(context), ids or [], which, delay, run_at, as_json=as_json)


@app.command()
def prune(
    context: typer.Context,
    older_than: own.OlderThan,
    states: own.EndStates = None,
    yes: own.Yes = False,
    as_json: options.Json = False,
) -> int:
    """Remove tasks that ended long ago, before retention does.

    What others follow or what holds a unique key stays.
    """
    from perdure.cli import changing

    return changing.prune(given(context), older_than, states, yes=yes, as_json=as_json)
