"""Options of the commands that change tasks: which ones, and what becomes of them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Ids: TypeAlias = Annotated[
    list[int] | None,
    typer.Argument(metavar="[ID...]", help="Ids of tasks; else say which by the options."),
]
Name: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Of this name.")]
State: TypeAlias = Annotated[str | None, typer.Option(metavar="STATE", help="In this state.")]
Tag: TypeAlias = Annotated[str | None, typer.Option(metavar="TAG", help="With this tag.")]
UniqueKey: TypeAlias = Annotated[str | None, typer.Option(metavar="KEY", help="With this key.")]
Queue: TypeAlias = Annotated[str | None, typer.Option(metavar="QUEUE", help="Of this queue.")]
Since: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Ended since; ISO 8601 with a zone.")
]
ErrorType: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TYPE", help="With this type of error.")
]
OlderThan: TypeAlias = Annotated[
    str,
    typer.Option(metavar="30d", help="What ended longer ago than this; a number alone is seconds."),
StateToRetry: TypeAlias = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="failed (default) or cancelled.")
]
]
EndStates: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--state", metavar="STATE", help="completed, failed or cancelled; repeat for more."
    ),
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Do it to all that match; else they are counted.")
]
Metadata: TypeAlias = Annotated[
    str | None, typer.Option(metavar="JSON|@FILE|-", help="What is asked instead.")
]
Clear: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION", help="Let its default hold again, as queue; repeat for more."),
]
