"""S15: how long `perdure --help` and `import perdure` take, and what they load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness import Bench, Check, Row, median
from benchmarks.measure import bytecode
from benchmarks.peers.adapter import ROOT, Peer

PEERS = ()
TIMES = 10
LIBRARIES = ("psycopg", "psycopg_pool", "psycopg_binary", "sqlalchemy", "alembic", "asyncpg")
IMPORT = """
import time
began = time.perf_counter()
import perdure
print(time.perf_counter() - began)
"""
LOADED = f"""
import sys
{{what}}
print(" ".join(name for name in {LIBRARIES!r} if name in sys.modules), file=sys.stderr)
"""
USED = """
import time
began = time.perf_counter()
from perdure import TaskClient, TaskContext, TaskKind, TaskService
print(time.perf_counter() - began)
"""
HELP = "from perdure.cli.main import main; main(['--help'])"


def rows(bench: Bench, _peers: Sequence[Peer]) -> list[Row]:
    """Seconds, the median of ten; bytecode is there, as after an installation."""
    times = max(2, int(TIMES * min(bench.scale, 1.0)))
    with bytecode() as kept:
        environment = {**os.environ, **kept}
        _run([*_program(), "--help"], environment)
        bare = median([_seconds([sys.executable, "-c", ""], environment) for _ in range(times)])
        helps = [_seconds([*_program(), "--help"], environment) for _ in range(times)]
        imports = [_printed(IMPORT, environment) for _ in range(times)]
        used = [_printed(USED, environment) for _ in range(times)]
        loaded = {
            "import perdure": _loaded("import perdure", environment),
            "perdure --help": _loaded(HELP, environment),
        }
    libraries = sum(len(names) for names in loaded.values())
    bench.say(f"  --help {median(helps):.3f} s, import {median(imports):.4f} s")
    return [
        Row(
            row="S15", benchmark="startup", unit="s, perdure --help", runs=helps,
            checks=[
                Check("s, perdure --help", median(helps), 0.25, at_most=True),
                Check("s, import perdure", median(imports), 0.06, at_most=True),
                Check("database libraries imported", libraries, 0, at_most=True),
            ],
            versions=bench.versions(), settings={"times": times},
            details={
                "import_seconds": [round(seconds, 4) for seconds in imports],
                "import_of_client_and_service_seconds": round(median(used[1:]), 3),
                "bare_interpreter_seconds": round(bare, 3),
                "loaded": loaded,
            },
        )
    ]  # fmt: skip


def _program() -> list[str]:
    """The installed script, or else the module."""
    script = Path(sys.executable).with_name("perdure")
    return [str(script)] if script.exists() else [sys.executable, "-m", "perdure"]


def _run(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    )


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    _run(command, environment)
    return time.perf_counter() - began


def _printed(program: str, environment: Mapping[str, str]) -> float:
    return float(_run([sys.executable, "-c", program], environment).stdout)


def _loaded(what: str, environment: Mapping[str, str]) -> list[str]:
    """Libraries for databases that are loaded afterwards."""
    program = LOADED.format(what=what)
    return _run([sys.executable, "-c", program], environment).stderr.split()
