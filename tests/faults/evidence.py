"""What the oracle judges by: what clients, handlers, faults and the database say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.faults.history import Operation

AFTERMATH_SECONDS: Final = 3.0
"""How long after a fault a process may do what it had begun, until it has noticed."""
SERVER: Final = "server"
LINE: Final = "line"
"""What all workers need for some tasks; it is `down` while it is hurt."""
POISONED: Final = "poisoned"
DEADLY: Final = frozenset({"killed", POISONED, "frozen", "swallowed"})
"""What makes a worker dead or look dead: its process ends, or no beat of it arrives.

Nothing else does: a worker whose connection is cut makes a new one at once, and after an outage of
the server nobody is taken for dead who lives.
"""
DEADLY_SECONDS: Final = 2 / 3
"""A third of a lease: who is away for less is not taken for dead."""


class Task(NamedTuple):
    """A row of `tasks`, with its end if there is one; `result`: the operation and number in it.

    Times are monotonic. `schedule`: the key of the one that made it.
    """

    id: int
    name: str
    operation: str
    number: int
    unique_key: str | None
    state: str | None
    kind: str | None
    attempt: int | None
    result: tuple[str | None, int | None]
    until: float = math.inf
    expires: float | None = None
    deadline: float | None = None
    schedule: str | None = None


class Attempt(NamedTuple):
    """A run that did not end its task.

    Attributes:
        since: its start, monotonic, if that was saved.
        until: when it was counted.
        reason: why it was interrupted.
    """

    task_id: int
    attempt: int
    kind: str
    worker_id: int | None
    since: float | None = None
    until: float = math.inf
    reason: str | None = None


class Fire(NamedTuple):
    """What became of an instant of a schedule, or of some in a row, monotonic."""

    schedule: str
    at: float
    fate: str
    instants: int
    task_id: int | None
    decided: float


class Schedule(NamedTuple):
    """A schedule at the end: since when it is there, and its next instant, monotonic."""

    key: str
    since: float
    following: float


class Tick(NamedTuple):
    """A row that the holder of the singleton wrote, in the order of writing."""

    task_id: int
    attempt: int
    number: int


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
    """A run as it was noted: where, from when to when, and how it ended if it did."""

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
        runs: by task, as their handlers noted them.
        begun: the same from the moment at which their workers say that they begin.
        samples: what the watcher found wrong while the faults went on, by class.
        left: what is left after the drain, in words.
    """

    operations: Sequence[Operation]
    ledger: Sequence[Mapping[str, Any]]
    tasks: Mapping[int, Task]
    attempts: Sequence[Attempt]
    effects: Sequence[Effect]
    pages: Sequence[Effect]
    fires: Sequence[Fire] = ()
    schedules: Sequence[Schedule] = ()
    ticks: Sequence[Tick] = ()
    hurts: Sequence[Hurt] = ()
    stops: Sequence[Hurt] = ()
    members: Mapping[int, str] = field(default_factory=dict)
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left: Sequence[str] = ()
    late: Sequence[str] = ()
    secrets: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.runs = runs_of(self.ledger)
        self.begun = runs_of(self.ledger, "begun")

    def hurt(self, member: str, since: float, until: float) -> bool:
        """Whether something was done to the member in this time."""
        return any(self._hurts(member, since, until))

    def looked_dead(self, member: str, since: float, until: float) -> bool:
        """Whether something was done to it in this time for which others take over its tasks."""
        return any(
            one.how in DEADLY and one.until - one.since >= DEADLY_SECONDS
            for one in self._hurts(member, since, until)
        )

    def stopped_in_trouble(self, member: str, since: float, until: float) -> bool:
        """Whether in this time it was told to stop while there was no server to give tasks back to.

        What was done to itself counts if it is deadly; after anything else it has a connection.
        """
        return any(
            stop.member == member and stop.since <= until and since <= stop.until
            and self.hurt(SERVER, max(since, stop.since), min(until, stop.until))
            for stop in self.stops
        )  # fmt: skip

    def _hurts(self, member: str, since: float, until: float) -> Iterator[Hurt]:
        for one in self.hurts:
            is_then = one.since <= until and since <= one.until + AFTERMATH_SECONDS
            if one.member == member and is_then:
                yield one


def runs_of(ledger: Iterable[Mapping[str, Any]], first: str = "start") -> dict[int, list[Run]]:
    """The runs of each task, in the order of their beginnings, which `first` notes."""
    found: dict[int, list[Run]] = defaultdict(list)
    for record in ledger:
        task, attempt, at = record["task"], record["attempt"], record["at"]
        match record["what"]:
            case what if what == first:
                found[task].append(Run(task, attempt, record["member"], at))
            case "end" | "raised" | "stopped" | "poison":
                for run in reversed(found[task]):
                    if (run.attempt, run.member) == (attempt, record["member"]):
                        run.until, run.ended = at, record["what"]
                        break
    return found
