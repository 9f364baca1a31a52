"""The first schema: tables, functions, triggers, views.

Expand: there is no older code.
"""

from __future__ import annotations

from perdure.store.migrate import run_files

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the named files; what PostgreSQL checks at creation stands before what uses it."""
    run_files(
        1,
        "tables",
        """
        access attempts audit edges lanes leases mail outcomes progress queues ready settings
        statistics task_types tasks unique_keys waiting workers
        """,
    )
    run_files(
        1,
        "functions",
        """
        admit apply_signal bad_words beat cancel channel checkpoint complete cut deliver depth
        enqueue enqueue_many entry_problem fault fence finish_run finish_unrun forget_mail
        hand_back hold_key joined keep_depth locate merge_patch note obey place problem proceed
        proceed_waiting promote queue_depth recover refuse repeat retry save sees separate setting
        settle signal take_out unblock wake withdraw
        """,
    )
    run_files(1, "triggers", "admit")
