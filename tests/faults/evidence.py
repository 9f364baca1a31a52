"""What the oracle judges by: what clients, handlers, faults and the database say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.faults.history import Operation

AFTERMATH_SECONDS: Final = 3.0
"""How long after a fault a process may do what it had begun, until it has noticed."""
SERVER: Final = "server"
POISONED: Final = "poisoned"


class Task(NamedTuple):
    """A row of `tasks`, with its end if there is one; `result`: the operation and number in it."""

    id: int
    name: str
    operation: str
    number: int
    unique_key: str | None
    state: str | None
    kind: str | None
    attempt: int | None
    result: tuple[str | None, int | None]


class Attempt(NamedTuple):
    """A run that did not end its task."""

    task_id: int
    attempt: int
    kind: str
    worker_id: int | None


class Effect(NamedTuple):
    """A row that a handler wrote in a fenced transaction, in the order of writing."""

    task_id: int
    attempt: int
    page: int | None = None


class Hurt(NamedTuple):
    """What a fault did to a member of the fleet, from when to when, monotonic.

    `SERVER` is hurt while it is away, and a worker as a poison task kills it.
    """

    member: str
    how: str
    since: float
    until: float


@dataclass
class Run:
    """A run as its handler noted it: where, from when to when, and how it ended if it did."""

    task_id: int
    attempt: int
    member: str
    since: float
    until: float | None = None
    ended: str | None = None


@dataclass
class Facts:
    """Everything the oracle judges by.

    Attributes:
        ledger: what handlers noted, in the order of writing.
        hurts: what faults did to members of the fleet.
        stops: when members were told to stop, and when they had.
        members: those behind the ids of workers.
        samples: what the watcher found wrong while the faults went on, by class.
        left: what is left after the drain, in words.
    """

    operations: Sequence[Operation]
    ledger: Sequence[Mapping[str, Any]]
    tasks: Mapping[int, Task]
    attempts: Sequence[Attempt]
    effects: Sequence[Effect]
    pages: Sequence[Effect]
    hurts: Sequence[Hurt] = ()
    stops: Sequence[Hurt] = ()
    members: Mapping[int, str] = field(default_factory=dict)
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left: Sequence[str] = ()
    late: Sequence[str] = ()
    secrets: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.runs = runs_of(self.ledger)

    def hurt(self, member: str, since: float, until: float, seconds: float = 0) -> bool:
        """Whether something was done to the member in this time, for at least so long."""
        return any(
            one.member == member and one.since <= until and since <= one.until + AFTERMATH_SECONDS
            and one.until - one.since >= seconds
            for one in self.hurts
        )  # fmt: skip

    def stopped_in_trouble(self, member: str) -> bool:
        """Whether it was told to stop when it could not tell the server what it had in hand."""
        return any(
            stop.member == member and one.member in (member, SERVER)
            and one.since <= stop.until and stop.since <= one.until + AFTERMATH_SECONDS
            for stop in self.stops for one in self.hurts
        )  # fmt: skip


def runs_of(ledger: Iterable[Mapping[str, Any]]) -> dict[int, list[Run]]:
    """The runs of each task, in the order of their beginnings."""
    found: dict[int, list[Run]] = defaultdict(list)
    for record in ledger:
        task, attempt, at = record["task"], record["attempt"], record["at"]
        match record["what"]:
            case "start":
                found[task].append(Run(task, attempt, record["member"], at))
            case "end" | "raised" | "poison":
                for run in reversed(found[task]):
                    if (run.attempt, run.member) == (attempt, record["member"]):
                        run.until, run.ended = at, record["what"]
                        break
    return found
