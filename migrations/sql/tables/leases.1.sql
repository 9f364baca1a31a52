-- Place: running. One row holds up to 64 tasks of one worker; its id, made by the worker, is the fence.
-- No index on what changes, so that cutting an ended task out of the array stays a HOT update. A
-- worker's own are found by an index: each beat asks for them.
create table perdure.leases (
    id uuid primary key,
    worker_id bigint not null,
    task_ids bigint[] not null,
    claimed_at timestamptz not null default clock_timestamp()
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0
);
create index leases_worker on perdure.leases (worker_id);
