"""The first schema (expand: there is no older code)."""

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
        admit apply_signal bad_words beat cancel cancel_where channel check_queue checkpoint
        complete cut deliver depth drop_range end_session enqueue enqueue_many enqueue_on_change
        enqueue_plain entry_problem erase fault fence finish_run finish_unrun forget_mail
        forget_range hand_back hold_key is_plain joined keep_depth keep_ranges key_holder locate
        make_range matching merge_patch misplaced note obey pause_queue place problem proceed
        proceed_waiting promote queue_depth recover refuse register_types relane repair repeat
        resume_queue retire retry retry_where sees separate set_queue setting settle signal
        take_out take_upkeep unblock wake withdraw
        """,
    )
    run_files(1, "triggers", "admit")
    run_files(1, "views", "misplaced_tasks queue_states task_states unserved_tasks")
    run_files(1, "functions", "history task")
    run_files(1, "data", "first_ranges")
