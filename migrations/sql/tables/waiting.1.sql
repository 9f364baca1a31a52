-- Place: waiting for a time, other tasks, a wait key, or several of these: one row says all of it.
-- delay begins to count when the last blocker is gone. instance_key: of what it waits for an instance, once
-- nothing else is in its way.
create table perdure.waiting (
    task_id bigint primary key,
    reason text collate "C" not null,
    due_at timestamptz,
    wait_key text collate "C",
    blockers integer not null default 0,
    delay interval,
    instance_key text collate "C"
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
create index waiting_due on perdure.waiting (due_at) where due_at is not null and blockers = 0;
create index waiting_instance on perdure.waiting (instance_key, task_id) where instance_key is not null;
create index waiting_key on perdure.waiting (wait_key) where wait_key is not null;
