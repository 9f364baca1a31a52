"""Functions of the schema with a lock of the test between their statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.kit.databases import Database
from tests.kit.stepping import Stepped

GATE = "assert step.gate();"  # not perform, which sets FOUND
GATES = 100
"""How many times an operation can be stopped; beyond them it runs through."""
NOT_A_STATEMENT = frozenset({"end", "else", "elsif", "exception", "when"})
OPENERS = {"if": "then", "elsif": "then", "for": "loop", "loop": "loop", "begin": "begin",
           "else": "else"}  # fmt: skip
# A session that has not said which side it is passes: the judge's own.
PREPARED = f"""
    create schema if not exists step;
    create or replace function step.gate() returns boolean language plpgsql as $$
    declare
        side integer := nullif(current_setting('step.side', true), '')::integer;
        number integer;
    begin
        if side is null then
            return true;
        end if;
        number := current_setting('step.number')::integer + 1;
        perform set_config('step.number', number::text, false);
        if number <= {GATES} then
            perform pg_advisory_xact_lock_shared(side, number);
        end if;
        return true;
    end $$
"""


class Gates:
    """The database's own connection holds every gate that is shut, by an advisory lock each.

    Attributes:
        stops: how often a session has stood before one, in all orders.
    """

    def __init__(self, database: Database, functions: Iterable[str]) -> None:
        self._database = database
        self._sides: dict[int, int] = {}
        self._opened = [0, 0]
        self.stops = 0
        database.execute(PREPARED)
        self._pid = database.value("select pg_backend_pid()")
        for name in functions:
            database.connection.execute(gated(definition(database, name)).encode())

    async def shut(self, sessions: tuple[Stepped, Stepped]) -> None:
        """Shut them all for the next order; neither session is in a transaction."""
        for side, session in enumerate(sessions):
            await session.run(f"set step.side = {side}; set step.number = 0; commit")
            self._sides[id(session)] = side
        self._opened = [0, 0]
        self._database.execute(
            "select pg_advisory_unlock_all();"
            "select pg_advisory_lock(side, number)"
            f" from generate_series(0, 1) as side, generate_series(1, {GATES}) as number"
        )

    def open(self, session: Stepped) -> bool:
        """Let a session go on that stands before a gate; False if it waits for something else."""
        side = self._sides[id(session)]
        text = "select pg_advisory_unlock(%s, %s) where %s = any (pg_blocking_pids(%s))"
        values = [side, self._opened[side] + 1, self._pid, session.backend_pid]
        if not self._database.value(text, values):
            return False
        self._opened[side] += 1
        self.stops += 1
        return True


def definition(database: Database, name: str) -> str:
    """A function as the database has it, as `create or replace`."""
    text = (
        "select pg_get_functiondef(oid) from pg_proc"
        " where pronamespace = 'perdure'::regnamespace and proname = %s"
    )
    return str(database.value(text, [name]))


def gated(text: str) -> str:
    """The function with a gate before each of its statements but the first."""
    return "\n".join(_with_gates(text.splitlines()))


def _with_gates(lines: Iterable[str]) -> Iterator[str]:
    """A statement begins after one that has ended, or where a branch or a loop begins."""
    inside = fresh = False
    for line in lines:
        code = line.partition("--")[0].strip()
        first = code.split(maxsplit=1)[0] if code else ""
        if fresh and first and first not in NOT_A_STATEMENT:
            yield GATE
        yield line
        if first:
            opens = OPENERS.get(first)
            fresh = inside and (code.endswith(";") or (bool(opens) and code.endswith(opens or "")))
            inside = inside or code == "begin"
