-- What is set for a queue; one without a row has no setting. '*' is the switch for all queues.
-- concurrency: how many of its tasks each worker process runs. awaited runs out: until then an idle enqueuer waits for a notification.
create table perdure.queues (
    name text collate "C" primary key,
    paused_at timestamptz,
    stop_running boolean not null default false,
    max_depth bigint,
    concurrency integer,
    depth bigint not null default 0,
    sampled_at timestamptz,
    awaited timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 100);
