"""The commands: their words, and where their bodies are, which are loaded when they are called."""

# ruff: noqa: PLC0415  (--help and a mistyped command must not pay for a driver)

from __future__ import annotations

import typer

from perdure.cli import change_commands, options, schedule_commands
from perdure.cli.app import app, config, given
from perdure.cli.app import workers as worker_group

__all__ = ["app", "change_commands", "schedule_commands"]

# Beginnings.


@app.command()
def demo(
    as_json: options.Json = False, input: options.Input = None, tour: options.Tour = False
) -> int:
    """Tell the whole story on a PostgreSQL of its own.

    A long import goes on from its checkpoint while its workers are stopped and killed. The tour
    shows a schedule, a chain, a constraint and a singleton instead.
    """
    if tour:
        if input is not None:
            raise typer.BadParameter("the tour imports nothing: leave --input away")
        from perdure.demo import tour as walk

        return walk.run(as_json=as_json)
    from perdure.demo import story

    return story.run(as_json=as_json, file=input)


@app.command()
def up(context: typer.Context, application: options.Application = None) -> int:
    """Develop: PostgreSQL of its own, migrate, worker.

    A PostgreSQL is started in .perdure if no DSN is given; all ends with Ctrl-C, the data stays.
    """
    from perdure.cli import up as body

    return body.up(given(context), application)


@app.command()
def migrate(context: typer.Context, sql: options.Sql = False, to: options.Revision = "head") -> int:
    """Make the schema, or bring it up to date."""
    from perdure.cli import migrations

    return migrations.migrate(given(context), sql=sql, to=to)


@app.command()
def grant(context: typer.Context, role: options.Role, login: options.Login) -> int:
    """Give a login the rights of a role."""
    from perdure.cli import migrations

    return migrations.grant(given(context), role, login)


@app.command()
def doctor(
    context: typer.Context,
    strict: options.Strict = False,
    repair: options.Repair = False,
    as_json: options.Json = False,
) -> int:
    """Say what is wrong in the database, and what to do."""
    from perdure.cli import doctor as body

    return body.doctor(given(context), strict=strict, repair=repair, as_json=as_json)


@config.command("show")
def config_show(
    context: typer.Context, application: options.Application = None, as_json: options.Json = False
) -> int:
    """Print every setting with where it came from.

    Secrets are masked. With -A what the service's builder says is shown, too.
    """
    from perdure.cli import config as body

    return body.show(given(context), application, as_json=as_json)


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
    """Run tasks until SIGTERM. A second one does not wait for them; SIGHUP reads settings again."""
    from perdure.run import lean

    lean.load_structlog()
    from perdure.cli import worker as body

    wanted = body.Wanted(
        application, tuple(queues or ()), concurrency, processes, burst, tasks_most, memory_most_mb
    )
    return body.work(given(context), wanted, supervisor_pid)


@worker_group.callback(invoke_without_command=True)
def workers(context: typer.Context, as_json: options.Json = False) -> int:
    """List the worker processes; or drain one."""
    if context.invoked_subcommand is not None:
        return 0
    from perdure.cli import admin

    return admin.workers(given(context), as_json=as_json)


@worker_group.command()
def drain(context: typer.Context, id: options.WorkerId) -> int:
    """Let a worker process take no more tasks.

    What it runs is interrupted and goes on elsewhere. The process lives on until it is stopped.
    """
    from perdure.cli import admin

    return admin.drain(given(context), id)


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
    unique_for: options.UniqueFor = None,
    max_delay: options.MaxDelay = None,
    queue: options.TaskQueue = None,
    priority: options.Priority = None,
    tags: options.Tags = None,
    headers: options.Headers = None,
    max_retries: options.MaxRetries = None,
    retry_delays: options.RetryDelays = None,
    after: options.Follows = None,
    requires: options.Requires = None,
    expires_at: options.ExpiresAt = None,
    deadline_at: options.DeadlineAt = None,
    as_json: options.Json = False,
) -> int:
    """Enqueue a task by its name."""
    from perdure.cli import tasks

    wanted = tasks.Wanted(
        name, metadata, delay, run_at, unique_key, unique_policy, queue, priority, tags, headers,
        max_retries, after, requires, expires_at, deadline_at, unique_for, max_delay, retry_delays,
    )  # fmt: skip
    return tasks.enqueue(given(context), wanted, as_json=as_json)


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

    return tasks.wait(given(context), id, timeout, as_json=as_json)


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
    return tasks.list_(given(context), sought, limit=limit, after=after, as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    id: options.TaskId,
    reveal: options.Reveal = False,
    as_json: options.Json = False,
) -> int:
    """Show all of a task, and what happened to it."""
    from perdure.cli import tasks

    return tasks.show(given(context), id, reveal=reveal, as_json=as_json)


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
    return tasks.proceed(given(context), id, wait_key, brought, as_json=as_json)


# Queues.


@app.command()
def queues(context: typer.Context, as_json: options.Json = False) -> int:
    """List the queues with what is in them."""
    from perdure.cli import admin

    return admin.queues(given(context), as_json=as_json)


@app.command("set-queue")
def set_queue(
    context: typer.Context,
    queue: options.QueueToSet,
    max_depth: options.MaxDepth = None,
    concurrency: options.QueueConcurrency = None,
    as_json: options.Json = False,
) -> int:
    """Bound how deep a queue gets and what a worker runs of it."""
    from perdure.cli import admin

    return admin.set_queue(
        given(context), queue, max_depth=max_depth, concurrency=concurrency, as_json=as_json
    )


@app.command()
def pause(
    context: typer.Context,
    queue: options.QueueName,
    stop_running: options.StopRunning = False,
    as_json: options.Json = False,
) -> int:
    """Let no worker take tasks of a queue."""
    from perdure.cli import admin

    return admin.pause(given(context), queue, stop_running=stop_running, as_json=as_json)


@app.command()
def resume(context: typer.Context, queue: options.QueueName, as_json: options.Json = False) -> int:
    """Let workers take tasks of a queue again."""
    from perdure.cli import admin

    return admin.resume(given(context), queue, as_json=as_json)


# Constraints.


@app.command()
def constraints(context: typer.Context, as_json: options.Json = False) -> int:
    """List the constraints, and for how many workers each holds.

    Listed is what tasks have required, what was set, and what holds for a live worker: not what is
    only probed, as long as it holds for none.
    """
    from perdure.cli import admin

    return admin.constraints(given(context), as_json=as_json)


@app.command("set-constraint")
def set_constraint(
    context: typer.Context,
    name: options.ConstraintName,
    satisfied: options.OnOff,
    as_json: options.Json = False,
) -> int:
    """Say for all workers whether a constraint holds.

    Where a worker has a probe of that name, too, both must hold.
    """
    from perdure.cli import admin

    return admin.set_constraint(given(context), name, satisfied, as_json=as_json)
