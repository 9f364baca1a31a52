-- Worker processes; the id is made by the worker at its start, so that none comes back after a failover.
create table perdure.workers (
    id bigint primary key,
    name text not null,
    host text not null,
    pid integer not null,
    version text not null,
    started_at timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    looks_at timestamptz,
    lease_seconds double precision not null,
    running bigint[] not null default '{}',
    queues text[] not null default '{}',
    names text[] not null default '{}',
    schedules text[] not null default '{}',
    slots integer not null default 0,
    stopping boolean not null default false,
    draining boolean not null default false,
    problem text,
    satisfied text[] not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 100);
