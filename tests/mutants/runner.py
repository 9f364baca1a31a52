"""Runs tests in a copy of the tree, clean or with a mutant in it; the tree itself is left alone."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from py_compile import PycInvalidationMode
from types import TracebackType
from typing import NamedTuple, Self

from tests import conftest  # noqa: F401  (temporary files in memory, as for all tests)
from tests.kit.databases import own_server
from tests.kit.house import ROOT
from tests.mutants.mutant import Mutant

TEST_SECONDS = 90
"""A test that hangs because of a mutant has noticed it."""
RUN_SECONDS = 600
LEFT_OUT = (
    ".git", ".venv", "__pycache__", "node_modules", ".*_cache", ".hypothesis",
    "build", "dist",
)  # fmt: skip


class Verdict(NamedTuple):
    """What pytest has said: its exit code, its output, and how long it took."""

    code: int
    output: str
    seconds: float

    @property
    def green(self) -> bool:
        """Whether all tests ran and passed."""
        return self.code == 0 and not re.search(r"\b\d+ (skipped|xfailed)", self.output)

    @property
    def red(self) -> bool:
        """Whether a test has failed: not its set-up, which says that the mutant cannot run."""
        return self.code == 1 and "ERROR at setup of" not in self.output

    @property
    def word(self) -> str:
        """For people; `broken`: it could not be tried."""
        return "caught" if self.red else "survived" if self.code == 0 else "broken"

    @property
    def noticed(self) -> str:
        """The test that has noticed it."""
        found = re.search(r"^(?:FAILED|ERROR) \S*?([^/\s]+::\S+)", self.output, re.MULTILINE)
        return found[1] if found else ""


class Tree:
    """A copy of the tree, and a server for its tests, so that none has to start one of its own."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="perdure-mutants-"))
            self.root = Path(folder) / "tree"
            shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*LEFT_OUT))
            # By contents: a file that was changed twice in a second must not pass for its last.
            for name in ("service", "tests"):
                compileall.compile_dir(
                    self.root / name, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH
                )
            dsn = os.environ.get("PERDURE_TEST_DSN")
            if dsn is None:
                dsn = stack.enter_context(own_server()).dsn()
            self._environment = {
                **os.environ,
                "PYTHONPATH": f"{self.root / 'service'}{os.pathsep}{self.root}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PERDURE_TEST_DSN": dsn,
            }
            self._check()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, tests: Sequence[str]) -> Verdict:
        """Run these tests until the first that fails."""
        began = time.monotonic()
        code, output = self._python(
            "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider",
            f"--timeout={TEST_SECONDS}", *tests,
        )  # fmt: skip
        return Verdict(code, output, time.monotonic() - began)

    def run_mutant(self, mutant: Mutant) -> Verdict:
        """Run the tests of a mutant with it in the copy."""
        path = self.root / mutant.file
        whole = path.read_text("utf-8")
        path.write_text(mutant.mutated(self.root), "utf-8")
        try:
            return self.run(mutant.node_ids)
        finally:
            path.write_text(whole, "utf-8")

    def _check(self) -> None:
        """Make sure that what is run is the copy, whatever is installed."""
        code, output = self._python(
            "-c", "import perdure, tests.kit.house as h; print(perdure.__file__, h.__file__)"
        )
        files = [Path(word) for word in output.split()]
        if code or not all(file.is_relative_to(self.root) for file in files):
            raise RuntimeError(f"the copy {self.root} is not what is imported: {output}")

    def _python(self, *words: str) -> tuple[int, str]:
        """Run an interpreter in the copy; its exit code and all that it has said."""
        process = subprocess.Popen(
            [sys.executable, *words], cwd=self.root, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL, f"not over within {RUN_SECONDS} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode, output
