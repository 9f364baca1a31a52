"""Arguments and options of the commands on schedules, with their help."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

Key: TypeAlias = Annotated[str, typer.Argument(metavar="KEY", help="Key of a schedule.")]
OneKey: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="[KEY]", help="Key of a schedule.", show_default=False)
]

# When.
Interval: TypeAlias = Annotated[
    str | None, typer.Option("--every", metavar="90s", help="In elapsed time, at least 1s.")
]
CronText: TypeAlias = Annotated[
    str | None,
    typer.Option("--cron", metavar="EXPR", help="Five fields, six with seconds first, or @daily."),
]
At: TypeAlias = Annotated[
    str | None, typer.Option("--once", metavar="TIME", help="One moment; ISO 8601 with a zone.")
]
Zone: TypeAlias = Annotated[
    str | None,
    typer.Option("--timezone", metavar="ZONE", help="Of --cron; an IANA name, default UTC."),
]
Start: TypeAlias = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="None before it.")
]
End: TypeAlias = Annotated[str | None, typer.Option("--end", metavar="TIME", help="None after it.")]

# How.
Jitter: TypeAlias = Annotated[
    str | None, typer.Option(metavar="30s", help="Up to this much later, by a hash.")
]
Flex: TypeAlias = Annotated[
    str | None, typer.Option(metavar="10m", help="From this much before on.")
]
MisfireGrace: TypeAlias = Annotated[
    str | None, typer.Option(metavar="5m", help="Looked at later than this it is missed.")
]
ExpiresAfter: TypeAlias = Annotated[
    str | None, typer.Option(metavar="5m", help="A task not started by then fails.")
]
CatchUp: TypeAlias = Annotated[
    Literal["latest", "all", "skip"],
    typer.Option(metavar="latest|all|skip", help="If several are due; default latest."),
]
CatchUpMost: TypeAlias = Annotated[
    int, typer.Option("--max-catch-up", metavar="N", help="Of all that are due; default 100.")
]
Overlap: TypeAlias = Annotated[
    Literal["skip", "queue", "cancel_previous", "allow"],
    typer.Option(metavar="skip|queue|cancel_previous|allow", help="If one still lives."),
]
Policy: TypeAlias = Annotated[
    Literal["update", "keep", "replace", "reject"],
    typer.Option(metavar="update|keep|replace|reject", help="If the key is there."),
]
Anew: TypeAlias = Annotated[
    bool, typer.Option("--reset-phase", help="An interval begins anew now.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Print what would change, change nothing.")
]

# What else.
NextAt: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TIME|none", help="ISO 8601 with a zone; past: now; none takes it back."
    ),
]
Count: TypeAlias = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many.")]
CatchUpNow: TypeAlias = Annotated[
    bool, typer.Option("--catch-up", help="Treat what the pause held back as late.")
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Also while an earlier task still lives.")
]
