"""The shape of the house: sizes, homes, doors and names, kept by a machine.

Each rule comes with a small bad example that it must reject, and its exceptions with their reasons.
Nothing here knows the list of files: the house must stay easy to rebuild.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.kit.house import (
    ROOT,
    Rule,
    door,
    function_lines_most,
    lines_most,
    matches,
    no_late_import,
    no_sql_text,
    no_wide_except,
    one_function,
    one_statement,
    opens_with_a_sentence,
    sources,
    time_in_a_comparison,
)

PACKAGE = "service/perdure"
STATEMENTS = f"{PACKAGE}/store/sql/*.sql"
FUNCTIONS = "migrations/sql/functions/*.sql"
PYTHON = ("*.py",)
OURS = (f"{PACKAGE}/*.py",)

RULES = [
    Rule(
        says="a file has at most 400 lines",
        files=("*.py", "*.pyi"),
        look=lines_most(400),
        bad="x = 1\n" * 401,
    ),
    Rule(
        says="a function has at most 70 lines",
        files=PYTHON,
        look=function_lines_most(70),
        bad="async def f():\n" + "    x = 1\n" * 70,
    ),
    Rule(
        says="a statement has at most 80 lines",
        files=(STATEMENTS,),
        look=lines_most(80),
        bad="select 1\n" * 81,
    ),
    Rule(
        says="a file of the schema has at most 100 lines",
        files=("migrations/sql/*.sql",),
        look=lines_most(100),
        bad="select 1\n" * 101,
    ),
    Rule(
        says="a revision has at most 60 lines",
        files=("migrations/versions/*.py",),
        look=lines_most(60),
        bad="x = 1\n" * 61,
    ),
    Rule(
        says="a file opens with a sentence",
        files=PYTHON,
        look=opens_with_a_sentence,
        bad='"""utilities"""\n',
    ),
    Rule(
        says="a file has a name that says what it is",
        files=tuple(
            f"*/{name}.py" for name in ("utils", "common", "misc", "manager", "base", "core")
        ),
        look=lambda text: iter(["1: this name says nothing"]),
        bad="",
    ),
    Rule(
        says="no SQL text stands in Python",
        files=(*OURS, "migrations/*.py"),
        look=no_sql_text,
        bad='"""A docstring."""\nTEXT = "select id from perdure.tasks"\n',
        but={
            f"{PACKAGE}/demo/*": "a user's program: it shows plain SQL",
        },
    ),
    Rule(
        says="a statement file is one statement with casts and a head comment",
        files=(STATEMENTS,),
        look=one_statement,
        bad="-- Why.\nselect id from perdure.tasks where id = %(id)s",
        but={
            f"{PACKAGE}/store/sql/begin.sql": "two steps that cost one round trip",
            f"{PACKAGE}/store/sql/grant.sql": "two steps that the driver runs in one transaction",
        },
    ),
    Rule(
        says="a function file is one function",
        files=(FUNCTIONS,),
        look=one_function,
        bad="-- Why.\ncreate function perdure.a() returns void security definer as $$ $$;",
    ),
    Rule(
        says="columns are written out",
        files=("*.sql",),
        look=matches(r"(?i)(select|returning)\s+(\w+\.)?\*", "write the columns out"),
        bad="-- Why.\ndelete from perdure.tasks returning *",
        but={
            "migrations/sql/functions/drop_range.1.sql": "moves whole rows into the default range",
            "tests/*": "tests may look at everything",
        },
    ),
    Rule(
        says="a task enters a place through a door",
        files=("*.sql", *OURS, "migrations/*.py"),
        look=matches(
            r"(?i)insert\s+into\s+\S*\b(ready|waiting)\b", "tasks enter by admit or place"
        ),
        bad="-- Why.\ninsert into perdure.ready (lane, priority, task_id) values (0, 5, 1)",
        but={
            "migrations/sql/functions/admit.*.sql": "the door of fresh rows",
            "migrations/sql/functions/place.*.sql": "the door of all others",
        },
    ),
    Rule(
        says="the time is asked once in a comparison",
        files=(STATEMENTS, FUNCTIONS, "migrations/sql/views/*.sql"),
        look=time_in_a_comparison,
        bad="-- Why.\nselect 1 from perdure.waiting where due_at <= clock_timestamp()",
    ),
    Rule(
        says="the rules are pure",
        files=(f"{PACKAGE}/tasks/*.py",),
        look=door(
            r"(time|random|secrets|os|asyncio|threading|socket|pathlib)(\..*)?"
            r"|(datetime\.)+(now|today|utcnow)",
            "what a rule decides by is an argument",
        ),
        bad="import random\n",
    ),
    Rule(
        says="clocks and sleeps have a door",
        files=OURS,
        look=door(
            r"time\.(sleep|time|time_ns|monotonic|perf_counter)|asyncio\.sleep"
            r"|(datetime\.)*datetime\.(now|today|utcnow)|date\.today",
            "a Loop sleeps (run/loop.py); the database's clock decides",
        ),
        bad="import time\ntime.sleep(1)\n",
        but={
            f"{PACKAGE}/run/*": "leases, limits and back-off count on the monotonic clock",
            f"{PACKAGE}/client/results.py": "waiting for a result",
            f"{PACKAGE}/cli/times.py": "how far off a time is, in words; a preview of no database",
            f"{PACKAGE}/demo/*": "a user's program",
        },
    ),
    Rule(
        says="the environment has a door",
        files=OURS,
        look=door(r"os\.(environ|environb|getenv|putenv)", "settings/sources.py reads it"),
        bad="import os\nprint(os.environ['PERDURE_DSN'])\n",
        but={
            f"{PACKAGE}/settings/sources.py": "the door",
            f"{PACKAGE}/run/pulse.py": "a probe imports the standard library only, no settings",
            f"{PACKAGE}/cli/up.py": "tells the workers that it starts where the database is",
            f"{PACKAGE}/demo/fleet.py": "hands it on to the workers that it starts",
        },
    ),
    Rule(
        says="threads have a door",
        files=OURS,
        look=door(
            r"threading\.Thread|asyncio\.to_thread|.*\.run_in_executor"
            r"|concurrent\.futures\.ThreadPoolExecutor|ThreadPoolExecutor",
            "run/slots.py runs code in threads",
        ),
        bad="import threading\nthreading.Thread(target=print).start()\n",
        but={
            f"{PACKAGE}/run/slots.py": "threads of sync handlers",
            f"{PACKAGE}/run/child*.py": "a handler's thread, and the pipe's, in a child",
            f"{PACKAGE}/run/beat.py": "the one loop with a thread of its own",
            f"{PACKAGE}/run/worker.py": "waits for that thread",
            f"{PACKAGE}/run/supervisor.py": "a report to the database beside the loop",
            f"{PACKAGE}/testing.py": "a sync handler in a rehearsal",
        },
    ),
    Rule(
        says="child processes have a door",
        files=OURS,
        look=door(
            r"subprocess\.(Popen|run|call|check_call|check_output)|multiprocessing(\..*)?"
            r"|asyncio\.create_subprocess_\w+|os\.(fork|forkpty|system|popen|exec\w+|spawn\w+|posix_spawn\w*)",
            "run/supervisor.py and run/child.py start processes",
        ),
        bad="from subprocess import Popen\n",
        but={
            f"{PACKAGE}/run/supervisor.py": "worker processes",
            f"{PACKAGE}/run/child*.py": "handlers that can be killed",
            f"{PACKAGE}/embedded/*": "a PostgreSQL of our own",
            f"{PACKAGE}/demo/fleet.py": "the demo's workers",
        },
    ),
    Rule(
        says="only the command line prints",
        files=OURS,
        look=door(r"print|sys\.stdout\.write", "emit an event, or log"),
        bad="print('here')\n",
        but={f"{PACKAGE}/cli/*": "its work"},
    ),
    Rule(
        says="names become modules at two doors",
        files=OURS,
        look=door(r"(importlib\.)?(import_module|__import__)", "import it at the top"),
        bad="import importlib\nimportlib.import_module('x')\n",
        but={
            f"{PACKAGE}/__init__.py": "public names are loaded at first use",
            f"{PACKAGE}/cli/worker.py": "-A",
            f"{PACKAGE}/run/child.py": "the service that the parent was started with",
        },
    ),
    Rule(
        says="nobody swallows everything",
        files=OURS,
        look=no_wide_except,
        bad="try:\n    f()\nexcept Exception:\n    pass\n",
        but={
            f"{PACKAGE}/run/*": "a loop, a listener or a run survives what users' code raises",
            f"{PACKAGE}/tasks/codec.py": "validators and __str__ are the user's",
            f"{PACKAGE}/declare/singletons.py": "ticks and cleanups are the user's",
            f"{PACKAGE}/cli/*": "an error leaves as one line",
        },
    ),
    Rule(
        says="imports stand at the top",
        files=OURS,
        look=no_late_import,
        bad="def f():\n    import perdure.store.search\n",
        but={
            f"{PACKAGE}/cli/*": "bodies of commands, loaded when called",
            f"{PACKAGE}/service.py": "uvloop, and what a producer does not need",
            f"{PACKAGE}/run/lean.py": "rich, if a traceback is ever rendered by it",
            f"{PACKAGE}/run/isolated.py": "a child, once rich cannot be found by it",
            f"{PACKAGE}/store/binding.py": "whoever hands in SQLAlchemy's connection has loaded it",
            f"{PACKAGE}/client/*": "search needs SQLAlchemy",
        },
    ),
    Rule(
        says="the checker is not silenced in the package",
        files=OURS,
        look=matches(r"#\s*type:\s*ignore", "make the types true", code=False),
        bad="x: int = ''  # type: ignore\n",
    ),
]
NAMES = [rule.says for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_the_house_keeps_its_rule(rule: Rule) -> None:
    faults = [
        f"{path}:{fault}"
        for path, text in sources().items()
        if rule.covers(path)
        for fault in rule.look(text)
    ]
    assert not faults, f"{rule.says}:\n" + "\n".join(faults)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_rejects_its_bad_example(rule: Rule) -> None:
    assert list(rule.look(rule.bad))


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_exception_is_still_needed(rule: Rule) -> None:
    for pattern in rule.but:
        excused = [
            fault
            for path, text in sources().items()
            if Path(path).match(pattern)
            for fault in rule.look(text)
        ]
        assert excused, f"{rule.says}: nothing in {pattern} needs its exception any more"


def statement_names(text: str) -> set[str]:
    """The statements that this code runs by name."""
    runs = re.compile(
        r".*\.(_?run|count|text|_?run_on)|statement|Operation|binding\.execute(_sync)?"
    )
    return {
        next(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and runs.fullmatch(ast.unparse(node.func))
        and any(isinstance(a, ast.Constant) and isinstance(a.value, str) for a in node.args)
    }


def test_every_statement_file_is_run_and_every_statement_has_its_file() -> None:
    found = {p: t for p, t in sources().items() if p.startswith(f"{PACKAGE}/")}
    rooms = tuple(f"{PACKAGE}/{room}/" for room in ("store", "client", "run"))
    code = [t for p, t in found.items() if p.startswith(rooms) and p.endswith(".py")]
    assert set[str]().union(*map(statement_names, code)) == {
        Path(path).stem for path in found if path.endswith(".sql")
    }


def test_a_statement_is_found_by_the_call_that_names_it() -> None:
    calls = 'session.run("a", {}); database.text("b"); Operation("c", {}); self._run_on(x, "d", y)'
    assert statement_names(calls + '; print("e")') == {"a", "b", "c", "d"}


def test_every_file_of_the_schema_is_named_by_a_revision() -> None:
    folder = ROOT / "migrations"
    named = {
        f"{kind}/{name}.{number}"
        for path in (folder / "versions").glob("*.py")
        for number, kind, names in re.findall(
            r'run_files\(\s*(\d+),\s*"(\w+)",\s*"+\s*([^"]+?)\s*"', path.read_text("utf-8")
        )
        for name in names.split()
    }
    files = {f"{path.parent.name}/{path.stem}" for path in (folder / "sql").glob("*/*.sql")}
    assert named == files
