-- What a task in a chain follows, in the order in which it was said: what its handler may read, what
-- retention keeps for it, and what a retry of the parent puts back. Edges are those of it still open.
create table perdure.inputs (
    task_id bigint not null,
    after_id bigint not null,
    position smallint not null,
    label text collate "C",
    rule text collate "C" not null,
    primary key (task_id, position)
);
create index inputs_after on perdure.inputs (after_id);
