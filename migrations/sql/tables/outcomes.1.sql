-- The ledger's last page: how each task ended. Appended once, never updated on the hot path;
-- the same ranges as tasks. The primary key is the last defence against a second ending.
create table perdure.outcomes (
    task_id bigint not null,
    attempt integer not null,
    state text collate "C" not null,
    kind text collate "C",
    started_at timestamptz,
    finished_at timestamptz not null default clock_timestamp(),
    cancel_requested_at timestamptz,
    worker_id bigint,
    result jsonb,
    error jsonb,
    primary key (task_id)
) partition by range (task_id);

create table perdure.outcomes_default partition of perdure.outcomes default;

create index outcomes_not_completed on perdure.outcomes (state, task_id) where state <> 'completed';
