-- "task_id waits until after_id has ended": rule run starts it after any end.
create table perdure.edges (
    task_id bigint not null,
    after_id bigint not null,
    rule text collate "C" not null default 'run',
    label text collate "C",
    primary key (task_id, after_id)
);
-- Not (after_id, task_id): a plan made while the table was empty might read it through for a task_id.
create index edges_after on perdure.edges (after_id);
