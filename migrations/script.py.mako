"""${message}.

Expand or contract: say which, and which old code still runs on it.
"""

from __future__ import annotations

from perdure.store.migrate import run_files

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Run the named files; a contract also raises `readable_from`."""
    ${upgrades if upgrades else 'run_files(2, "functions", "name")'}
