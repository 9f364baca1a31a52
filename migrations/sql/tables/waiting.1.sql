-- Place: waiting for a time, other tasks, a wait key, or several of these: one row says all of it.
create table perdure.waiting (
    task_id bigint primary key,
    reason text collate "C" not null,
    due_at timestamptz,
    wait_key text collate "C",
    blockers integer not null default 0
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
create index waiting_due on perdure.waiting (due_at) where due_at is not null and blockers = 0;
create index waiting_key on perdure.waiting (wait_key) where wait_key is not null;
