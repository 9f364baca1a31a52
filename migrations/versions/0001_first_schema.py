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
        access alarms attempts audit constraints edges fires inputs instances lanes leases mail
        openings outcomes progress queues ready schedules settings statistics task_types tasks
        unique_keys waiting workers
        """,
    )
    run_files(
        1,
        "functions",
        """
                admit after_problem apply_signal ask_anew at_hand bad_words beat cancel cancel_where
        channel         check_entries check_queue checkpoint clear_line complete cut delete_schedule
        deliver         dependents depth drain_worker drop_range duration end_session end_unrun
        enqueue         enqueue_entry enqueue_graph enqueue_many enqueue_on_change enqueue_plain
        entry_problem erase         fault fence finish_run finish_unrun fire first_live
        first_waiting follow forget_mail forget_range         hand_back hand_over hasten hold_key
        inputs instance_key is_plain joined keep_depth         keep_ranges key_holder lanes_of
        leave_line let_in line_at_hand line_up link live_occurrences         locate lock_entries
        lock_keys lock_line lock_tasks look make_range make_room mark_followed         matching
        merge_patch misplaced note obey occur override_next pause_queue pause_schedule         place
        placed_here problem proceed proceed_waiting promote prune prune_after prune_fires
        put_schedule queue_depth recover refuse register_types relane remove_ended repair repeat
        report_unserved requeue reschedule_where resume_queue resume_schedule retire retire_by_name
        retry retry_where rewrite run_now run_schedule say_again schedule_problem seat seek_live
        sees separate serve_alarms serve_openings set_alarms set_constraint set_queue setting settle
        signal still_needed take_out take_upkeep unblock unserved update_task verdict wake wake_at
        wake_schedules wanted_keys withdraw
        """,
    )
    run_files(1, "triggers", "admit look")
    run_files(1, "views", "constraint_states known_names misplaced_tasks queue_states")
    run_files(1, "views", "schedule_states task_states unserved_tasks worker_states")
    run_files(1, "functions", "history task")
    run_files(1, "data", "first_ranges")
