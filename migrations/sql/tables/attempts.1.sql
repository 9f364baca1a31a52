-- Runs that did not end their task, with what became of them.
create table perdure.attempts (
    task_id bigint not null,
    attempt integer not null,
    kind text collate "C" not null,
    reason text collate "C",
    started_at timestamptz,
    ended_at timestamptz not null default clock_timestamp(),
    worker_id bigint,
    error jsonb,
    primary key (task_id, attempt)
);
