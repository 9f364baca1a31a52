-- When something is due for a task wherever it is then: expire (it ends unless it has begun) and deadline
-- (it may run without what it requires). Only tasks with such times have rows here; the alarm of an ended
-- task has no effect. One that finds its task running, or locked, is moved ahead a little.
create table perdure.alarms (
    task_id bigint not null,
    at timestamptz not null,
    kind text collate "C" not null,
    primary key (task_id, kind)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
create index alarms_at on perdure.alarms (at);
