-- The ledger's first page: what was asked, one row per task, never updated on the hot path.
-- Partitioned by ranges of ids (about a day each), so that retention drops ranges instead of rows.
-- No CHECK: its error prints the row, metadata included; the admit trigger validates.
create table perdure.tasks (
    id bigserial not null,
    name text collate "C" not null,
    queue text collate "C",
    priority smallint,
    metadata jsonb not null default '{}',
    run_at timestamptz,
    unique_key text collate "C",
    tags text[],
    requires text[],
    max_retries integer,
    retry_delays double precision[],
    headers jsonb,
    expires_at timestamptz,
    deadline_at timestamptz,
    schedule_key text collate "C",
    fire_at timestamptz,
    enqueued_by text not null default session_user,
    created_at timestamptz not null default now(),
    primary key (id)
) partition by range (id);

create table perdure.tasks_default partition of perdure.tasks default;
alter table perdure.tasks_default set (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1);

-- Only tagged rows, rows with a key and rows of a schedule pay for these.
create index tasks_tags on perdure.tasks using gin (tags) where tags is not null;
create index tasks_unique_key on perdure.tasks (unique_key, id) where unique_key is not null;
create index tasks_schedule on perdure.tasks (schedule_key, id) where schedule_key is not null;
