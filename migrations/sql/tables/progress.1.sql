-- What a task keeps between its runs: checkpoint and counters. Sparse: a task that completes in its
-- first run without a checkpoint never has a row.
-- losses counts the interruptions for a constraint, of which each waits longer.
-- attempt counts the runs begun and recorded; started_at is set while such a run is under way.
-- marks: 1 recovered from a dead worker, 2 an earlier run used a transaction (explicit), 4 suspect:
-- was with a worker that died, and may have started there although nothing says so, 8 followed: others
-- wait for its end.
create table perdure.progress (
    task_id bigint primary key,
    attempt integer not null default 0,
    failures integer not null default 0,
    interruptions integer not null default 0,
    crashes integer not null default 0,
    losses integer not null default 0,
    marks smallint not null default 0,
    reason text collate "C" not null default 'first',
    started_at timestamptz,
    version integer not null default 1,
    execution_metadata jsonb,
    steps jsonb,
    progress jsonb,
    signal_keys text[]
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
