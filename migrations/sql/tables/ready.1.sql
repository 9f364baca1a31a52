-- Place: some worker may take it now. Narrow and hot: three columns, one index, vacuumed early.
create table perdure.ready (
    lane integer not null,
    priority smallint not null,
    task_id bigint not null
) with (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
create unique index ready_order on perdure.ready (lane, priority, task_id);
-- A publication for all tables would refuse the claim's delete without an identity.
alter table perdure.ready replica identity using index ready_order;
