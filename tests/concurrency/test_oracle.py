"""The judge of a pair finds what is told beside an operation that does not make it true."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.concurrency.gates import definition
from tests.concurrency.operations import NAMED
from tests.concurrency.oracle import Judge
from tests.concurrency.sessions import Sessions
from tests.concurrency.world import Setting, World
from tests.kit.databases import Database

BEGUN = "\nbegin\n"


@pytest.fixture
async def sessions(database: Database) -> AsyncIterator[Sessions]:
    opened = Sessions(Judge(World(database)))
    yield opened
    await opened.close()


def refusing(sqlstate: str) -> tuple[str, str]:
    """What makes a function refuse, whatever is true."""
    return BEGUN, f"{BEGUN}    raise exception using errcode = '{sqlstate}';\n"


@pytest.mark.parametrize(
    ("names", "function", "change", "found"),
    [
        (("save", "complete"), "complete", refusing("PD001"), "beside save, which takes none"),
        (("pause", "separate"), "separate", refusing("PD001"), "beside pause, which takes none"),
        (("recover", "checkpoint"), "checkpoint", refusing("PD001"), "recover, which takes none"),
        (("insert", "suspend"), "settle", ("not (task = any (held))", "true"), "takes none"),
        (("separate", "suspend"), "settle", ("'busy'", "'lost'"), "lost, before it was"),
        (("finish", "checkpoint"), "checkpoint", refusing("40001"), "to be repeated, at read comm"),
        (("insert", "separate"), "separate", ("return own;\nend", "return lease;\nend"),
         "not where separate has said"),
    ],
)  # fmt: skip
async def test_what_is_told_and_not_true_is_found(
    database: Database,
    sessions: Sessions,
    names: tuple[str, str],
    function: str,
    change: tuple[str, str],
    found: str,
) -> None:
    pair = (NAMED[names[0]], NAMED[names[1]])
    await sessions.run_all(pair, Setting("running"))
    text = definition(database, function)
    assert text.count(change[0]) == 1
    database.connection.execute(text.replace(*change).encode())
    with pytest.raises(AssertionError, match=found):
        await sessions.run_all(pair, Setting("running"))


async def test_an_end_that_says_lost_under_a_lease_that_holds_its_task_is_found(
    database: Database, sessions: Sessions
) -> None:
    """Also when it is asked again, after it was told of a letter."""
    pair = (NAMED["insert"], NAMED["suspend"])
    database.execute("create table step.asked ()")
    text = definition(database, "settle")
    change = (
        f"{BEGUN}    insert into step.asked default values;\n"
        "    if (select count(*) from step.asked) > 1 then\n"
        "        return query select 'lost', null::jsonb;\n        return;\n    end if;\n"
        "    return query select 'mail', '[]'::jsonb;\n    return;\n"
    )
    database.connection.execute(text.replace(BEGUN, change, 1).encode())
    with pytest.raises(AssertionError, match="lost, and the lease held=True the task"):
        await sessions.run_all(pair, Setting("running"))
