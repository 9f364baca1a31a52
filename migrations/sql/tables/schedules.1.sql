-- When tasks are to be made, again and again: one row per key. What is to come is decided by workers,
-- which know the calendar; planned is the trigger for which anchor and next_fire_at hold, and where they
-- are null the next worker that looks plans anew, from plan_from on. declared: by the code of workers, which
-- put it at their start. The five counts are of instants, from the creation on: fires forgets in time.
create table perdure.schedules (
    key text collate "C" primary key,
    name text collate "C" not null,
    metadata jsonb not null default '{}',
    trigger jsonb not null,
    jitter interval not null default '0',
    flex interval not null default '0',
    misfire_grace interval,
    expires_after interval,
    catch_up text collate "C" not null default 'latest',
    max_catch_up integer not null default 100,
    overlap text collate "C" not null default 'skip',
    queue text collate "C",
    priority smallint,
    tags text[],
    requires text[],
    headers jsonb,
    max_retries integer,
    declared boolean not null default false,
    state text collate "C" not null default 'active',
    problem text,
    planned jsonb,
    plan_from timestamptz not null default clock_timestamp(),
    anchor timestamptz,
    next_fire_at timestamptz,
    look_at timestamptz,
    override_at timestamptz,
    last_fire_at timestamptz,
    oldest_live bigint not null default 0,
    generation integer not null default 1,
    fired bigint not null default 0,
    coalesced bigint not null default 0,
    missed bigint not null default 0,
    skipped bigint not null default 0,
    manual bigint not null default 0,
    put_by text not null default session_user,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 100);
-- Those that anybody has to look at; one that is paused only until it has a plan.
create index schedules_look on perdure.schedules (look_at nulls first)
    where state = 'active' or state = 'paused' and look_at is null;
