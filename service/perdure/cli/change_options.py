"""Options of the commands that change tasks: which ones, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

import typer

CLEARABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "queue": "queue", "priority": "priority", "tag": "tags", "requires": "requires",
        "headers": "headers", "max-retries": "max_retries", "retry-delay": "retry_delays",
        "expires-at": "expires_at", "deadline-at": "deadline_at",
    }
)  # fmt: skip
"""Options of `update` whose default can hold again, and what each changes."""

Ids: TypeAlias = Annotated[
    list[int] | None,
    typer.Argument(metavar="[ID...]", help="Ids of tasks; else say which by the options."),
]
Name: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Of this name.")]
State: TypeAlias = Annotated[str | None, typer.Option(metavar="STATE", help="In this state.")]
StateToRetry: TypeAlias = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="failed (default) or cancelled.")
]
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
    typer.Option(
        metavar="OPTION",
        help=f"Let its default hold again: {', '.join(CLEARABLE)}. Repeat for more.",
    ),
]
