"""What users declare, and operators change: mutants of state machines and of a reload."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MACHINE: Final = "tests/unit/declare/test_machine.py"

MUTANTS: Final = (
    Mutant(
        name="X100",
        says="a state is not saved before the next handler runs",
        file="service/perdure/declare/machine.py",
        old="            await context.checkpoint()\n",
        new="",
        tests=MACHINE,
        red=("test_each_state_is_saved_before_the_next_handler_runs_and_the_last_with_the_end",),
    ),
    Mutant(
        name="X101",
        says="states that look alike once they are saved are taken",
        file="service/perdure/declare/machine.py",
        old="if len(members) > 1 and not _are_told_apart(members):",
        new="if False:",
        tests=MACHINE,
        red=("test_a_machine_that_cannot_run_is_refused",),
    ),
    Mutant(
        name="X102",
        says="a supervisor keeps the grace of its start",
        file="service/perdure/run/supervisor.py",
        old="        self._grace = self._grace if grace is None else grace\n",
        new="",
        tests="tests/integration/test_supervisor.py",
        red=("test_a_child_is_given_as_long_to_stop_as_the_settings_say_now",),
    ),
    Mutant(
        name="X103",
        says="a wrong file ends a supervisor whose other workers run",
        file="service/perdure/run/supervisor.py",
        old="mendable = replaces and code == EXIT_CONFIGURATION and not self._is_configured()",
        new="mendable = False",
        tests="tests/integration/test_supervisor.py",
        red=("test_a_file_that_has_become_wrong_ends_no_supervisor",),
    ),
)
