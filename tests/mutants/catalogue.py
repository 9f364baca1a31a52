"""All mutants: each takes one defence of the product out, and names the tests that must turn red.

The numbers are those of the fault catalogue; a letter is another place of the same defence, and
from X53 on they are this table's own. X37 is the lock on a unique key, limits are X140 to
X145. Not here, because there is nothing of it to break yet: the dashboard (X38).
Not here, because no single text can break it: an id of a lease that comes back (X1), which the
variants of tests/model break, and a move in two transactions (X9), since each is one statement.
X44 is X21.
"""

from __future__ import annotations

from typing import Final

from tests.mutants import (
    around,
    constraining,
    declared,
    ending,
    following,
    holding,
    idling,
    keys,
    lasting,
    limiting,
    racing,
    timing,
)

MUTANTS: Final = (
    *holding.MUTANTS,
    *idling.MUTANTS,
    *ending.MUTANTS,
    *around.MUTANTS,
    *constraining.MUTANTS,
    *timing.MUTANTS,
    *lasting.MUTANTS,
    *declared.MUTANTS,
    *keys.MUTANTS,
    *following.MUTANTS,
    *racing.MUTANTS,
    *limiting.MUTANTS,
)
