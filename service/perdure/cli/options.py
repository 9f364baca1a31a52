"""Arguments and options with their help, as commands take them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TaskId: TypeAlias = Annotated[int, typer.Argument(metavar="ID", help="Id of a task.")]
TaskIds: TypeAlias = Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of tasks.")]
OneId: TypeAlias = Annotated[int | None, typer.Argument(metavar="ID", help="Id of a task.")]
WorkerId: TypeAlias = Annotated[
    int, typer.Argument(metavar="ID", help="Id of a worker, as `perdure workers` shows it.")
]
QueueName: TypeAlias = Annotated[
    str, typer.Argument(metavar="QUEUE", help="Name of a queue; * is all.")
]
QueueToSet: TypeAlias = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of a queue.")]
MaxDepth: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="N", help="Enqueues fail beyond so many due or running; none: no bound."),
]
QueueConcurrency: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        help="Each worker process runs so many of its tasks at once; none: no bound.",
    ),
]
ConstraintName: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a constraint.")
]
OnOff: TypeAlias = Annotated[
    Literal["on", "off", "unset"],
    typer.Argument(metavar="on|off|unset", help="unset: only the workers' own probes say it."),
]
Requires: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--requires", metavar="NAME", help="A constraint; repeat for more."),
]
ExpiresAt: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Fails unless started by then; ISO 8601 with a zone."),
]
DeadlineAt: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on without constraints; ISO 8601 with a zone."),
]
Application: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-A",
        "--app",
        metavar="MODULE:SERVICE",
        help="The service to run; default: app under [tool.perdure] in pyproject.toml.",
    ),
]

# Beginnings.
Input: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="CSV file to import instead of our own.")
]
Tour: TypeAlias = Annotated[
    bool,
    typer.Option("--tour", help="Show a schedule, a chain, a constraint and a singleton."),
]
Sql: TypeAlias = Annotated[bool, typer.Option("--sql", help="Print the SQL, change nothing.")]
Revision: TypeAlias = Annotated[
    str, typer.Option(metavar="REVISION", help="Stop at this revision.", show_default=False)
]
Role: TypeAlias = Annotated[
    Literal["producer", "worker", "reader", "operator"],
    typer.Argument(metavar="ROLE", help="producer, worker, reader or operator."),
]
Login: TypeAlias = Annotated[str, typer.Argument(metavar="LOGIN", help="A login that exists.")]
Strict: TypeAlias = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if something is wrong.")
]
Repair: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Give misplaced tasks one place where that loses nothing; it is audited.",
    ),
]

# Workers.
WorkerQueues: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--queue", metavar="Q[:SLOTS]", help="Serve this queue, with that many slots; repeat."
    ),
]
Concurrency: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Tasks at the same time, in each process.")
]
Processes: TypeAlias = Annotated[int | None, typer.Option(metavar="N", help="Worker processes.")]
Burst: TypeAlias = Annotated[bool, typer.Option("--burst", help="End when nothing is due.")]
TasksMost: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-tasks-per-process", min=1, metavar="N", help="Then a fresh process goes on."
    ),
]
MemoryMost: TypeAlias = Annotated[
    int | None,
    typer.Option("--max-memory-mb", min=1, metavar="N", help="A larger process is replaced."),
]
SupervisorPid: TypeAlias = Annotated[int | None, typer.Option("--supervisor-pid", hidden=True)]

# Tasks.
TaskName: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Name of the task.")]
Metadata: TypeAlias = Annotated[
    str, typer.Option(metavar="JSON|@FILE|-", help="What is asked; - reads standard input.")
]
Delay: TypeAlias = Annotated[str | None, typer.Option(metavar="5m", help="Not before then.")]
RunAt: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Not before; ISO 8601 with a zone.")
]
UniqueKey: TypeAlias = Annotated[
    str | None, typer.Option(metavar="KEY", help="At most one live task holds it.")
]
UniquePolicy: TypeAlias = Annotated[
    Literal["keep", "replace", "append", "update", "reject"] | None,
    typer.Option(metavar="POLICY", help="keep (default), replace, append, update or reject."),
]
UniqueFor: TypeAlias = Annotated[
    str | None, typer.Option(metavar="1h", help="The key is held so long after the end.")
]
MaxDelay: TypeAlias = Annotated[
    str | None, typer.Option(metavar="1h", help="Updates put it off so long at most.")
]
TaskQueue: TypeAlias = Annotated[
    str | None, typer.Option(metavar="QUEUE", help="Instead of the task's own.")
]
Priority: TypeAlias = Annotated[
    int | None, typer.Option(min=0, max=9, metavar="N", help="0 is first; default 5.")
]
Tags: TypeAlias = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Repeat for more.")
]
Headers: TypeAlias = Annotated[
    str | None, typer.Option(metavar="JSON|@FILE", help="Trace context and the like.")
]
MaxRetries: TypeAlias = Annotated[
    int | None, typer.Option(min=-1, metavar="N", help="-1: without end.")
]
RetryDelays: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--retry-delay", metavar="30s", help="Repeat for more; the last repeats."),
]
Follows: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--after",
        metavar="ID[:RULE]",
        help="Begin when that task has completed; RULE says what else: fail (default), cancel,"
        " run. Repeat for more.",
    ),
]
WithDependents: TypeAlias = Annotated[
    bool, typer.Option("--with-dependents", help="So do those that ended because of it.")
]
Timeout: TypeAlias = Annotated[str | None, typer.Option(metavar="30s", help="Give up then.")]
States: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="A state, or active; repeat for more."),
]
Names: TypeAlias = Annotated[
    list[str] | None, typer.Option("--name", metavar="NAME", help="Repeat for more.")
]
Queues: TypeAlias = Annotated[
    list[str] | None, typer.Option("--queue", metavar="QUEUE", help="Repeat for more.")
]
UniqueKeys: TypeAlias = Annotated[
    list[str] | None, typer.Option("--unique-key", metavar="KEY", help="Repeat for more.")
]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="At most.")]
After: TypeAlias = Annotated[
    int | None, typer.Option(metavar="ID", help="Older than this task: the next page.")
]
Reveal: TypeAlias = Annotated[
    bool, typer.Option("--reveal", help="Show values of keys that look secret, too.")
]
WaitKey: TypeAlias = Annotated[
    str | None, typer.Option(metavar="KEY", help="The one task that waits for this, not an ID.")
]
Patch: TypeAlias = Annotated[
    str | None, typer.Option(metavar="JSON|@FILE|-", help="Merge patch of the checkpoint.")
]
Whole: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--execution-metadata", metavar="JSON|@FILE|-", help="The whole checkpoint instead."
    ),
]
SignalKey: TypeAlias = Annotated[
    str | None, typer.Option(metavar="KEY", help="The same signal counts once.")
]
StopRunning: TypeAlias = Annotated[
    bool, typer.Option("--stop-running", help="Interrupt what runs, too.")
]
